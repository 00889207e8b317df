"""What is filmed: a track, when each of its moments was, and what was recorded then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.subject.folder import Subject
from flare_cli.subject.track import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """A track, the `time` of each of its frames in seconds, and the pictures that show the same; None if none do."""

    track: Track
    time: Float[Tensor, "N"]
    pictures: tuple[Path, ...] | None = None

    def __len__(self) -> int:
        return len(self.track)

    def __getitem__(self, index: slice | Int[Tensor, "M"]) -> Performance:
        chosen = torch.arange(len(self))[index]
        pictures = None if self.pictures is None else tuple(self.pictures[i] for i in chosen.tolist())
        return Performance(track=self.track[chosen], time=self.time[chosen], pictures=pictures)

    def resampled(self, fps: float) -> Performance:
        """The same motion at another rate, from first to last frame: frames that are missing are filled in.

        Between frames expressions and places are interpolated linearly, joints along the shortest turn. Pictures, and
        all at a cut from one video to another, are the nearest frame's.
        """
        duration = float(self.time[-1] - self.time[0]) + 1 / self.track.fps  # the last frame is shown too
        moments = self.time[0] + torch.arange(max(1, round(duration * fps))) / fps
        last = max(len(self) - 2, 0)
        before = (torch.searchsorted(self.time.contiguous(), moments, right=True) - 1).clamp(0, last)
        after = (before + 1).clamp(max=len(self) - 1)
        gap = (self.time[after] - self.time[before]).clamp(min=1e-9)
        share = ((moments - self.time[before]) / gap).clamp(0, 1)
        nearest = torch.where(share < 0.5, before, after)
        track = self.track
        if track.video is not None:
            share = torch.where(track.video[before] == track.video[after], share, share.round())
        between = replace(
            track[nearest],
            expression=torch.lerp(track.expression[before], track.expression[after], share[:, None]),
            translation=torch.lerp(track.translation[before], track.translation[after], share[:, None]),
            pose=_turned_part_of_the_way(track.pose[before], track.pose[after], share),
            fps=fps,
        )
        return replace(self[nearest], track=between, time=moments)

    def there_and_back(self) -> Performance:
        """Forward and then backward, without the two ends twice: it can be repeated without a jump."""
        forward = torch.arange(len(self))
        return self[torch.cat([forward, forward[1:-1].flip(0)])]


def recorded_performance(subject: Subject) -> Performance:
    """What a subject was recorded doing."""
    frames = subject.track.frames.tolist()
    return Performance(
        track=subject.track,
        time=frame_times(subject),
        pictures=tuple(subject.image_path(number) for number in frames),
    )


def driven_performance(track: Track, driver: Subject | None) -> Performance:
    """What an avatar does after a driver, frame by frame; `driver` is the subject that shows it, if there is one."""
    if driver is None:
        return Performance(track=track, time=torch.arange(len(track)) / track.fps)
    return replace(recorded_performance(driver), track=track)


def frame_times(subject: Subject) -> Float[Tensor, "N"]:
    """When each tracked frame was, in seconds of its video; evenly spaced where the recording doesn't say."""
    times = {quality.number: quality.time for quality in subject.quality}
    frames = subject.track.frames.tolist()
    known = [times.get(number, np.nan) for number in frames]
    if np.isfinite(known).all() and (np.diff(known) > 0).all():
        return torch.tensor(known)
    return torch.arange(len(frames)) / subject.track.fps


def _turned_part_of_the_way(
    before: Float[Tensor, "N J 3"], after: Float[Tensor, "N J 3"], share: Float[Tensor, "N"]
) -> Float[Tensor, "N J 3"]:
    """Axis-angle rotations between others, along the shortest turn."""
    start = Rotation.from_rotvec(before.reshape(-1, 3).numpy())
    turn = (start.inv() * Rotation.from_rotvec(after.reshape(-1, 3).numpy())).as_rotvec()
    parts = share[:, None].expand(before.shape[:2]).reshape(-1, 1).numpy() * turn
    between = (start * Rotation.from_rotvec(parts)).as_rotvec()
    return torch.from_numpy(between).to(before).reshape(before.shape)
