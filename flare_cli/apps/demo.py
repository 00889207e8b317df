"""`flare demo`: a synthetic person from recording to export, every command once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from flare_cli.apps.animate import AnimateRequest, animate
from flare_cli.apps.evaluate import EvalRequest, EvalResult, evaluate
from flare_cli.apps.export import ExportRequest, export
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.apps.relight import RelightRequest, relight
from flare_cli.apps.relit_truth import RelitScore, score_relit
from flare_cli.fit.run_folder import AVATAR_FILE, load_run
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.device import choose_device
from flare_cli.show.filming.film import Film
from flare_cli.show.filming.lighting import Lighting, environments
from flare_cli.subject.folder import load_subject
from flare_cli.synthetic.recording import make_synthetic_subject

FRAMES, SIZE = 48, 192
DRIVER_FRAMES, DRIVER_SIZE, DRIVER_SEED = 24, 96, 7
TRUE_LIGHTS = ("sunset", "overcast")  # under which the person is traced again, to compare with


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRequest:
    """What `flare demo` was asked."""

    out: Path
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """One table, and the pictures worth opening."""

    rows: list[tuple[str, str]]
    pictures: dict[str, Path]
    seconds: float


def demo(request: DemoRequest, progress: ProgressCallback) -> DemoResult:
    """Record two synthetic people, fit the first, score, relight, animate by the second, export.

    What a demo that was cut off has finished is kept; the fit goes on from its checkpoint.
    """
    started, out = time.monotonic(), request.out
    subject, driver, run = out / "subject", out / "driver", out / "run"
    device = choose_device(request.device)
    make_synthetic_subject(
        subject,
        frames=FRAMES,
        size=SIZE,
        seed=0,
        device=device,
        progress=lambda done, n: progress("record a person", done, n),
    )
    make_synthetic_subject(
        driver,
        frames=DRIVER_FRAMES,
        size=DRIVER_SIZE,
        seed=DRIVER_SEED,
        device=device,
        progress=lambda done, n: progress("record a driver", done, n),
    )
    recorded = time.monotonic()
    if not (run / AVATAR_FILE).is_file():
        fit(FitRequest(subject=subject, run=run, config="demo", device=request.device), progress)
    fitted = time.monotonic()
    scores = evaluate(EvalRequest(run=run, device=request.device), progress)
    sunset = Lighting(envmaps=(Path("sunset"),), turn=True)
    relit = relight(
        RelightRequest(run=run, film=Film(out=out / "relit.mp4"), lighting=sunset, device=request.device), progress
    )
    true_lights = environments(Lighting(envmaps=tuple(map(Path, TRUE_LIGHTS))))
    loaded = load_run(run, device)
    sheet = out / "relit_truth.png"
    relit_scores = score_relit(loaded, load_subject(subject), true_lights, sheet, progress)
    moved = animate(
        AnimateRequest(run=run, driver=driver, film=Film(out=out / "animated.mp4"), device=request.device), progress
    )
    files = [
        export(ExportRequest(run=run, kind=kind, out=out / "export", device=request.device), progress)
        for kind in ("glb", "obj")
    ]
    rows = [("record", f"{recorded - started:.0f} s"), ("fit", f"{fitted - recorded:.0f} s")]
    rows += _score_rows(scores, relit_scores)
    pictures = {
        "recorded, drawn, albedo, light": scores.pictures,
        "recorded; relit, truth and avatar": sheet,
        "relit": relit.files[0],
        "animated": moved.files[0],
        "glb": files[0].file,
        "obj": files[1].file,
    }
    seconds = time.monotonic() - started
    return DemoResult(rows=[*rows, ("all", f"{seconds:.0f} s")], pictures=pictures, seconds=seconds)


def _score_rows(scores: EvalResult, relit: list[RelitScore]) -> list[tuple[str, str]]:
    """Held-out pictures, true maps, and other lights."""
    shown = ("psnr_foreground", "psnr_all_pixels", "psnr_with_clothes", "ssim", "mae", "silhouette_iou", "lpips")
    rows = [(f"held-out {name}", _score(scores.mean[name], scores.lpips_status)) for name in shown]
    if scores.truth is not None:
        rows += [
            ("albedo PSNR, raw", f"{scores.truth.albedo_raw:.2f} dB"),
            ("albedo PSNR, one factor per channel", f"{scores.truth.albedo_aligned:.2f} dB"),
            ("normals, mean error", f"{scores.truth.normal_degrees:.1f} degrees"),
        ]
    for score in relit:
        rows += [
            (f"relit by {score.light}, PSNR", f"{score.avatar:.1f} dB"),
            ("  the recorded picture in its place", f"{score.nothing_done:.1f} dB"),
        ]
    return rows


def _score(value: float | None, reason: str) -> str:
    return f"not available: {reason}" if value is None else f"{value:.4g}"
