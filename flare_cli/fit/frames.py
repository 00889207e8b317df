"""The pictures of a subject as tensors, kept as bytes: 8-bit in memory, turned into radiance per batch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from flare_cli.data.celebamask import OCCLUDED
from flare_cli.data.image import read_grey, read_rgb
from flare_cli.errors import SubjectError
from flare_cli.render.colour import linear_from_srgb
from flare_cli.subject.folder import Subject
from flare_cli.subject.track import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures (sRGB), masks and labels of some frames. Where the label is OCCLUDED the mask is 0 and says nothing."""

    image: UInt8[Tensor, "N H W 3"]
    mask: UInt8[Tensor, "N H W"]
    label: UInt8[Tensor, "N H W"]

    def __len__(self) -> int:
        return self.image.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Pictures:
        return Pictures(image=self.image[index], mask=self.mask[index], label=self.label[index])

    def to(self, device: torch.device | str) -> Pictures:
        """Return the same pictures on `device`."""
        return Pictures(image=self.image.to(device), mask=self.mask.to(device), label=self.label.to(device))

    def blank(self, n: int, *, device: torch.device | str = "cpu", pinned: bool = False) -> Pictures:
        """Room for `n` pictures of the same size; `pinned` memory of the host can be copied without its help."""

        def blank_like(tensor: Tensor) -> Tensor:
            return tensor.new_empty((n, *tensor.shape[1:]), device=device, pin_memory=pinned)

        return Pictures(image=blank_like(self.image), mask=blank_like(self.mask), label=blank_like(self.label))

    def gather(self, source: Pictures, chosen: Int[Tensor, " B"]) -> None:
        """Take over the `chosen` pictures of `source`, all in host memory.

        Plain copies by this thread: torch would share them out among threads, and wait for busy cores.
        """
        for target, sources in ((self.image, source.image), (self.mask, source.mask), (self.label, source.label)):
            for row, picture in zip(target.numpy(), chosen.tolist(), strict=True):
                np.copyto(row, sources[picture].numpy())

    def copy(self, source: Pictures) -> None:
        """Take over `source` on the current stream, without waiting for it."""
        self.image.copy_(source.image, non_blocking=True)
        self.mask.copy_(source.mask, non_blocking=True)
        self.label.copy_(source.label, non_blocking=True)

    def coverage(self) -> Float[Tensor, "N H W 1"]:
        """Masks as 0..1."""
        return self.mask[..., None].float() / 255

    def srgb(self) -> Float[Tensor, "N H W 3"]:
        """Pictures as 0..1, still sRGB-encoded."""
        return self.image.float() / 255

    def radiance(self) -> Float[Tensor, "N H W 3"]:
        """Pictures as linear radiance over a black background (multiplied by the mask)."""
        return linear_from_srgb(self.srgb()) * self.coverage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """A track's frames: what the head did, and the pictures, all of the size of `track.camera`."""

    track: Track
    pictures: Pictures

    def __len__(self) -> int:
        return len(self.track)

    def __getitem__(self, index: slice | Tensor) -> Frames:
        return Frames(track=self.track[index], pictures=self.pictures[index])

    def to(self, device: torch.device | str) -> Frames:
        """Return the same frames on `device`."""
        return Frames(track=self.track.to(device), pictures=self.pictures.to(device))


def split_frames(subject: Subject, holdout: float, every: int) -> tuple[Track, Track]:
    """Training frames (every n-th) and held-out frames.

    A recording with its own split keeps it; otherwise the last `holdout` of the recording is held out.
    """
    track = subject.track
    if subject.held_out is not None:
        kept_back = torch.isin(track.frames, torch.tensor(subject.held_out, dtype=torch.long))
        return track[torch.nonzero(~kept_back)[::every, 0]], track[torch.nonzero(kept_back)[:, 0]]
    n_test = round(len(track) * holdout)
    n_train = len(track) - n_test
    return track[:n_train:every], track[n_train:]


def fitted_size(track: Track, size: int) -> tuple[int, int]:
    """Height and width of the pictures of `track` when they are at most `size` high."""
    scale = min(1.0, size / track.camera.height)
    return round(track.camera.height * scale), round(track.camera.width * scale)


def load_frames(
    subject: Subject, track: Track, size: int, progress: Callable[[int, int], None] | None = None
) -> Frames:
    """Read the pictures of `track`'s frames, scaled down so that they are at most `size` high.

    Raises `SubjectError` naming the first picture that is missing, unreadable or of another size than the rest.
    """
    camera = track.camera
    height, width = fitted_size(track, size)
    numbers = track.frames.tolist()
    images = np.empty((len(numbers), height, width, 3), np.uint8)
    masks = np.empty((len(numbers), height, width), np.uint8)
    labels = np.empty((len(numbers), height, width), np.uint8)
    expected = (camera.height, camera.width)

    def load(i: int) -> None:
        number = numbers[i]
        image = read_rgb(subject.image_path(number))
        mask = read_grey(subject.mask_path(number))
        label = read_grey(subject.label_path(number))
        for path, picture in ((subject.image_path, image), (subject.mask_path, mask), (subject.label_path, label)):
            _check_size(path(number), picture, expected)
        if (height, width) != expected:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
            occluded = cv2.resize((label == OCCLUDED).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
            label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
            label[occluded > 0] = OCCLUDED
        images[i], masks[i], labels[i] = image, mask, label

    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter lock
        for done, _ in enumerate(pool.map(load, range(len(numbers))), 1):
            if progress is not None:
                progress(done, len(numbers))
    return Frames(
        track=track.resized(height, width),
        pictures=Pictures(image=torch.from_numpy(images), mask=torch.from_numpy(masks), label=torch.from_numpy(labels)),
    )


def _check_size(path: Path, picture: UInt8[np.ndarray, "H W *C"], expected: tuple[int, int]) -> None:
    height, width = picture.shape[:2]
    if (height, width) != expected:
        raise SubjectError(
            f"{path} is {width}x{height}, but the track was made for {expected[1]}x{expected[0]}",
            hint="all pictures of a subject have one size; run `flare preprocess` again",
        )
