"""Pages of reports: every text is a text, nothing is loaded, lines are where their numbers are."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from flare_cli.data.report_page import Chart, charts, element, facts, figure, hints, table, ticks, write_page

NASTY = "<script>alert('1')</script> & \"quotes\" \x1b[2J \ud800 </title>"


def test_no_text_becomes_markup(tmp_path: Path):
    page = tmp_path / "deep" / "page.html"
    line = Chart(title=NASTY, x=np.arange(2.0), x_name=NASTY, lines={NASTY: np.ones(2), "b": np.ones(2)})
    picture = figure(np.zeros((4, 6, 3), np.uint8), NASTY)
    write_page(
        page,
        NASTY,
        [
            element("h1", NASTY),
            facts([(NASTY, NASTY)]),
            hints([("poor", NASTY, NASTY)]),
            table((NASTY,), [(NASTY,)]),
            picture,
            charts([line]),
        ],
    )
    text = page.read_text(encoding="utf-8")
    tags: list[str] = []
    texts: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)
    parser.handle_data = texts.append
    parser.feed(text)
    assert "script" not in tags
    assert tags.count("title") == 1
    assert sum("<script>alert('1')</script>" in piece for piece in texts) > 8
    assert "\x1b" not in text
    assert "default-src 'none'" in text
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'(?:src|href)="([^"]*)"', text))


def test_mixed_content_keeps_its_order():
    made = element("p", "a ", element("b", "b"), " c", " d", class_="soft")
    assert "".join(made.itertext()) == "a b c d"
    assert made.get("class") == "soft"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-3.2, 11, [-5, 0, 5, 10, 15]), (31.2, 31.9, [31.2, 31.4, 31.6, 31.8, 32])],
)
def test_ticks_are_round_and_hold_all(low: float, high: float, expected: list[float]):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
def test_a_constant_has_an_axis_too(value: float):
    marks = ticks(value, value)
    assert marks[0] < marks[-1]
    assert marks[0] <= value <= marks[-1]


def test_a_line_is_where_its_numbers_are_and_interrupted_where_they_are_none():
    values = np.array([0.0, 1.0, np.nan, 0.5])
    drawn = charts([Chart(title="t", x=np.arange(4.0), x_name="frame", lines={"l": values})])
    (path,) = drawn.iter("path")
    moves = re.findall(r"([ML])([\d.]+) ([\d.]+)", path.get("d", ""))
    assert [pen for pen, *_ in moves] == ["M", "L", "M"]
    x, y = np.array([place for _, *place in moves], float).T
    np.testing.assert_allclose((x - x[0]) / (x[-1] - x[0]), [0, 1 / 3, 1], atol=1e-3)
    np.testing.assert_allclose((y - y[0]) / (y[1] - y[0]), [0, 1, 0.5], atol=1e-3)
    grid = {mark.text: mark for mark in drawn.iter("text") if mark.get("text-anchor") == "end"}
    assert float(grid["1"].get("y", "")) == pytest.approx(y[1])


def test_a_chart_of_nothing_is_drawn():
    nothing = np.full(3, np.nan)
    list(charts([Chart(title="t", x=np.arange(3.0), x_name="s", lines={"l": nothing})]).iter("path"))
    charts([Chart(title="t", x=np.zeros(1), x_name="s", lines={"l": np.ones(1)})])
