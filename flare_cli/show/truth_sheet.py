"""One frame of a truth and of everybody's predictions as pictures, with maps of the errors below."""

from __future__ import annotations

from pathlib import Path
from typing import final

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flare_cli.data.image import write_png
from flare_cli.show.predicted import Prediction, predicted_by_truth
from flare_cli.show.track_pictures import sheet
from flare_cli.show.truth_scores import display
from flare_cli.subject.truth import Truth

TILE = 224  # pixels across a picture of the sheet at most
MARGIN = 18  # pixels above a picture for its title
VIEWS_SHOWN = 2
# What the brightest colour of an error map means: sRGB or roughness (mean over the channels), and degrees of normals.
BRIGHTEST, BRIGHTEST_DEGREES = 0.25, 45.0
NORMALS = "normals"


@final
class TruthSheet:
    """Rows of tiles: the truth, then two for everybody that is added, what is predicted and the error of it.

    Shown is the middle one of the frames that other cameras saw, or of all.
    """

    def __init__(self, truth: Truth) -> None:
        self._views = list(truth.views)[:VIEWS_SHOWN]
        places = truth.views[self._views[0]].frames.tolist() if self._views else list(range(len(truth.numbers)))
        self._frame: int = places[len(places) // 2]
        self._relit = list(truth.relit)
        self._truth = self._columns(truth, predicted_by_truth(truth))
        self._inside = dict.fromkeys(self._truth, truth.inside[self._frame])
        for name in self._views:
            self._inside[_view(name)] = truth.views[name].picture.head()[self._place(truth, name)]
        self._rows = [[_tile(_visible(name, values), f"truth: {name}") for name, values in self._truth.items()]]

    def add(self, name: str, prediction: Prediction, truth: Truth) -> None:
        """Add what somebody predicts; what they don't is grey."""
        columns = self._columns(truth, prediction)
        blank = {column: torch.full_like(true, 0.5) for column, true in self._truth.items()}
        drawn, errors = [], []
        for column, true in self._truth.items():
            values = columns.get(column)
            shown = blank[column] if values is None else _visible(column, values)
            drawn.append(_tile(shown, name if not drawn else ""))
            wrong = torch.zeros_like(true[..., 0]) if values is None else _error(column, values, true)
            errors.append(_error_tile(wrong * self._inside[column], column))
        self._rows += [drawn, errors]

    def write(self, path: Path) -> Path:
        """Write the sheet as PNG."""
        write_png(path, sheet(self._rows))
        return path

    def _place(self, truth: Truth, view: str) -> int:
        return truth.views[view].frames.tolist().index(self._frame)

    def _columns(self, truth: Truth, prediction: Prediction) -> dict[str, Float[Tensor, "H W 3"]]:
        """What a prediction says of the frame, by the column's name: sRGB in 0..1, and normals."""
        said = {
            "recording": None if prediction.colour is None else display(prediction.colour[self._frame]),
            "albedo": None if prediction.albedo is None else display(prediction.albedo[self._frame]),
            NORMALS: None if prediction.normal is None else prediction.normal[self._frame],
            "roughness": None
            if prediction.roughness is None
            else prediction.roughness[self._frame][..., None].expand(-1, -1, 3),
        }
        for name in self._relit:
            if name in prediction.relit:
                said[f"relit by {name}"] = display(prediction.relit[name][self._frame])
        for name in self._views:
            if name in prediction.views:
                said[_view(name)] = display(prediction.views[name].colour[self._place(truth, name)])
        return {name: values for name, values in said.items() if values is not None}


def _view(name: str) -> str:
    return f"view {name}"


def _visible(column: str, values: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """A column's values as a picture in 0..1; normals as they are usually shown, with y up and z to the viewer."""
    if column != NORMALS:
        return values
    towards = values * values.new_tensor([1.0, -1.0, -1.0])
    return torch.where((values != 0).any(-1, keepdim=True), 0.5 + 0.5 * towards, 0.0)


def _error(column: str, drawn: Float[Tensor, "H W 3"], true: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W"]:
    """0..1, where 1 is the brightest."""
    if column == NORMALS:
        angle = torch.atan2(torch.linalg.cross(drawn, true).norm(dim=-1), (drawn * true).sum(-1))
        return (torch.rad2deg(angle) / BRIGHTEST_DEGREES).clamp(max=1)
    return ((drawn - true).abs().mean(-1) / BRIGHTEST).clamp(max=1)


def _error_tile(error: Float[Tensor, "H W"], column: str) -> UInt8[np.ndarray, "h w 3"]:
    grey = (error * 255).byte().cpu().numpy()
    coloured = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[..., ::-1] / 255.0
    most = f"{BRIGHTEST_DEGREES:.0f} degrees" if column == NORMALS else f"{BRIGHTEST}"
    return _tile(torch.from_numpy(coloured.copy()), f"error, up to {most}")


def _tile(picture: Float[Tensor, "H W 3"], title: str) -> UInt8[np.ndarray, "h w 3"]:
    """A picture with a title above it."""
    pixels = (picture.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()
    height, width = pixels.shape[:2]
    shrunk = min(1.0, TILE / width)
    pixels = cv2.resize(pixels, (round(width * shrunk), round(height * shrunk)), interpolation=cv2.INTER_AREA)
    strip = np.full((MARGIN, pixels.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title[-34:], (2, MARGIN - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, pixels])
