"""`flare batch`: many recordings by one command."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flare_cli.cli import console
from flare_cli.cli.options import AsJson, Device, Face, Overrides, ParserFile, finite
from flare_cli.cli.results import number

EXAMPLES = """Examples:

  flare batch recordings/ -o people

  flare batch a.mp4 "more/*.mov" me/ -o people --export glb,html

  flare batch people.csv -o people --dry-run

  flare batch people.csv -o /shared/people --address auto

  flare batch people.csv -o /shared/people --slurm

me/ is a subject that is tracked already; people.csv a list with settings of each (docs/formats.md). The same command
again does what is left. It ends with 1 if a subject failed; the others are done."""

OnlyThese = Annotated[
    str | None, typer.Option(metavar="FIRST-LAST", help="only these of the recordings, counted from 0; no summary")
]
StorageUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="s3://... and other object storage, for machines that share no folder"),
]


def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="videos, subject folders, folders of these, patterns, .csv or .toml"),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder for all subjects, a folder each")],
    stages: Annotated[str, typer.Option(help="which to do")] = "preprocess,fit,eval,export",
    formats: Annotated[
        str, typer.Option("--export", metavar="KIND,...", help="of glb, html, usd, usdz, obj, hdr, exr")
    ] = "glb",
    config: Annotated[
        str | None, typer.Option(help="as of `flare fit`; by default `default`, without a GPU `cpu`")
    ] = None,
    overrides: Overrides = None,
    head: Annotated[str, typer.Option(help="head model to track with")] = "open-head",
    size: Annotated[int, typer.Option(help="edge of the square pictures in pixels", min=64, max=4096)] = 512,
    fps: Annotated[
        float | None, typer.Option(help="drop frames down to this rate", min=0.1, max=1000, callback=finite)
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="stop after so many frames of a video", min=1)] = None,
    face: Face = 1,
    parser: ParserFile = None,
    texture_size: Annotated[int, typer.Option(help="edge of exported textures in pixels", min=64, max=8192)] = 2048,
    address: Annotated[str | None, typer.Option(help="a cluster of Ray: auto, or host:port (RAY_ADDRESS)")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="subjects under way at a time; 1 runs them in turn, without Ray", min=1)
    ] = None,
    retries: Annotated[int, typer.Option(help="how often a stage whose worker died is tried again", min=0)] = 3,
    fits_per_gpu: Annotated[
        int | None, typer.Option(help="fits that share a GPU; by default 2 GiB each, six at most", min=1, max=64)
    ] = None,
    only: OnlyThese = None,
    overwrite: Annotated[
        bool, typer.Option(help="replace what was made of another recording, or with other settings")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what there is and what would be done")] = False,
    slurm: Annotated[bool, typer.Option("--slurm", help="write an array script for Slurm, and run nothing")] = False,
    storage: StorageUrl = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Many recordings to avatars: preprocess, fit, eval and export of each, on all cores and GPUs that there are."""
    from flare_cli.apps.batch.batch import BatchRequest
    from flare_cli.apps.batch.batch import batch as run
    from flare_cli.apps.batch.work import Defaults, wanted_stages

    defaults: dict[str, Any] = {
        "stages": wanted_stages(_words(stages)), "export": _words(formats), "overrides": tuple(overrides or ()),
        "head": head, "size": size, "fps": fps, "max_frames": max_frames, "face": face, "texture_size": texture_size,
        "parser": None if parser is None else parser.absolute(), "overwrite": overwrite, "storage": storage,
    }  # fmt: skip
    request = BatchRequest(
        inputs=tuple(inputs), out=out, config=config, defaults=Defaults(**defaults), address=address, device=device,
        jobs=jobs, retries=retries, fits_per_gpu=fits_per_gpu, only=_only(only), dry_run=dry_run, slurm=slurm,
    )  # fmt: skip
    with console.live_board() as show:
        result = run(request, show, console.note)
    _show(result, as_json)
    if result.failed:
        raise typer.Exit(1)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _only(text: str | None) -> tuple[int, int] | None:
    """`3-7`, or `3`, as the first and the last number."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", text)
    if match is None:
        raise typer.BadParameter(f"--only {text!r} is not FIRST-LAST")
    first = int(match[1])
    return first, int(match[2] or first)


def _show(result: Any, as_json: bool) -> None:
    if as_json:
        console.show_json(asdict(result))
    elif result.script is not None:
        console.show_facts(f"{result.subjects} subjects", [("script", result.script)])
        console.note(f"next: sbatch {result.script}")
    elif result.planned:
        names = list(next(iter(result.planned.values())))
        rows = [(name, *(stages.get(stage, "given") for stage in names)) for name, stages in result.planned.items()]
        console.show_table(f"{result.subjects} subjects", ("", *names), rows)
    else:
        rows = [_row(name, outcomes) for name, outcomes in result.outcomes.items()]
        console.show_table(f"{result.subjects - result.failed} of {result.subjects} subjects", ("", "", "", ""), rows)
        if result.files is not None:
            console.show_facts("", [(name, path) for name, path in asdict(result.files).items()])


def _row(name: str, outcomes: Any) -> tuple[str, ...]:
    """A subject: what failed and why, or how good it is."""
    failure = next((outcome for outcome in outcomes if outcome.state == "failed"), None)
    if failure is not None:
        return name, f"{failure.stage} failed", failure.message, failure.hint
    score = next((o.scores["psnr_foreground"] for o in outcomes if o.scores.get("psnr_foreground")), None)
    return name, "done", "" if score is None else f"{number(score)} dB per foreground pixel", ""
