"""The page that tells a person what preprocessing made of a recording, and what the recording lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from flare_cli.data.image import read_rgb
from flare_cli.data.report_page import Chart, card, charts, element, facts, figure, hints, section, table, verdict
from flare_cli.data.report_page import write_page as write
from flare_cli.track.request import PreprocessResult
from flare_cli.track.review.checks import weak_first
from flare_cli.track.review.recording import Recording


def write_page(
    path: Path, video: str, result: PreprocessResult, times: Sequence[float], recording: Recording, sheet: Path
) -> None:
    """Write it. `times` are those of the frames that are kept (seconds), `sheet` is the contact sheet's picture."""
    weak = weak_first(result.checks)
    said = "Nothing stands in the way of a good avatar." if not weak else _summary([c.verdict for c in weak])
    write(
        path,
        f"Recording: {video}",
        [
            element("h1", f"Recording: {video}"),
            element("p", said, class_="soft"),
            facts(
                [
                    ("frames kept", f"{result.kept} of {result.frames}"),
                    ("seconds", f"{times[-1] - times[0]:.1f}"),
                    ("landmark error, of the eye distance", f"{result.median_error:.2%}"),
                    ("focal length in pixels", f"{result.focal:.0f}"),
                ]
            ),
            *([section("What will be weak", _weak(result))] if weak else []),
            section("Over time", charts(_charts(np.asarray(times), recording))),
            section("As it was tracked", figure(read_rgb(sheet), _SHEET)),
            section("All checks", card(_checks(result))),
            *([section("Frames that are left out", card(_excluded(result)))] if result.excluded else []),
        ],
    )


_SHEET = (
    "Left to right: the recording; the tracked head; labels; what the fit will explain, over green. One row is the"
    " frame that was tracked worst. preview/overlay.mp4 shows all of them."
)


def _summary(verdicts: Sequence[str]) -> str:
    poor = verdicts.count("poor")
    limited = len(verdicts) - poor
    told = [
        f"{n} {'thing is' if n == 1 else 'things are'} {kind}"
        for n, kind in ((poor, "poor"), (limited, "limited"))
        if n
    ]
    return f"{' and '.join(told)}: the avatar will be weak there. Recording again is worth more than any setting."


def _weak(result: PreprocessResult) -> ElementTree.Element:
    return hints((c.verdict, f"{c.name}: {c.found} (wanted: {c.wanted})", c.advice) for c in weak_first(result.checks))


def _checks(result: PreprocessResult) -> ElementTree.Element:
    rows = [(c.name, verdict(c.verdict), c.found, c.wanted) for c in result.checks]
    return table(("check", "", "found", "wanted"), rows)


def _excluded(result: PreprocessResult) -> ElementTree.Element:
    runs: list[tuple[int, int, str]] = []
    for number, reason in result.excluded:
        if runs and runs[-1][1] == number - 1 and runs[-1][2] == reason:
            runs[-1] = (runs[-1][0], number, reason)
        else:
            runs.append((number, number, reason))
    rows = [(str(first) if first == last else f"{first} to {last}", reason) for first, last, reason in runs]
    return table(("frame", "reason"), rows)


def _charts(times: np.ndarray, recording: Recording) -> list[Chart]:
    pixels = recording.pixels
    stops = np.log2(np.maximum(pixels["luminance"], 2.0**-12) / np.nanmedian(pixels["luminance"]))
    plots: list[tuple[str, dict[str, np.ndarray], tuple[float, float]]] = [
        ("Landmark error, % of the eye distance", {"error": 100 * recording.error}, (0, 2)),
        (
            "Seen from, degrees",
            {"left (+), right (-)": recording.yaw, "above (+), below (-)": recording.pitch},
            (-20, 20),
        ),
        ("Mouth and eyes, % open", {"mouth": 100 * recording.mouth, "eyes": 100 * recording.eyes}, (0, 30)),
        ("Blur of edges, % of the face's height", {"blur": 100 * pixels["blur"]}, (0, 1)),
        ("Exposure of the face, stops from its median", {"exposure": stops}, (-0.25, 0.25)),
        ("Clipped, % of the face", {"white": 100 * pixels["white"], "black": 100 * pixels["black"]}, (0, 2)),
    ]
    return [Chart(title=t, x=times, x_name="seconds", lines=lines, shows=shows) for t, lines, shows in plots]
