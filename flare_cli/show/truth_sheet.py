"""One frame of a truth and of everybody's predictions as pictures, with maps of the errors below."""

from __future__ import annotations

from pathlib import Path
from typing import final

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from flare_cli.data.image import write_png
from flare_cli.score.buffers import angles
from flare_cli.show.predicted import Prediction, predicted_by_truth
from flare_cli.show.track_pictures import sheet
from flare_cli.show.truth_scores import TruthScores, display
from flare_cli.subject.truth import Truth

TILE = 224  # pixels across a picture of the sheet
MARGIN = 18  # pixels above a picture for its title
# What the brightest colour of an error map means: sRGB or roughness (mean over the channels), and degrees of normals.
BRIGHTEST, BRIGHTEST_DEGREES = 0.25, 45.0
# Columns, by the name of the score that is written above an error.
PICTURE, ALBEDO, NORMALS, ROUGHNESS = "picture", "albedo", "normal", "roughness"


@final
class TruthSheet:
    """Rows of tiles: the truth, then two for everybody that is added, what is predicted and the error of it.

    Shown is the middle one of the frames that other cameras saw, or of all, and the first and the last of the cameras.
    """

    def __init__(self, truth: Truth) -> None:
        views = list(truth.views.items())
        seen = [(f"views.{name}", view) for name, view in dict([*views[:1], *views[-1:]]).items()]
        places = seen[0][1].frames.tolist() if seen else list(range(len(truth.numbers)))
        self._frame: int = places[len(places) // 2]
        self._places = {column: view.frames.tolist().index(self._frame) for column, view in seen}
        self._truth = self._columns(predicted_by_truth(truth))
        self._inside = dict.fromkeys(self._truth, truth.inside[self._frame])
        self._inside |= {column: view.picture.head()[self._places[column]] for column, view in seen}
        self._rows = [[_tile(_visible(column, values), f"truth: {column}") for column, values in self._truth.items()]]

    def add(self, name: str, prediction: Prediction, scores: TruthScores) -> None:
        """Add what somebody predicts, with the scores of all frames; what is not predicted is grey."""
        said, numbers = self._columns(prediction), scores.numbers()
        drawn: list[UInt8[np.ndarray, "h w 3"]] = []
        errors: list[UInt8[np.ndarray, "h w 3"]] = []
        for column, true in self._truth.items():
            title = _from_the_end(name) if not drawn else ""
            values = said.get(column)
            if values is None:
                nothing = torch.full_like(true, 0.5)
                drawn.append(_tile(nothing, title))
                errors.append(_tile(nothing, ""))
            else:
                drawn.append(_tile(_visible(column, values), title))
                errors.append(_tile(_error(column, values, true, self._inside[column]), _caption(column, numbers)))
        self._rows += [drawn, errors]

    def write(self, path: Path) -> Path:
        """Write the sheet as PNG."""
        write_png(path, sheet(self._rows))
        return path

    def _columns(self, prediction: Prediction) -> dict[str, Float[Tensor, "H W 3"]]:
        """What a prediction says of the frame, by column: sRGB in 0..1, linear roughness, and normals."""
        i = self._frame
        said: dict[str, Float[Tensor, "H W 3"]] = {}
        if prediction.colour is not None:
            said[PICTURE] = display(prediction.colour[i])
        if prediction.albedo is not None:
            said[ALBEDO] = display(prediction.albedo[i])
        if prediction.normal is not None:
            said[NORMALS] = prediction.normal[i]
        if prediction.roughness is not None:
            said[ROUGHNESS] = prediction.roughness[i][..., None].expand(-1, -1, 3)
        said |= {f"relit.{name}": display(relit[i]) for name, relit in prediction.relit.items()}
        for name, view in prediction.views.items():
            if f"views.{name}" in self._places:
                said[f"views.{name}"] = display(view.colour[self._places[f"views.{name}"]])
        return said


def _caption(column: str, numbers: dict[str, float]) -> str:
    """The scores of a column, and what the brightest error is."""
    most = f"white: {BRIGHTEST_DEGREES:.0f} deg" if column == NORMALS else f"white: {BRIGHTEST}"
    shown = (
        ("psnr", "{:.1f} dB"), ("psnr_aligned", "{:.1f} aligned"), ("degrees", "{:.1f} deg"), ("", "{:.2f}")
    )  # fmt: skip
    found = ((numbers.get(f"{column}.{name}".rstrip(".")), text) for name, text in shown)
    return ", ".join([*(text.format(number) for number, text in found if number is not None), most])


def _visible(column: str, values: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """A column's values as a picture in 0..1; normals as they are usually shown, with y up and z to the viewer."""
    if column != NORMALS:
        return values
    towards = values * values.new_tensor([1.0, -1.0, -1.0])
    return torch.where((values != 0).any(-1, keepdim=True), 0.5 + 0.5 * towards, 0.0)


def _error(
    column: str, drawn: Float[Tensor, "H W 3"], true: Float[Tensor, "H W 3"], inside: Bool[Tensor, "H W"]
) -> Float[Tensor, "H W 3"]:
    """The error where it counts as a picture, from black by red and yellow to white."""
    if column == NORMALS:
        error = angles(drawn, true).rad2deg() / BRIGHTEST_DEGREES
    else:
        error = (drawn - true).abs().mean(-1) / BRIGHTEST
    grey = (error.clamp(0, 1) * inside * 255).byte().cpu().numpy()
    coloured = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_HOT), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(coloured).float() / 255


def _tile(picture: Float[Tensor, "H W 3"], title: str) -> UInt8[np.ndarray, "h w 3"]:
    """A picture with a title above it."""
    pixels = (picture.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()
    height, width = pixels.shape[:2]
    interpolation = cv2.INTER_AREA if width > TILE else cv2.INTER_NEAREST
    pixels = cv2.resize(pixels, (TILE, round(height * TILE / width)), interpolation=interpolation)
    strip = np.full((MARGIN, TILE, 3), 255, np.uint8)
    cv2.putText(strip, title, (2, MARGIN - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, pixels])


def _from_the_end(name: str, most: int = 36) -> str:
    """The end of a long path: that is where runs differ."""
    return name if len(name) <= most else f"...{name[3 - most :]}"
