"""The `flare` program: every command parses, calls one function in `apps`, and shows its result."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flare_cli import __version__
from flare_cli.cli import batch, console, film
from flare_cli.cli import export as exporting
from flare_cli.cli import view as viewing
from flare_cli.cli.head import app as head_app
from flare_cli.cli.options import (
    STOPS,
    AsJson,
    Device,
    Face,
    Overrides,
    ParserFile,
    PictureSize,
    RasterizerName,
    examples,
    finite,
)
from flare_cli.cli.results import number, show, show_recording
from flare_cli.errors import FlareError, file_error

# Threads that wait for each other must sleep, not spin: on a busy machine spinning made a fit step five times slower.
# OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# What OpenCV logs of a damaged file, our own message says. It reads this when it is loaded, in workers too.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
# So many pixels a file may say that it has before OpenCV makes room for them: those of a 16k environment map.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**27))

# `apps` are imported inside the commands: they load torch, and `flare --help` must answer at once.

app = typer.Typer(
    name="flare",
    help="One ordinary video of a person in; a relightable, animatable, rigged head avatar out.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(head_app, name="head")


MapStops = Annotated[float, typer.Option(help="stops for --relight-envmap; 0 takes maps as they are", **STOPS)]


def _version(value: bool) -> bool:
    if value:
        console.out.print(f"flare {__version__}")
        raise typer.Exit
    return value


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    pass


@app.command(
    epilog=examples(
        "flare preprocess me.mp4 -o me",
        "flare preprocess me.mp4 -o me --fps 15 --size 384 --overwrite",
        "flare preprocess DATASET -o me --head flame-2023",
    )
)
def preprocess(
    video: Annotated[Path, typer.Argument(help="a video of one person, or the folder of another program's data set")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the subject folder to make")],
    size: Annotated[int, typer.Option(help="edge of the square pictures in pixels", min=64, max=4096)] = 512,
    fps: Annotated[
        float | None,
        typer.Option(
            help="drop frames down to this rate; for a data set, its own rate", min=0.1, max=1000, callback=finite
        ),
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="stop after so many frames", min=1)] = None,
    face: Face = 1,
    parser: ParserFile = None,
    head: Annotated[
        str | None, typer.Option(help="head model; by default open-head, for a data set the one it was tracked with")
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="kind of data set, where it is not recognised by its files")
    ] = None,
    eval_video: Annotated[
        list[str] | None, typer.Option(help="video of a data set to hold out; may be repeated")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="replace a subject that is already there")] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Turn a video into a subject folder (crop, landmarks, matte, labels, tracking), or import a tracked data set."""
    if video.is_dir():
        if max_frames is not None:
            raise FlareError("--max-frames is for videos", hint="leave it out: a data set is imported whole")
        _import(video, out, format_name, head, fps, eval_video, overwrite, as_json)
        return
    if format_name is not None or eval_video:
        raise FlareError(
            f"--format and --eval-video are for data sets, {video} is not a folder", hint="name the data set's folder"
        )
    from flare_cli.apps.preprocess import preprocess as run
    from flare_cli.track.request import PreprocessRequest

    request = PreprocessRequest(
        video=video, out=out, size=size, fps=fps, max_frames=max_frames, head=head or "open-head", face=face,
        parser=parser, overwrite=overwrite, device=device,
    )  # fmt: skip
    with console.progress_bars() as progress:
        result = run(request, progress)
    if as_json:
        console.show_json(asdict(result))
    else:
        show_recording(result)
        console.show_next(_fitting(result.folder))


