"""The table of a benchmark: as one JSON object, as CSV, and as short tables for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from statistics import mean
from typing import Any

from flare_cli.data.atomic import write_text_whole
from flare_cli.data.json_file import write_json
from flare_cli.show.honest_rows import OWN, TRUE_LIGHT
from flare_cli.show.truth_scores import TruthScores

VERSION = 1
PROTOCOL = {
    "pixels": "true coverage above 0.5, clothes (labels 15, 16) left out; all pixels of all frames together",
    "psnr": "peak 1, at most 100 dB; pictures as sRGB of radiance clipped to 0..1, albedo linear",
    "aligned": "after one factor per channel for all frames: least squares on linear values, where truth is below 1",
    "face": "skin, brows, eyes, nose and lips",
    "normal, depth, albedo, roughness": "where both show the head; normals in camera axes",
    "depth_mm": "mean absolute, after each frame's median offset",
    "vertices_mm": "mean distance on the face after one similarity per frame",
    "light": "on a white matte ball and on a mirror ball of roughness 0.2, from the camera",
    "attribution": "gain in dB of own maps when one is replaced by the true one",
}
NAMES = ("subject", "name", "row", "frames")
# Lines of a table for people: title, which numbers (their mean where there are several), decimals.
LINES = (
    ("picture, dB", "picture.psnr", 1),
    ("silhouette IoU", "silhouette_iou", 3),
    ("normals, degrees", "normal.degrees", 1),
    ("  face", "normal.degrees_face", 1),
    ("depth, mm", "depth_mm", 1),
    ("vertices, mm", "vertices_mm", 1),
    ("albedo, dB", "albedo.psnr", 1),
    ("  aligned", "albedo.psnr_aligned", 1),
    ("  hue, degrees", "albedo.hue_degrees", 1),
    ("roughness", "roughness", 2),
    ("relit, dB", "relit.*.psnr", 1),
    ("  aligned", "relit.*.psnr_aligned", 1),
    ("  face, aligned", "relit.*.psnr_face_aligned", 1),
    ("views, dB", "views.*.psnr", 1),
    ("  IoU", "views.*.silhouette_iou", 3),
    ("light, matte, dB", "light_matte.psnr", 1),
    ("  aligned", "light_matte.psnr_aligned", 1),
    ("light, mirror, dB", "light_mirror.psnr", 1),
    ("  aligned", "light_mirror.psnr_aligned", 1),
)
RELIT_GAIN, LIGHT_GAIN = "relit.*.psnr_aligned", "picture.psnr_aligned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: the scores of an avatar, of an honest row, or of an avatar with one map replaced.

    `name` is the run or the folder of predictions that is scored, empty for the honest rows of a subject.
    """

    subject: str
    name: str
    row: str
    frames: int
    scores: TruthScores


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What one replaced map brings to an avatar, in dB, by the names of the scores that both have."""

    subject: str
    name: str
    row: str
    gain: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Text for people."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def table_report(rows: Sequence[Row], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, after `about`, as it goes into JSON."""
    return {
        "version": VERSION,
        **about,
        "protocol": PROTOCOL,
        "rows": [{**_names(row), "scores": row.scores.numbers()} for row in rows],
        "attribution": [{"subject": g.subject, "name": g.name, "row": g.row, "gain": g.gain} for g in gains(rows)],
    }


def write_table(folder: Path, rows: Sequence[Row], report: dict[str, Any]) -> tuple[Path, Path]:
    """Write the report as `truth.json`, and `truth.csv` with a line per row; each is whole or not there."""
    as_json, as_csv = folder / "truth.json", folder / "truth.csv"
    numbers = [row.scores.numbers() for row in rows]
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, [*NAMES, *dict.fromkeys(name for known in numbers for name in known)])
    table.writeheader()
    table.writerows({**_names(row), **known} for row, known in zip(rows, numbers, strict=True))
    write_json(as_json, report)
    write_text_whole(as_csv, text.getvalue())
    return as_json, as_csv


def gains(rows: Sequence[Row]) -> list[Gain]:
    """Every replacement against the avatar's own maps."""
    own = {(row.subject, row.name): row.scores.numbers() for row in rows if row.row == OWN}
    found: list[Gain] = []
    for row in rows:
        if not _is_replacement(row):
            continue
        before, after = own[row.subject, row.name], row.scores.numbers()
        gain = {name: after[name] - before[name] for name in after if name in before and "psnr" in name}
        found.append(Gain(subject=row.subject, name=row.name, row=row.row, gain=gain))
    return found


def score_tables(rows: Sequence[Row]) -> list[Table]:
    """One for each subject: a column for the honest row and everybody scored, the ceiling last."""
    tables: list[Table] = []
    for subject in dict.fromkeys(row.subject for row in rows):
        shown = [row for row in rows if row.subject == subject and row.row != OWN and not _is_replacement(row)]
        numbers = [row.scores.numbers() for row in shown]
        lines = [[title, *(_cell(known, wanted, decimals) for known in numbers)] for title, wanted, decimals in LINES]
        frames = ", ".join(dict.fromkeys(str(row.frames) for row in shown))
        title = f"{subject}: {frames} frames against the truth"
        tables.append(Table(title=title, header=["", *(row.name or row.row for row in shown)], rows=lines))
    return tables


def attribution_table(rows: Sequence[Row]) -> Table:
    """An avatar per line, a replaced map per column: aligned dB, relit; for the light those of the recording."""
    found = gains(rows)
    kinds = list(dict.fromkeys(gain.row for gain in found))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for gain in found:
        wanted = LIGHT_GAIN if gain.row == TRUE_LIGHT else RELIT_GAIN
        lines.setdefault((gain.subject, gain.name), {})[gain.row] = _cell(gain.gain, wanted, 1, sign="+")
    return Table(
        title="dB gained by one true map: relit, aligned; by the light: as recorded, aligned",
        header=["", "", *kinds],
        rows=[[*who, *(cells.get(kind, "") for kind in kinds)] for who, cells in lines.items()],
    )


def _is_replacement(row: Row) -> bool:
    return row.row.startswith("true ")


def _names(row: Row) -> dict[str, str | int]:
    return {name: getattr(row, name) for name in NAMES}


def _cell(numbers: Mapping[str, float], wanted: str, decimals: int, sign: str = "") -> str:
    found = [value for name, value in numbers.items() if fnmatch(name, wanted)]
    return f"{mean(found):{sign}.{decimals}f}" if found else ""
