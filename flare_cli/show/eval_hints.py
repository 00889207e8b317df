"""What the scores of an avatar show to be weak, and what would help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from flare_cli.score.metrics import PictureScore
from flare_cli.subject.track import Track
from flare_cli.track.review.recording import view_angles

BEYOND = 3.0  # degrees outside what was trained on: where the surface that is seen changes, not where noise ends
WORSE = 1.5  # decibels that anybody sees
GAIN = 0.5  # decibels that a refined track has to gain on its own pixels; it always gains a little
OUTLINE = 0.96  # IoU; good fits of the development recordings have 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """One thing that was found, and what to do about it."""

    found: str
    advice: str


def eval_hints(
    report: dict[str, Any], scores: Sequence[PictureScore], track: Track, trained: Track | None
) -> list[Hint]:
    """Hints from `report.json` and from the scores of `track`'s frames; `trained` is the track of those trained on."""
    return [*_turned_beyond(scores, track, trained), *_outline(scores), *_of_means(report)]


def angles(track: Track) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """From where each frame's camera sees the face: yaw and pitch in degrees."""
    return view_angles(track.pose.numpy(), track.translation.numpy(), track.cameras().centres().numpy())


def _turned_beyond(scores: Sequence[PictureScore], track: Track, trained: Track | None) -> Iterator[Hint]:
    if trained is None or not len(trained):
        return
    outside = [
        np.maximum(seen.min() - scored, scored - seen.max())
        for scored, seen in zip(angles(track), angles(trained), strict=True)
    ]
    beyond = np.maximum(*outside) > BEYOND
    advice = "record every turn that the avatar is to make: hair and cheeks that were not seen are guessed"
    if beyond.all():
        yield Hint(found="all frames turn further than those that were trained on", advice=advice)
    elif beyond.any():
        psnr = np.array([score.psnr_foreground for score in scores])
        lost = float(psnr[~beyond].mean() - psnr[beyond].mean())
        if lost > WORSE:
            found = f"{beyond.sum()} frames turn further than those that were trained on, and are {lost:.1f} dB worse"
            yield Hint(found=found, advice=advice)


def _outline(scores: Sequence[PictureScore]) -> Iterator[Hint]:
    off = sum(score.silhouette_iou < OUTLINE for score in scores)
    if off:
        yield Hint(
            found=f"the outline is off in {off} of {len(scores)} frames (IoU below {OUTLINE})",
            advice="look at mask/ and preview/overlay.mp4 of the subject: is it the mask that is wrong, or the track?",
        )


def _of_means(report: dict[str, Any]) -> Iterator[Hint]:
    mean, refined = report["mean"], report.get("refined_on_test_pixels")
    clothes = mean["psnr_foreground"] - mean["psnr_with_clothes"]
    if clothes > WORSE:
        yield Hint(
            found=f"with clothes it is {clothes:.1f} dB worse",
            advice="clothes move on their own, which no head model explains: psnr_foreground leaves them out",
        )
    gain = 0.0 if refined is None else refined["psnr_foreground"] - mean["psnr_foreground"]
    if gain > GAIN:
        yield Hint(
            found=f"refining the track on these frames' own pixels gains {gain:.1f} dB",
            advice="the track is off: fit with --set track.refine=true",
        )
    if mean["lpips"] is None:
        yield Hint(found="LPIPS was not measured", advice=report["lpips"])