def _import(
    dataset: Path,
    out: Path,
    format_name: str | None,
    head: str | None,
    fps: float | None,
    eval_video: list[str] | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    from flare_cli.apps.import_dataset import DEFAULT_FPS, ImportRequest, import_dataset

    request = ImportRequest(
        dataset=dataset, out=out, format=format_name, head=head, fps=fps or DEFAULT_FPS,
        evaluation=tuple(eval_video or ()), overwrite=overwrite,
    )  # fmt: skip
    with console.progress_bars() as progress:
        result = import_dataset(request, progress)
    show(f"subject {result.folder}", asdict(result), as_json, then=_fitting(result.folder))


@app.command(
    epilog=examples("flare convert me -o for_imavatar", "flare convert me --to gaussian-avatars -o for_gaussians")
)
def convert(
    subject: Annotated[Path, typer.Argument(help="subject folder, made by `flare preprocess`")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder to write, new or empty")],
    to: Annotated[str, typer.Option(help="imavatar (also PointAvatar, FLARE) or gaussian-avatars")] = "imavatar",
    as_json: AsJson = False,
) -> None:
    """Write a subject's pictures and tracking in another program's layout."""
    from flare_cli.apps.convert import ConvertRequest
    from flare_cli.apps.convert import convert as run

    result = run(ConvertRequest(subject=subject, to=to, out=out))
    show(f"written {result.folder}", asdict(result), as_json)


@app.command(
    epilog=examples(
        "flare fit me -o runs/me",
        "flare fit me --config cpu --set stage.0.steps=500 --view",
        "flare fit me --vram 6 --set track.refine=true --write-track",
    )
)
def fit(
    subject: Annotated[Path, typer.Argument(help="subject folder, made by `flare preprocess`")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="run folder; by default runs/SUBJECT")] = None,
    config: Annotated[
        str | None,
        typer.Option(help="default, paper, cpu, demo or a .toml file; by default `default`, without a GPU `cpu`"),
    ] = None,
    overrides: Overrides = None,
    rasterizer: Annotated[
        str | None, typer.Option(help="auto, warp, nvdiffrast or pytorch3d; short for --set run.rasterizer=NAME")
    ] = None,
    device: Device = "auto",
    fresh: Annotated[
        bool,
        typer.Option(
            help="start again, not from the last checkpoint; a finished avatar stays until the new one is whole"
        ),
    ] = False,
    vram: Annotated[
        float | None,
        typer.Option(
            metavar="GB", help="GPU memory that the fit may take; lowers batches", min=1, max=10**4, callback=finite
        ),
    ] = None,
    write_track: Annotated[
        bool,
        typer.Option(
            "--write-track",
            help="with --set track.refine=true: the subject gets the refined track too; the given one is kept",
        ),
    ] = False,
    view: Annotated[
        bool, typer.Option("--view", help="a page to look at the avatar while it is fitted, and to hold the fit")
    ] = False,
    host: viewing.Host = viewing.THIS_COMPUTER,
    port: viewing.Port = None,
    as_json: AsJson = False,
) -> None:
    """Fit an avatar to a subject. A fit that was cut off, a fresh one too, goes on where it was (without --fresh)."""
    from flare_cli.apps.fit import FitRequest
    from flare_cli.apps.fit import fit as run
    from flare_cli.show.viewing.address import Listening

    if not view and (host, port) != (viewing.THIS_COMPUTER, None):
        raise FlareError("--host and --port are of the page", hint="add --view, or leave them out")
    chosen = [] if rasterizer is None else [f"run.rasterizer={rasterizer}"]
    request = FitRequest(
        subject=subject,
        run=out or _run_of(subject),
        config=config,
        overrides=(*(overrides or ()), *chosen),
        device=device,
        fresh=fresh,
        vram=vram,
        write_track=write_track,
        view=Listening(host=host, port=port) if view else None,
    )
    with console.progress_bars("--fresh" if fresh else None) as progress:
        result = run(request, progress, on_open=viewing.note)
    show(f"avatar {result.avatar}", asdict(result), as_json, then=("eval", request.run))


def _run_of(subject: Path) -> Path:
    """The run folder of a subject where none was named."""
    return Path("runs") / subject.resolve().name


def _fitting(subject: Path) -> tuple[object, ...]:
    return "fit", subject, "-o", _run_of(subject)


@app.command(
    "eval",
    epilog=examples(
        "flare eval runs/me",
        "flare eval runs/me --subject me2 --refine-test",
        "flare eval runs/me --predictions pictures --relight-envmap sunset",
        "flare eval runs/dev-1 runs/dev-2 --truth -o table",
    ),
)
def evaluate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="run folder, by default the newest under ./runs; with --truth several"),
    ] = None,
    subject: Annotated[Path | None, typer.Option(help="score another recording of the same person")] = None,
    truth: Annotated[
        bool, typer.Option("--truth", help="score against all that a synthetic subject was made of, beside honest rows")
    ] = False,
    predictions_of: Annotated[
        list[Path] | None,
        typer.Option(help="with --truth: score another program's predictions in this folder; may be repeated"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="with --truth: where the table goes; by default RUN/eval, or benchmark"),
    ] = None,
    training: Annotated[bool, typer.Option(help="score the training frames instead of the held-out ones")] = False,
    refine_test: Annotated[
        bool, typer.Option("--refine-test", help="score again after refining the track on these frames' own pixels")
    ] = False,
    predictions: Annotated[
        Path | None, typer.Option(help="folder for pictures of the scored frames: colour, mask, albedo, normal, …")
    ] = None,
    relight_envmap: Annotated[
        list[Path] | None,
        typer.Option(help="with --predictions: draw them under this .hdr or .exr too; may be repeated"),
    ] = None,
    relight_exposure: MapStops = 0.0,
    rasterizer: RasterizerName = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Score an avatar on frames that its fit has not seen; with --truth, any number of them in one table."""
    if truth:
        if training or refine_test or predictions is not None:
            raise FlareError("--truth is of held-out frames, and writes no pictures of each", hint="use it on its own")
        _evaluate_truth(runs or [], subject, predictions_of or [], out, rasterizer, device, as_json)
        return
    if len(runs or ()) > 1 or predictions_of or out is not None:
        raise FlareError("several runs, --predictions-of and --out need --truth", hint="add --truth, or name one run")
    from flare_cli.apps.evaluate import EvalRequest
    from flare_cli.apps.evaluate import evaluate as run_eval
    from flare_cli.show.predictions import PredictionsRequest

    if relight_envmap and predictions is None:
        raise FlareError("--relight-envmap needs --predictions", hint="say where the pictures go: --predictions DIR")
    wanted = None
    if predictions is not None:
        wanted = PredictionsRequest(folder=predictions, envmaps=tuple(relight_envmap or ()), exposure=relight_exposure)
    request = EvalRequest(
        run=runs[0] if runs else None, subject=subject, training=training, refine_test=refine_test, predictions=wanted,
        rasterizer=rasterizer, device=device,
    )  # fmt: skip
    with console.progress_bars() as progress:
        result = run_eval(request, progress)
    if as_json:
        console.show_json(asdict(result))
    else:
        _show_scores(result)


def _show_scores(result: Any) -> None:
    rows = [(name, number(result.mean[name]), number(result.median[name])) for name in result.mean]
    console.show_table(
        f"{result.run}: {result.frames} frames at {result.size[1]}x{result.size[0]}", ("", "mean", "median"), rows
    )
    if result.refined_on_test_pixels is not None:
        rows = [(name, number(value)) for name, value in result.refined_on_test_pixels.items()]
        console.show_table("after refining pose and expression on the pixels of these frames", ("", "mean"), rows)
    if result.truth is not None:
        console.show_facts(
            "against the truth", [(k.replace("_", " "), number(v)) for k, v in asdict(result.truth).items()]
        )
    if result.mean["lpips"] is None:
        console.note(f"LPIPS is not available: {result.lpips_status}")
    console.show_facts("", [("numbers", result.report), ("per frame", result.table), ("pictures", result.pictures)])
    console.show_link("report", result.page)
    console.show_next(("relight", result.run, "--envmap", "studio", "-o", "relit.mp4"))


def _evaluate_truth(
    runs: list[Path],
    subject: Path | None,
    predictions_of: list[Path],
    out: Path | None,
    rasterizer: str | None,
    device: str,
    as_json: bool,
) -> None:
    from flare_cli.apps.score_truth import TruthRequest, score_truth
    from flare_cli.show.truth_report import attribution_table, score_tables

    request = TruthRequest(
        runs=tuple(runs), predictions_of=tuple(predictions_of), subject=subject, out=out, rasterizer=rasterizer,
        device=device,
    )  # fmt: skip
    with console.progress_bars() as progress:
        result = score_truth(request, progress)
    if as_json:
        console.show_json(result.report)
        return
    gained = attribution_table(result.rows)
    for table in (*score_tables(result.rows), *([gained] if gained.rows else [])):
        console.show_table(table.title, table.header, table.rows)
    console.show_facts("", [("file", path) for path in result.files])


app.command(epilog=film.RELIGHT_EXAMPLES)(film.relight)
app.command(epilog=film.ANIMATE_EXAMPLES)(film.animate)
app.command(epilog=viewing.EXAMPLES)(viewing.view)


app.command(epilog=exporting.EXAMPLES)(exporting.export)
app.command(epilog=batch.EXAMPLES)(batch.batch)


@app.command(epilog=examples("flare demo", "flare demo -o /tmp/demo --device cpu"))
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="folder for everything that the demo makes")] = Path("demo"),
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Make an avatar of a synthetic person, from recording to export: no download, no licence, no GPU needed."""
    from flare_cli.apps.demo import DemoRequest
    from flare_cli.apps.demo import demo as run_demo

    with console.progress_bars() as progress:
        result = run_demo(DemoRequest(out=out, device=device), progress)
    if as_json:
        console.show_json(asdict(result))
        return
    console.show_table("demo", ("", ""), result.rows)
    console.show_facts("look at", list(result.pictures.items()))


