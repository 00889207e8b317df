"""Reports as single web pages: tables, pictures and line charts (SVG) of elements that escape their texts.

A page asks nobody for anything: its pictures are in it, it has no scripts, and a policy keeps the browser to that.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float, UInt8

from flare_cli.data.atomic import write_bytes_whole
from flare_cli.data.meshes.textured_mesh import jpeg

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PICTURE_QUALITY = 88  # of JPEGs
# A chart in SVG units, which are CSS pixels where a page is 1080 wide: all of it, and the room for its axes.
CHART = (500, 190)
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 24
NAME_WIDTH = 80  # what the name of x may take of its axis
TICKS = 5  # about as many on an axis
COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea")
STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #667085; --line: #e4e7ec; --page: #f6f7f9; --card: #fff;
  --good: #067647; --limited: #b54708; --poor: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf0; --soft: #98a2b3; --line: #344054; --page: #10141c;
  --card: #1a202c; --good: #47cd89; --limited: #fdb022; --poor: #f97066; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1128px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 36px 0 12px; }
p { margin: 6px 0; } .soft { color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0 0; }
.fact, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.fact b { display: block; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
.fact span { color: var(--soft); font-size: 13px; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 12px; }
section > .card + .card { margin-top: 12px; } summary { cursor: pointer; }
.card h3 { font-size: 14px; margin: 0 0 4px; } .key { font-size: 12px; margin-right: 14px; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 14px; height: 3px; margin: 0 6px 3px 0; }
.key::before { background: var(--of); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 16px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; font-size: 13px; } tr:last-child td { border-bottom: 0; }
.scroll { overflow-x: auto; } figure { margin: 0; } figcaption { color: var(--soft); font-size: 13px; margin-top: 6px; }
img { max-width: 100%; border-radius: 6px; display: block; } svg { width: 100%; height: auto; display: block; }
svg path { fill: none; stroke-width: 1.6; stroke-linecap: round; stroke-linejoin: round; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); } ul.hints { list-style: none; margin: 0; padding: 0; }
ul.hints li { padding: 10px 0; border-bottom: 1px solid var(--line); display: grid; }
ul.hints li { grid-template-columns: 68px 1fr; } ul.hints p { margin: 0; grid-column: 2; }
ul.hints li:last-child { border-bottom: 0; }
.mark { display: inline-block; min-width: 64px; font-size: 12px; font-weight: 600; } .good { color: var(--good); }
.limited { color: var(--limited); } .poor { color: var(--poor); }
@media print { body { background: #fff; } .card, .fact { break-inside: avoid; } }
"""


def element(tag: str, *content: ElementTree.Element | str, **attributes: str) -> ElementTree.Element:
    """An element of texts and elements. `class_` is the attribute class, `stroke_width` is stroke-width."""
    made = ElementTree.Element(tag, {name.rstrip("_").replace("_", "-"): text for name, text in attributes.items()})
    for part in content:
        if isinstance(part, ElementTree.Element):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + part
        else:
            made.text = (made.text or "") + part
    return made


def write_page(path: Path, title: str, content: Iterable[ElementTree.Element]) -> None:
    """Write a page; the file is whole or not there."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", content=POLICY, **{"http-equiv": "Content-Security-Policy"}),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", STYLE),
    )
    page = element("html", head, element("body", element("main", *content), data_drawn="yes"), lang="en")
    text = ElementTree.tostring(page, encoding="unicode", method="html")
    # What XML can't hold, a file's name may: control characters become the sign for it, as do halves of pairs.
    text = "".join(letter if letter >= " " or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text)
    write_bytes_whole(path, f"<!DOCTYPE html>\n{text}".encode(errors="replace"))


def section(title: str, *content: ElementTree.Element) -> ElementTree.Element:
    """A part of a page with a heading."""
    return element("section", element("h2", title), *content)


def card(*content: ElementTree.Element) -> ElementTree.Element:
    """What belongs together, in a frame."""
    return element("div", *content, class_="card")


def facts(values: Sequence[tuple[str, str]]) -> ElementTree.Element:
    """A row of names and values, large."""
    cells = [element("div", element("b", value), element("span", name), class_="fact") for name, value in values]
    return element("div", *cells, class_="facts")


def table(header: Sequence[str], rows: Iterable[Sequence[ElementTree.Element | str]]) -> ElementTree.Element:
    """A table with a header."""
    head = element("tr", *(element("th", text) for text in header))
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_="scroll")


def verdict(kind: str, text: str | None = None) -> ElementTree.Element:
    """A coloured word: good, limited or poor."""
    return element("span", text or kind, class_=f"mark {kind}")


def hints(items: Iterable[tuple[str, str, str]]) -> ElementTree.Element:
    """What is not as it could be: verdict, what was found, and what to do about it."""
    rows = [
        element("li", verdict(kind), element("b", found), *([element("p", advice, class_="soft")] if advice else []))
        for kind, found, advice in items
    ]
    return card(element("ul", *rows, class_="hints"))


def figure(picture: UInt8[np.ndarray, "H W 3"], caption: str) -> ElementTree.Element:
    """An sRGB picture, kept in the page as JPEG."""
    data = base64.b64encode(jpeg(picture, PICTURE_QUALITY)).decode("ascii")
    height, width = picture.shape[:2]
    source = element(
        "img",
        src=f"data:image/jpeg;base64,{data}",
        alt=caption,
        width=str(width),
        style=f"aspect-ratio:{width}/{height}",
    )
    return card(element("figure", source, element("figcaption", caption)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over a common x. A value that is not finite is a gap.

    `shows` is a range of y that is always seen: what is small beside it looks small.
    """

    title: str
    x: Float[np.ndarray, "N"]
    x_name: str
    lines: dict[str, Float[np.ndarray, "N"]]
    shows: tuple[float, float] | None = None


