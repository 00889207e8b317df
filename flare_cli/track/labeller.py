"""The labelling of one frame, from its files to its files. Worker processes use this module: it imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from flare_cli.data.image import read_grey, read_rgb, write_png
from flare_cli.track.labels import ColourModels, FrameView, fit_mask, label_image
from flare_cli.track.matte import refined, steadied
from flare_cli.track.projected_head import SeenFrame
from flare_cli.track.work import WorkFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Frames of the track as labelling sees them. `inside` tells the picture from the black around it."""

    work: WorkFolder
    inside: Bool[np.ndarray, "H W"]

    def __call__(self, frame: SeenFrame) -> FrameView:
        """Read what there is of a frame."""
        rgb = read_rgb(self.work.picture("image", frame.number))
        before, now, after = (self._coarse(frame.number + step, frame.number) for step in (-1, 0, 1))
        matte = refined(steadied(before, now, after), rgb) * self.inside
        return FrameView(rgb=rgb, matte=matte, head=frame.head, points=frame.points)

    def _coarse(self, number: int, instead: int) -> UInt8[np.ndarray, "256 256"]:
        path = self.work.picture("matte", number)
        return read_grey(path if path.is_file() else self.work.picture("matte", instead))


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeller:
    """Writes the label image and the mask of a frame."""

    views: Views
    colours: ColourModels

    def __call__(self, frame: SeenFrame) -> None:
        """Read, label and write."""
        view = self.views(frame)
        mask = np.rint(fit_mask(view) * 255).astype(np.uint8)
        write_png(self.views.work.picture("semantic", frame.number), label_image(view, self.colours))
        write_png(self.views.work.picture("mask", frame.number), mask)
