"""What became of a batch: `summary.csv` and `summary.json` for programs, `summary.html` for people."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import cv2

from flare_cli.apps.batch.stages import Outcome
from flare_cli.apps.batch.work import STAGES, Work
from flare_cli.data.atomic import write_text_whole
from flare_cli.data.image import read_rgb
from flare_cli.data.json_file import write_json
from flare_cli.errors import SubjectError

CSV, JSON, PAGE = "summary.csv", "summary.json", "summary.html"
VERSION = 1
SCORES = ("psnr_foreground", "psnr_all_pixels", "psnr_with_clothes", "ssim", "lpips", "mae", "silhouette_iou")
SHOWN_SCORES = ("psnr_foreground", "ssim", "silhouette_iou")
MOST_PICTURES = 1000  # in the page: some 25 kB each
THUMBNAIL = 480  # pixels wide


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A subject: seconds and scores by name, and of what failed the stage, the reason and what to do.

    `begun` has the stages of `seconds`: when they began, in seconds since 1970.
    """

    name: str
    state: Literal["done", "failed"]
    failed_stage: str
    message: str
    hint: str
    begun: dict[str, float]
    seconds: dict[str, float]
    kept: list[str]
    scores: dict[str, float | None]
    files: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryFiles:
    """Where the summary is."""

    table: Path
    data: Path
    page: Path


def rows_of(works: Sequence[Work], outcomes: Mapping[str, Sequence[Outcome]]) -> list[Row]:
    """A row for each subject, in their order."""
    return [_row(work, outcomes[work.name]) for work in works]


def _row(work: Work, outcomes: Sequence[Outcome]) -> Row:
    failure = next((outcome for outcome in outcomes if outcome.state == "failed"), None)
    made = [outcome for outcome in outcomes if not outcome.stops]
    done = [outcome for outcome in made if outcome.state == "done"]
    files = [path for outcome in made for path in work.results(outcome.stage) if path.is_relative_to(work.folder)]
    return Row(
        name=work.name,
        state="done" if failure is None else "failed",
        failed_stage="" if failure is None else failure.stage,
        message="" if failure is None else failure.message,
        hint="" if failure is None else failure.hint,
        begun={outcome.stage: round(outcome.begun, 2) for outcome in done},
        seconds={outcome.stage: round(outcome.seconds, 2) for outcome in done},
        kept=[outcome.stage for outcome in made if outcome.state == "kept"],
        scores={name: value for outcome in made for name, value in outcome.scores.items()},
        files=[path.relative_to(work.folder.parent).as_posix() for path in files],
    )


def write_summary(out: Path, rows: Sequence[Row], seconds: float) -> SummaryFiles:
    """Write all three; `seconds` is what the batch took this time."""
    files = SummaryFiles(table=out / CSV, data=out / JSON, page=out / PAGE)
    failed = sum(row.state == "failed" for row in rows)
    about = {"version": VERSION, "subjects": len(rows), "failed": failed, "seconds": round(seconds, 2)}
    write_text_whole(files.table, _table(rows))
    write_json(files.data, {**about, "rows": [asdict(row) for row in rows]})
    write_text_whole(files.page, _page(out, rows, seconds))
    return files


def _table(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    header = ["name", "state", "failed_stage", "message", "hint", *(f"seconds_{stage}" for stage in STAGES), *SCORES]
    table = csv.DictWriter(text, header, lineterminator="\n")
    table.writeheader()
    for row in rows:
        values = {"name": row.name, "state": row.state, "failed_stage": row.failed_stage}
        values |= {"message": row.message, "hint": row.hint}
        times = {f"seconds_{stage}": taken for stage, taken in row.seconds.items()}
        table.writerow({**values, **times, **{name: row.scores.get(name) for name in SCORES}})
    return text.getvalue()


_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fafafa }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 1em }
article { background: white; border: 1px solid #ddd; border-radius: 6px; padding: .8em; overflow-wrap: anywhere }
article.failed { border-color: #c33 } article.failed strong { color: #c33 }
img { width: 100%; border-radius: 4px } h2 { font-size: 1em; margin: .2em 0 } p { margin: .3em 0 } small { color: #666 }
"""


def _page(out: Path, rows: Sequence[Row], seconds: float) -> str:
    """One page without anything from elsewhere; those that failed come first."""
    failed = [row for row in rows if row.state == "failed"]
    done = [row for row in rows if row.state == "done"]
    shown = [*failed, *done][:MOST_PICTURES]
    more = "" if len(shown) == len(rows) else f" The first {len(shown)} are shown, all are in {CSV}."
    articles = "\n".join(_article(out, row) for row in shown)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>flare batch: {len(done)} of {len(rows)}</title><style>{_STYLE}</style>
<h1>{len(done)} of {len(rows)} subjects</h1>
<p>{len(failed)} failed; {seconds:.0f} s this time.{more} Pictures: recorded, drawn, albedo, light, roughness, normals
of a frame that the fit has not seen. Scores are means over such frames.</p>
<main>
{articles}
</main></html>
"""


def _article(out: Path, row: Row) -> str:
    """A subject: everything that comes from files or names is escaped."""
    lines = [f"<h2>{html.escape(row.name)}</h2>", _thumbnail(out / row.name)]
    if row.state == "failed":
        lines += [
            f"<p><strong>{html.escape(row.failed_stage)} failed</strong>: {html.escape(row.message)}</p>",
            f"<p>{html.escape(row.hint)}</p>",
        ]
    known = [f"{name.replace('_', ' ')} {row.scores[name]:.4g}" for name in SHOWN_SCORES if row.scores.get(name)]
    times = [f"{stage} {taken:.1f} s" for stage, taken in row.seconds.items()]
    times += [f"{stage} kept" for stage in row.kept]
    lines += [f"<p>{html.escape(', '.join(known))}</p>", f"<p><small>{html.escape(', '.join(times))}</small></p>"]
    links = [f'<a href="{html.escape(quote(file))}">{html.escape(Path(file).name)}</a>' for file in row.files]
    lines.append(f"<p><small>{' · '.join(links)}</small></p>")
    return f'<article class="{row.state}">{"".join(lines)}</article>'


def _thumbnail(folder: Path) -> str:
    """The first row of the sheet of an eval, else preprocessing's, as an <img>; nothing if there is none."""
    for path, columns in ((folder / "run/eval/comparison.png", 6), (folder / "subject/preview/contact_sheet.png", 1)):
        if not path.is_file():
            continue
        try:
            picture = read_rgb(path)
        except SubjectError:
            continue  # a picture less, and the page is told in words
        picture = picture[: picture.shape[1] // columns]  # pictures are square, or nearly so
        height = max(1, round(picture.shape[0] * THUMBNAIL / picture.shape[1]))
        small = cv2.resize(picture, (THUMBNAIL, height), interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
        assert done
        return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}">'
    return ""