def charts(drawn: Iterable[Chart]) -> ElementTree.Element:
    """Charts side by side."""
    return element("div", *map(_chart, drawn), class_="grid")


def _chart(chart: Chart) -> ElementTree.Element:
    """A card with the chart's title, its lines' names, and the drawing."""
    names = list(chart.lines) if len(chart.lines) > 1 else []
    keys = [element("span", n, class_="key", style=f"--of:{c}") for n, c in zip(names, COLOURS, strict=False)]
    return card(element("h3", chart.title), element("div", *keys), _drawing(chart))


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values to places in the drawing: `low` is at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _drawing(chart: Chart) -> ElementTree.Element:
    width, height = CHART
    shown = np.concatenate([*chart.lines.values(), chart.shows or ()])
    shown = shown[np.isfinite(shown)]
    y_ticks = ticks(float(shown.min()), float(shown.max())) if len(shown) else [0.0, 1.0]
    x_low, x_high = (float(chart.x.min()), float(chart.x.max())) if len(chart.x) else (0.0, 1.0)
    x_ticks = ticks(x_low, x_high)
    if not x_high > x_low:
        x_low, x_high = x_ticks[0], x_ticks[-1]
    across = _Axis(x_low, x_high, LEFT, width - RIGHT)
    down = _Axis(y_ticks[0], y_ticks[-1], height - BOTTOM, TOP)
    right, foot = str(width - RIGHT), str(height - 8)
    parts: list[ElementTree.Element] = []
    for tick in y_ticks:
        y = f"{down(tick):.1f}"
        parts.append(element("line", stroke="var(--line)", x1=str(LEFT), x2=right, y1=y, y2=y))
        parts.append(element("text", f"{tick:.4g}", x=str(LEFT - 6), y=y, dy="4", text_anchor="end"))
    for tick in x_ticks:
        if x_low <= tick <= x_high and across(tick) < width - NAME_WIDTH:
            parts.append(element("text", f"{tick:.4g}", x=f"{across(tick):.1f}", y=foot, text_anchor="middle"))
    parts.append(element("text", chart.x_name, x=right, y=foot, text_anchor="end"))
    for line, colour in zip(chart.lines.values(), COLOURS, strict=False):
        drawing = _path([(across(x), down(y)) for x, y in zip(chart.x.tolist(), line.tolist(), strict=True)])
        parts.append(element("path", d=drawing, stroke=colour))
    return element("svg", *parts, viewBox=f"0 0 {width} {height}", role="img", **{"aria-label": chart.title})


def _path(points: Sequence[tuple[float, float]]) -> str:
    """The line through all points; it is interrupted where y is not finite, and a lone point is a dot."""
    words: list[str] = []
    pen_is_down = False
    for x, y in points:
        if math.isfinite(y):
            words.append(f"L{x:.1f} {y:.1f}" if pen_is_down else f"M{x:.1f} {y:.1f}h0")
        pen_is_down = math.isfinite(y)
    return "".join(words)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        low, high = low - abs(low) / 2 - 1e-9, high + abs(high) / 2 + 1e-9
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]
