"""How close a drawn picture is to the recorded one: MAE, PSNR in both conventions, SSIM, LPIPS, silhouette IoU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from skimage.metrics import structural_similarity

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
SSIM_WINDOW = 11  # pixels, as in Wang et al. 2004; weighted evenly, where theirs has a Gaussian


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureScore:
    """Scores of one picture, clothes left out. `lpips` is None where the network is not available.

    `psnr_foreground` divides the squared error under the mask by the mask's own area; `psnr_all_pixels` (the published
    FLARE convention) divides the same error by all pixels. Never compare across the two. `psnr_with_clothes` is
    `psnr_foreground` with the clothes left in; `silhouette_iou` is of the whole mask.
    """

    mae: float
    psnr_foreground: float
    psnr_all_pixels: float
    psnr_with_clothes: float
    ssim: float
    lpips: float | None
    silhouette_iou: float


def score_picture(
    drawn: Float[np.ndarray, "H W 3"],
    recorded: Float[np.ndarray, "H W 3"],
    *,
    drawn_mask: Float[np.ndarray, "H W"],
    mask: Float[np.ndarray, "H W"],
    clothes: Bool[np.ndarray, "H W"],
    lpips: Callable[[Any, Any], float] | None = None,
) -> PictureScore:
    """Compare sRGB pictures in 0..1; both are laid over white with the recorded mask before SSIM and LPIPS."""
    scored = np.where(clothes, 0, mask)
    error, area = _squared_error(drawn, recorded, scored)
    whole_error, whole_area = _squared_error(drawn, recorded, mask)
    on_white, recorded_on_white = over_white(drawn, scored), over_white(recorded, scored)
    inside, drawn_inside = mask > 0.5, drawn_mask > 0.5
    union = float((inside | drawn_inside).sum())
    return PictureScore(
        mae=float((np.abs(drawn - recorded) * scored[..., None]).sum() / area),
        psnr_foreground=psnr(error / area),
        psnr_all_pixels=psnr(error / (3 * mask.size)),
        psnr_with_clothes=psnr(whole_error / whole_area),
        ssim=ssim_over_white(drawn, recorded, scored),
        lpips=lpips(on_white, recorded_on_white) if lpips is not None else None,
        silhouette_iou=float((inside & drawn_inside).sum()) / union if union else 1.0,
    )


def ssim_over_white(
    drawn: Float[np.ndarray, "H W 3"], recorded: Float[np.ndarray, "H W 3"], mask: Float[np.ndarray, "H W"]
) -> float:
    """SSIM over the whole picture of sRGB pictures in 0..1, both laid over white with `mask`."""
    window = min(SSIM_WINDOW, min(mask.shape) // 2 * 2 - 1)
    similarity: Any = structural_similarity(
        over_white(drawn, mask),
        over_white(recorded, mask),
        win_size=window,
        channel_axis=2,
        data_range=1.0,
    )
    return float(similarity)


def over_white(picture: Float[np.ndarray, "H W 3"], mask: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W 3"]:
    """A picture where `mask` is 1, white where it is 0."""
    return picture * mask[..., None] + (1 - mask[..., None])


def _squared_error(
    drawn: Float[np.ndarray, "H W 3"], recorded: Float[np.ndarray, "H W 3"], mask: Float[np.ndarray, "H W"]
) -> tuple[float, float]:
    """Squared error under the mask, and the number of values that it is over (at least one pixel's)."""
    error = (drawn - recorded) * mask[..., None]
    return float(np.square(error).sum()), 3 * max(float(mask.sum()), 1.0)


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1; 100 dB for no error at all."""
    return float(-10 * np.log10(max(mean_squared_error, 1e-10)))


def lpips_or_reason() -> tuple[Callable[[Any, Any], float] | None, str]:
    """LPIPS (AlexNet) as a function of two pictures, or None and why not. Never a network with random weights."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET_FILE
    if not weights.is_file():
        return None, f"needs torchvision's {ALEXNET_FILE} in {weights.parent}"
    try:
        import lpips
    except (ImportError, RuntimeError) as error:
        return None, f"the lpips package does not import: {error}"
    network = lpips.LPIPS(net="alex", verbose=False).eval()

    def distance(a: Float[np.ndarray, "H W 3"], b: Float[np.ndarray, "H W 3"]) -> float:
        first, second = (torch.from_numpy(x).float().permute(2, 0, 1)[None] * 2 - 1 for x in (a, b))
        with torch.no_grad():
            return float(network(first, second))

    return distance, "LPIPS (AlexNet, version 0.1)"