@app.command(epilog=examples("flare synth dev-1 -o bench/dev-1", "flare synth dev-1 -o small --size 128 --samples 16"))
def synth(
    recipe: Annotated[str, typer.Argument(help="a subject of the benchmark by name, or the path of a .toml file")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the folder to make")],
    overrides: Overrides = None,
    head: Annotated[str | None, typer.Option(help="open-head or ict, in place of the recipe's")] = None,
    head_data: Annotated[
        Path | None, typer.Option(help="folder of ICT-FaceKit's .obj files (FaceXModel), for people with its head")
    ] = None,
    size: Annotated[int | None, typer.Option(help="edge of the square pictures in pixels", min=16, max=4096)] = None,
    samples: Annotated[int | None, typer.Option(help="paths a pixel", min=1)] = None,
    tracked: Annotated[bool, typer.Option(help="also track the video, as a user's would be")] = True,
    as_json: AsJson = False,
) -> None:
    """Film a path traced person with a phone's camera, with the truth: buffers, other lights, other cameras."""
    from flare_cli.apps.synth import SynthRequest
    from flare_cli.apps.synth import synth as run_synth

    asked = {"person.head": head, "render.size": size, "render.samples": samples}
    changes = [f"{key}={value}" for key, value in asked.items() if value is not None]
    request = SynthRequest(
        out=out, recipe=recipe, overrides=(*(overrides or ()), *changes), head_data=head_data, tracked=tracked
    )
    with console.progress_bars() as progress:
        result = run_synth(request, progress)
    subject = result.given or result.tracked
    show(f"recording {result.folder}", asdict(result), as_json, then=() if subject is None else _fitting(subject))


@app.command(epilog=examples("flare bench", "flare bench me --size 512 --json"))
def bench(
    subject: Annotated[Path | None, typer.Argument(help="a subject folder: time the steps of a fit to it too")] = None,
    size: PictureSize = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure every backend that runs here, side by side: times as multiples of Warp's, and how far they agree."""
    from flare_cli.apps.bench.bench import BenchCommand, run_bench
    from flare_cli.apps.bench.tables import markdown

    with console.progress_bars() as progress:
        result = run_bench(BenchCommand(subject=subject, size=size, device=device), progress)
    if as_json:
        console.show_json(asdict(result))
    else:
        console.show_text(markdown(result))


@app.command(epilog=examples("flare doctor", "flare doctor --json"))
def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, which backends run, what is missing and how to get it."""
    from flare_cli.apps.doctor import examine

    findings = examine()
    if as_json:
        console.show_json({f.name: asdict(f) for f in findings})
    else:
        marks = {(True, True): "ok", (True, False): "ok", (False, False): "optional", (False, True): "MISSING"}
        console.show_checklist([(marks[f.present, f.needed], f.name, f.state, f.advice) for f in findings])
    if any(f.needed and not f.present for f in findings):
        raise typer.Exit(1)


def main() -> None:
    """Entry point. What a user can fix ends in one message and an exit code; bugs keep their traceback."""
    # Whoever stops a container or a job on a cluster sends this: it ends as Ctrl-C does, and all of it can be resumed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except FlareError as error:
        _fail(error)
    except OSError as error:
        told = file_error(error)
        if told is None:
            raise
        _fail(told)


def _fail(error: FlareError) -> NoReturn:
    console.show_error(error)
    raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
