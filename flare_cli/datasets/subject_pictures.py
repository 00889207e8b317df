"""A data set's frames as a subject's pictures, masks and label images; what it lacks is made."""

from __future__ import annotations

import shutil
from typing import final

import numpy as np
import torch
from jaxtyping import Float, UInt8

from flare_cli.data.celebamask import Label
from flare_cli.data.image import read_rgb, write_png
from flare_cli.datasets.pictures import is_plain_png, source_label, source_mask
from flare_cli.datasets.sequences import ImportedSequences, ImportedVideo, SourceFrame
from flare_cli.datasets.verify import Proof, checked_indices, prove
from flare_cli.errors import SubjectError
from flare_cli.head.model import HeadModel
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.subject.folder import Subject
from flare_cli.subject.track import Track
from flare_cli.track.label.head_projector import HeadProjector
from flare_cli.track.label.matte import PersonMatte, guide_of, refined
from flare_cli.track.label.projected_head import ProjectedHead

REGION_LABELS = {
    "scalp": Label.HAIR,
    "neck": Label.NECK,
    "nose": Label.NOSE,
    "lips": Label.LIP_UPPER,
    "inner_mouth": Label.MOUTH,
    "teeth": Label.MOUTH,
    "tongue": Label.MOUTH,
}
SIDED_LABELS = {"ears": (Label.EAR_LEFT, Label.EAR_RIGHT), "eyes": (Label.EYE_LEFT, Label.EYE_RIGHT)}


@final
class MaskSource:
    """The mask of any source frame: the data set's own or, without one, the matting network's.

    `made` counts the frames written so far for which there was none.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size, self.made = size, 0
        self._matte: PersonMatte | None = None

    def __call__(self, source: SourceFrame) -> UInt8[np.ndarray, "H W"]:
        """A frame's mask, 0..255."""
        mask = source_mask(source, self.size)
        if mask is not None:
            return mask
        self._matte = self._matte or PersonMatte()
        rgb = read_rgb(source.image)
        return (refined(self._matte(rgb).astype(np.float32) / 255, guide_of(rgb)) * 255 + 0.5).astype(np.uint8)


def prove_videos(sequences: ImportedSequences, track: Track, head: HeadModel, masks: MaskSource) -> dict[str, Proof]:
    """Prove each video by a few of its frames; the error names the video."""
    proofs: dict[str, Proof] = {}
    start = 0
    for video in sequences.videos:
        chosen = checked_indices(len(video.sources))
        part = track[torch.tensor(chosen) + start]
        start += len(video.sources)
        mask: Float[np.ndarray, "K H W"] = np.stack([masks(video.sources[i]) for i in chosen]) / 255
        try:
            proofs[video.name] = prove(part, head, masks=mask, keypoints=_keypoints(video, chosen))
        except SubjectError as error:
            raise SubjectError(f"{sequences.folder}, {video.name}: {error.message}", hint=error.hint) from error
    return proofs


def _keypoints(video: ImportedVideo, chosen: list[int]) -> Float[np.ndarray, "K M 2"] | None:
    return None if video.keypoints is None else video.keypoints[chosen]


def write_pictures(
    subject: Subject,
    sources: list[SourceFrame],
    sequences: ImportedSequences,
    head: HeadModel,
    masks: MaskSource,
    progress: ProgressCallback,
) -> int:
    """Write pictures, masks and labels; returns how many label images had to be made."""
    size = (sequences.height, sequences.width)
    projector: HeadProjector | None = None
    projected = 0
    for name in ("image", "mask", "semantic"):
        (subject.folder / name).mkdir(parents=True, exist_ok=True)
    for i, (number, source) in enumerate(zip(subject.track.frames.tolist(), sources, strict=True)):
        if is_plain_png(source.image):
            shutil.copyfile(source.image, subject.image_path(number))
        else:
            write_png(subject.image_path(number), read_rgb(source.image))
        mask = masks(source)
        masks.made += source.mask is None and source_mask(source, size) is None
        write_png(subject.mask_path(number), mask)
        labels = source_label(source, size, sequences.labels)
        if labels is None:
            projector = projector or HeadProjector(head)
            labels = labels_of_head(projector(subject.track, i), mask)
            projected += 1
        write_png(subject.label_path(number), labels)
        progress("import", i + 1, len(sources))
    return projected


def labels_of_head(head: ProjectedHead, mask: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """CelebAMask-19 ids from where the head's regions are; the rest of a person is hair above the chin, else cloth."""
    labels = (head.regions > 0).astype(np.uint8)
    face = np.argwhere((head.regions > 0) & ~head.shows("neck"))
    chin, middle = (int(face[:, 0].max()), float(face[:, 1].mean())) if len(face) else (0, 0.0)
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    for name, label in REGION_LABELS.items():
        labels[head.shows(name)] = label
    for name, (left, right) in SIDED_LABELS.items():
        labels[head.shows(name)] = np.where(columns > middle, left, right).repeat(len(labels), 0)[head.shows(name)]
    beside = np.where(rows <= chin, Label.HAIR, Label.CLOTH).repeat(labels.shape[1], 1)
    return np.where(mask < 128, 0, np.where(head.regions > 0, labels, beside)).astype(np.uint8)
