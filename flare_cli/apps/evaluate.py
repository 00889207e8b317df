"""`flare eval`: scores on frames that the fit has not seen, as numbers, tables and pictures."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from jaxtyping import Float

from flare_cli.avatar.avatar import Avatar
from flare_cli.data.celebamask import CLOTHES
from flare_cli.data.image import write_png
from flare_cli.data.json_file import write_json
from flare_cli.errors import SubjectError
from flare_cli.fit.frames import Frames, load_frames
from flare_cli.fit.run_folder import load_run, newest_run
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import gpu_memory
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.score.metrics import PictureScore, lpips_or_reason, score_picture
from flare_cli.score.truth import TruthScore, load_truth, score_truth
from flare_cli.show.predictions import PredictionsRequest, named_envmaps, write_predictions
from flare_cli.show.track_pictures import comparison_sheet, draw_track, to_bytes
from flare_cli.subject.folder import Subject, load_subject

SHEET_FRAMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest:
    """What `flare eval` was asked. Without a run, the newest one; without a subject, the one that was fitted.

    With `predictions` the scored track's pictures are written for scorers of other people.
    """

    run: Path | None = None
    subject: Path | None = None
    training: bool = False
    predictions: PredictionsRequest | None = None
    rasterizer: str | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalResult:
    """Mean and median scores over the frames, and where the details are."""

    run: Path
    frames: int
    size: tuple[int, int]
    mean: dict[str, float | None]
    median: dict[str, float | None]
    lpips_status: str
    truth: TruthScore | None
    report: Path
    table: Path
    pictures: Path
    predictions: Path | None


@gpu_memory("close other programs that use the GPU, or use --device cpu")
def evaluate(request: EvalRequest, progress: ProgressCallback) -> EvalResult:
    """Draw the held-out frames and score them; writes `eval/` in the run folder."""
    run = load_run(request.run or newest_run(), choose_device(request.device), rasterizer=request.rasterizer)
    subject = load_subject(request.subject) if request.subject else run.subject()
    track = subject.track
    if request.subject is None:
        wanted = torch.tensor(
            run.header["training_frames" if request.training else "held_out_frames"], dtype=torch.long
        )
        track = track[torch.isin(track.frames, wanted)]
    if not len(track):
        raise SubjectError("there are no frames to score", hint="fit with data.holdout > 0, or use --training")
    if request.predictions is not None:
        named_envmaps(request.predictions.envmaps)  # a wrong name is told before the work
    size = run.config.data.size
    frames = load_frames(subject, track, size, lambda done, n: progress("load", done, n))
    lpips, lpips_status = lpips_or_reason()
    scores: list[PictureScore] = []
    recorded, masks = frames.pictures.srgb().numpy(), frames.pictures.coverage()[..., 0].numpy()
    clothes = np.isin(frames.pictures.label.numpy(), CLOTHES)
    folder, rasterizer = run.folder / "eval", run.rasterizer()
    for drawn in draw_track(run.avatar, frames.track, rasterizer):
        pictures = to_bytes(drawn.picture.colour)
        coverage = drawn.picture.coverage[..., 0].cpu().numpy()
        for i, picture in enumerate(pictures):
            at = drawn.start + i
            scores.append(
                score_picture(
                    picture / 255.0,
                    recorded[at],
                    drawn_mask=coverage[i],
                    mask=masks[at],
                    clothes=clothes[at],
                    lpips=lpips,
                )
            )
            write_png(folder / "frames" / f"{int(frames.track.frames[at])}.png", picture)
            progress("score", len(scores), len(frames))
    if request.predictions is not None:
        write_predictions(request.predictions, run.avatar, frames.track, rasterizer, progress)
    shown = torch.linspace(0, len(frames) - 1, min(SHEET_FRAMES, len(frames))).long()
    write_png(folder / "comparison.png", comparison_sheet(run.avatar, frames[shown].to(run.avatar.device), rasterizer))
    names = [f.name for f in fields(PictureScore)]
    result = EvalResult(
        run=run.folder,
        frames=len(scores),
        size=(frames.track.camera.height, frames.track.camera.width),
        mean={name: _over(scores, name, mean) for name in names},
        median={name: _over(scores, name, median) for name in names},
        lpips_status=lpips_status,
        truth=_against_truth(run.avatar, subject, frames, rasterizer),
        report=folder / "report.json",
        table=folder / "frames.csv",
        pictures=folder / "comparison.png",
        predictions=request.predictions.folder if request.predictions else None,
    )
    with result.table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["frame", *names])
        writer.writeheader()
        for number, score in zip(frames.track.frames.tolist(), scores, strict=True):
            writer.writerow({"frame": number, **asdict(score)})
    report = {
        "run": str(run.folder),
        "subject": str(subject.folder),
        "frames": len(scores),
        "size": list(result.size),
        "mean": result.mean,
        "median": result.median,
        "lpips": lpips_status,
        "truth": None if result.truth is None else asdict(result.truth),
        "conventions": {
            "mae, psnr_foreground": "error under the mask without clothes (labels 15, 16) / area of that mask",
            "psnr_all_pixels": "the same squared error / all pixels (as FLARE publishes it)",
            "psnr_with_clothes": "psnr_foreground with the clothes left in",
            "ssim, lpips": "over white, clothes left out, whole picture",
            "silhouette_iou": "of the whole mask",
        },
    }
    write_json(result.report, report)
    return result


def _against_truth(avatar: Avatar, subject: Subject, frames: Frames, rasterizer: Rasterizer) -> TruthScore | None:
    """Albedo and normals of a synthetic subject, if its truth is of the size that was drawn."""
    paths = [subject.folder / "truth" / f"{number}.npz" for number in frames.track.frames.tolist()]
    if not all(path.is_file() for path in paths):
        return None
    truth = [load_truth(path, label) for path, label in zip(paths, frames.pictures.label.numpy(), strict=True)]
    if truth[0].inside.shape != frames.pictures.label.shape[1:]:
        return None
    albedo: list[Float[np.ndarray, "H W 3"]] = []
    normal: list[Float[np.ndarray, "H W 3"]] = []
    for drawn in draw_track(avatar, frames.track, rasterizer):
        picture = drawn.picture
        albedo += list(picture.buffer(picture.material.albedo).cpu().numpy())
        normal += list(picture.buffer(picture.surface.normal).cpu().numpy())
    return score_truth(albedo, normal, truth)


def _over(scores: list[PictureScore], name: str, average: type | object) -> float | None:
    values = [getattr(score, name) for score in scores]
    return None if any(value is None for value in values) else float(average(values))  # type: ignore[operator]
