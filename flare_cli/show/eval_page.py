"""The page that tells a person how well an avatar repeats frames, where it does not, and what would help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from flare_cli.data.image import read_rgb
from flare_cli.data.report_page import Chart, card, charts, element, facts, figure, hints, section, table, write_page
from flare_cli.fit.frames import Frames
from flare_cli.score.metrics import PictureScore
from flare_cli.show.eval_hints import angles, eval_hints
from flare_cli.show.track_pictures import sheet
from flare_cli.subject.track import Track

SHOWN = 3  # of the worst frames; below them the median one
BRIGHTEST = 0.25  # of sRGB, mean over the channels: the error that the brightest colour stands for
SCORED = {
    "held out": "that the fit has not seen",
    "training": "that the fit was made of",
    "another recording": "of another recording",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalPage:
    """What the page tells. `report` is what `report.json` holds, `drawn` the folder of the drawn frames.

    `trained` is the track of the training frames, where those that are scored were held out.
    """

    title: str
    report: dict[str, Any]
    scores: list[PictureScore]
    frames: Frames
    drawn: Path
    comparison: UInt8[np.ndarray, "H W 3"]
    trained: Track | None


def write_eval_page(path: Path, page: EvalPage) -> None:
    """Write it. Every number is one of `report` or of the scores, to four digits."""
    report, mean = page.report, page.report["mean"]
    height, width = report["size"]
    large = [("psnr_foreground", "dB PSNR on the head"), ("ssim", "SSIM"), ("silhouette_iou", "IoU of the outline")]
    large += [("lpips", "LPIPS")] if mean["lpips"] is not None else []
    worst = _worst(page)
    found = eval_hints(report, page.scores, page.frames.track, page.trained)
    told = [("limited", hint.found, hint.advice) for hint in found]
    write_page(
        path,
        f"Avatar: {page.title}",
        [
            element("h1", f"Avatar: {page.title}"),
            element("p", f"{report['frames']} frames {SCORED[report['scored']]}, {width} x {height}", class_="soft"),
            element("p", f"subject {report['subject']}", class_="soft"),
            facts([(label, _number(mean[name])) for name, label in large]),
            *([section("Where it is weak, and what helps", hints(told))] if told else []),
            section("Frame by frame", charts(_charts(page))),
            section(
                "The frames that are worst, and the median one",
                figure(_side_by_side(page, worst), _caption(page, worst)),
            ),
            section("What the avatar is made of", figure(page.comparison, _COMPARISON)),
            section("Scores", card(_means(report)), *_others(report)),
            section("All frames", card(_all_frames(page))),
        ],
    )


_COMPARISON = "Left to right: recorded, drawn, albedo, diffuse light / 2, roughness, normals."


def _column(page: EvalPage, name: str) -> Float[np.ndarray, "N"]:
    return np.array([np.nan if (value := getattr(score, name)) is None else value for score in page.scores], np.float64)


def _charts(page: EvalPage) -> list[Chart]:
    numbers = page.frames.track.frames.numpy().astype(np.float64)
    yaw, pitch = angles(page.frames.track)
    head, clothed = _column(page, "psnr_foreground"), _column(page, "psnr_with_clothes")
    plots: list[tuple[str, dict[str, np.ndarray], tuple[float, float] | None]] = [
        ("PSNR, dB", {"head": head, "with clothes": clothed}, None),
        ("IoU of the outline", {"IoU": _column(page, "silhouette_iou")}, (0.95, 1)),
        ("SSIM", {"SSIM": _column(page, "ssim")}, (0.95, 1)),
        ("Seen from, degrees", {"left (+), right (-)": yaw, "above (+), below (-)": pitch}, (-20, 20)),
    ]
    lpips = _column(page, "lpips")
    if np.isfinite(lpips).any():
        plots.insert(3, ("LPIPS", {"LPIPS": lpips}, (0, 0.1)))
    return [Chart(title=t, x=numbers, x_name="frame", lines=lines, shows=shows) for t, lines, shows in plots]


def _worst(page: EvalPage) -> list[int]:
    """The worst frames' indices and the median one's."""
    order = np.argsort(_column(page, "psnr_foreground")).tolist()
    return list(dict.fromkeys([*order[:SHOWN], order[len(order) // 2]]))


def _caption(page: EvalPage, shown: list[int]) -> str:
    numbers = page.frames.track.frames[shown].tolist()
    told = [
        f"{number} ({_number(page.scores[k].psnr_foreground)} dB)" for number, k in zip(numbers, shown, strict=True)
    ]
    error = f"error (brightest: {BRIGHTEST:.0%} of white, mean over the channels)"
    return f"Frames {', '.join(told)}. Left to right: recorded, drawn, {error}."


def _side_by_side(page: EvalPage, shown: list[int]) -> UInt8[np.ndarray, "H W 3"]:
    """Recorded, drawn and error, a row a frame."""
    chosen = page.frames[torch.tensor(shown)]
    inside = chosen.pictures.coverage().numpy()
    recorded = chosen.pictures.srgb().numpy() * inside
    rows: list[list[UInt8[np.ndarray, "h w 3"]]] = []
    for k, number in enumerate(chosen.track.frames.tolist()):
        drawn = read_rgb(page.drawn / f"{number}.png")
        error = np.abs(recorded[k] - drawn / np.float32(255) * inside[k]).mean(-1)
        heat = cv2.applyColorMap((error / BRIGHTEST * 255).clip(0, 255).astype(np.uint8), cv2.COLORMAP_HOT)
        rows.append([np.rint(recorded[k] * 255).astype(np.uint8), drawn, cv2.cvtColor(heat, cv2.COLOR_BGR2RGB)])
    return sheet(rows)


def _means(report: dict[str, Any]) -> ElementTree.Element:
    said = {name.strip(): text for names, text in report["conventions"].items() for name in names.split(",")}
    rows = [(n, _number(report["mean"][n]), _number(report["median"][n]), said.get(n, "")) for n in report["mean"]]
    return table(("score", "mean", "median", "what it is"), rows)


def _others(report: dict[str, Any]) -> list[ElementTree.Element]:
    """Cards of scores that not every report has."""
    named = {
        "truth": "Against the truth of a synthetic subject",
        "refined_on_test_pixels": "After refining the track on these frames' own pixels",
    }
    cards: list[ElementTree.Element] = []
    for key, title in named.items():
        if (values := report.get(key)) is not None:
            rows = [(name, _number(value)) for name, value in values.items()]
            cards.append(card(element("h3", title), table(("score", "mean"), rows)))
    return cards


def _all_frames(page: EvalPage) -> ElementTree.Element:
    names = list(page.report["mean"])
    numbers = page.frames.track.frames.tolist()
    rows = [
        (str(number), *(_number(getattr(score, name)) for name in names))
        for number, score in zip(numbers, page.scores, strict=True)
    ]
    return element("details", element("summary", f"{len(rows)} frames"), table(("frame", *names), rows))


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"
