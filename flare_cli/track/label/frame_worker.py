"""All that is made of one frame: its picture, its label image and its mask, and what the preview shows of it.

Worker processes use this module: it imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from flare_cli.data.celebamask import OCCLUDED
from flare_cli.data.image import read_grey, read_rgb, write_png
from flare_cli.track.label.foreground import foreground_colours
from flare_cli.track.label.matte import guide_of, refined, steadied
from flare_cli.track.label.occluders import UsualLook, occluded
from flare_cli.track.label.overlay import PreviewFrame, contact_row, overlay_frame
from flare_cli.track.label.parser import Parser, parsed_labels
from flare_cli.track.label.projected_head import ProjectedFrame
from flare_cli.track.label.segmentation import ColourModels, FrameView, fit_mask, label_image
from flare_cli.track.review.frame_pixels import measure_frame
from flare_cli.track.work_folder import WorkFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameReader:
    """Reads what segmentation needs of a frame. `inside` tells the picture from the black around it.

    `cuts` are the numbers of frames with which a new shot begins.
    """

    work_folder: WorkFolder
    inside: Bool[np.ndarray, "H W"]
    cuts: frozenset[int] = frozenset()

    def picture(self, number: int) -> UInt8[np.ndarray, "H W 3"]:
        """The head crop of a frame, as recorded."""
        return self.work_folder.passing("crop", number)

    def __call__(self, frame: ProjectedFrame, rgb: UInt8[np.ndarray, "H W 3"]) -> FrameView:
        """A frame, its picture `rgb`, and its matte."""
        number = frame.number
        before = number if number in self.cuts else number - 1
        after = number if number + 1 in self.cuts else number + 1
        before, now, after = (self._coarse(moment, number) for moment in (before, number, after))
        guide = guide_of(rgb)
        matte = refined(steadied(before, now, after), guide) * self.inside
        return FrameView(rgb=rgb, guide=guide, matte=matte, head=frame.head, points=frame.points)

    def coarse_matte(self, number: int) -> UInt8[np.ndarray, "256 256"]:
        """The network's own matte of a frame."""
        return self.work_folder.passing("matte", number)

    def _coarse(self, number: int, instead: int) -> UInt8[np.ndarray, "256 256"]:
        return self.coarse_matte(number if self.work_folder.has("matte", number) else instead)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What segmentation knows of the whole recording."""

    colours: ColourModels
    look: UsualLook


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSegmenter:
    """Writes a frame's picture, label image and mask unless they are there, and draws its preview.

    `captions` has one for each frame of the contact sheet. `learned` is None if all frames are segmented already.
    `parser` is a user's own network that labels the person.
    """

    reader: FrameReader
    learned: Learned | None
    captions: dict[int, str]
    parser: Parser | None = None

    def __call__(self, frame: ProjectedFrame) -> PreviewFrame:
        """Read, segment, write, and draw the preview."""
        work_folder, rgb = self.reader.work_folder, self.reader.picture(frame.number)
        image, *files = [work_folder.picture(kind, frame.number) for kind in ("image", "semantic", "mask")]
        if work_folder.is_segmented(frame.number):
            person = read_rgb(image)
            labels, mask = map(read_grey, files)
        else:
            assert self.learned is not None
            view = self.reader(frame, rgb)
            labels = label_image(view, self.learned.colours)
            if self.parser is not None:
                labels = parsed_labels(self.parser(rgb), labels)
            mask = np.rint(fit_mask(view, labels) * 255).astype(np.uint8)
            hidden = occluded(view, labels, self.learned.look)
            labels[hidden], mask[hidden] = OCCLUDED, 0
            person = foreground_colours(rgb, view.guide, view.matte)
            for file, picture in zip((image, *files), (person, labels, mask), strict=True):
                write_png(file, picture)
        row = None
        if frame.number in self.captions:
            row = contact_row(rgb, frame.head, labels, person, mask, self.captions[frame.number])
        pixels = measure_frame(rgb, mask, labels == OCCLUDED, frame.points)
        return PreviewFrame(overlay=overlay_frame(rgb, frame.head, frame.points), pixels=pixels, row=row)
