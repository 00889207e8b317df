"""How well an avatar repeats recorded frames: scores, and the report that tells them as numbers, table and pictures."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.data.celebamask import CLOTHES, OCCLUDED
from flare_cli.data.image import write_png
from flare_cli.data.json_file import write_json
from flare_cli.fit.frames import Frames
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.score.metrics import PictureScore, lpips_or_reason, score_picture
from flare_cli.show.eval_page import EvalPage, write_eval_page
from flare_cli.show.predicted import Prediction, predicted_maps
from flare_cli.show.track_pictures import comparison_sheet, draw_track, to_bytes
from flare_cli.show.truth_scores import score_against_truth
from flare_cli.subject.folder import Subject
from flare_cli.subject.track import Track
from flare_cli.subject.truth import load_truth, truth_folder

SHEET_FRAMES = 5
SCORES = tuple(field.name for field in fields(PictureScore))
CONVENTIONS = {
    "mae, psnr_foreground": "error under the mask without clothes (labels 15, 16) / area of that mask",
    "psnr_all_pixels": "the same squared error / all pixels (as FLARE publishes it)",
    "psnr_with_clothes": "psnr_foreground with the clothes left in",
    "ssim, lpips": "over white, clothes left out, whole picture",
    "silhouette_iou": "of the whole mask",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthScore:
    """What `flare eval` says of a synthetic subject even without --truth: three of docs/benchmark.md's scores."""

    albedo_raw: float
    albedo_aligned: float
    normal_degrees: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of some frames, in their order; `truth` only of a synthetic subject."""

    frames: list[PictureScore]
    truth: TruthScore | None
    lpips_status: str

    def mean(self) -> dict[str, float | None]:
        """Each score's mean; None where a frame has none."""
        return self._over(mean)

    def median(self) -> dict[str, float | None]:
        """Each score's median; None where a frame has none."""
        return self._over(median)

    def _over(self, average: Callable[[Iterable[Any]], float]) -> dict[str, float | None]:
        columns = {name: [getattr(score, name) for score in self.frames] for name in SCORES}
        return {name: None if None in values else float(average(values)) for name, values in columns.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """Where the parts of a report are."""

    report: Path
    table: Path
    pictures: Path
    page: Path


def score_frames(
    avatar: Avatar,
    subject: Subject,
    frames: Frames,
    rasterizer: Rasterizer,
    folder: Path,
    progress: Callable[[int, int], None],
) -> Scores:
    """Draw `frames` of `subject`, write each picture to `folder`, and score it against the recorded one."""
    lpips, lpips_status = lpips_or_reason()
    scores: list[PictureScore] = []
    recorded, masks = frames.pictures.srgb().numpy(), frames.pictures.coverage()[..., 0].numpy()
    labels = frames.pictures.label.numpy()
    clothes, occluded = np.isin(labels, CLOTHES), labels == OCCLUDED
    numbers = frames.track.frames.tolist()
    for drawn in draw_track(avatar, frames.track, rasterizer):
        pictures = to_bytes(drawn.picture.colour)
        coverage = drawn.picture.coverage[..., 0].cpu().numpy()
        for i, picture in enumerate(pictures):
            frame = drawn.start + i
            score = score_picture(
                picture / 255.0,
                recorded[frame],
                drawn_mask=np.where(occluded[frame], 0, coverage[i]),  # the mask is 0 there, too
                mask=masks[frame],
                clothes=clothes[frame],
                lpips=lpips,
            )
            scores.append(score)
            write_png(folder / f"{numbers[frame]}.png", picture)
            progress(len(scores), len(frames))
    truth = _against_truth(avatar, subject, frames, rasterizer)
    return Scores(frames=scores, truth=truth, lpips_status=lpips_status)


def write_report(
    folder: Path,
    scores: Scores,
    avatar: Avatar,
    frames: Frames,
    rasterizer: Rasterizer,
    about: dict[str, Any],
    *,
    trained: Track | None,
) -> ReportFiles:
    """Write `report.json` (after `about`), `frames.csv`, `comparison.png` of a few of the frames, and a page of it all.

    The pictures that `score_frames` drew are in `folder/frames`. `trained` is the track of the training frames, where
    these were held out.
    """
    names = {"report": "report.json", "table": "frames.csv", "pictures": "comparison.png", "page": "report.html"}
    files = ReportFiles(**{part: folder / name for part, name in names.items()})
    shown = torch.linspace(0, len(frames) - 1, min(SHEET_FRAMES, len(frames))).long()
    comparison = comparison_sheet(avatar, frames[shown].to(avatar.device), rasterizer)
    write_png(files.pictures, comparison)
    with files.table.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["frame", *SCORES])
        table.writeheader()
        for number, score in zip(frames.track.frames.tolist(), scores.frames, strict=True):
            table.writerow({"frame": number, **asdict(score)})
    report = {
        **about,
        "mean": scores.mean(),
        "median": scores.median(),
        "lpips": scores.lpips_status,
        "truth": None if scores.truth is None else asdict(scores.truth),
        "conventions": CONVENTIONS,
    }
    write_json(files.report, report)
    page = EvalPage(
        title=folder.resolve().parent.name,
        report=report,
        scores=scores.frames,
        frames=frames,
        drawn=folder / "frames",
        comparison=comparison,
        trained=trained,
    )
    write_eval_page(files.page, page)
    return files


def _against_truth(avatar: Avatar, subject: Subject, frames: Frames, rasterizer: Rasterizer) -> TruthScore | None:
    """Albedo and normals of a synthetic subject, where every frame has truth."""
    numbers, camera = frames.track.frames.tolist(), frames.track.camera
    if not all((truth_folder(subject) / f"{number}.npz").is_file() for number in numbers):
        return None
    truth = load_truth(subject, numbers, camera.height, camera.width, device=avatar.device, maps_only=True)
    maps, _ = predicted_maps(avatar, frames.track, rasterizer)
    scores = score_against_truth(truth, Prediction.of_maps(maps)).numbers()
    if not {"albedo.psnr", "albedo.psnr_aligned", "normal.degrees"} <= set(scores):
        return None  # nothing is drawn where the head is
    return TruthScore(
        albedo_raw=scores["albedo.psnr"],
        albedo_aligned=scores["albedo.psnr_aligned"],
        normal_degrees=scores["normal.degrees"],
    )
