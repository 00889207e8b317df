"""The kernel that compares drawn pictures with recorded ones: values and gradients in one pass over the pixels."""

import warp as wp

from flare_cli.data.celebamask import OCCLUDED as OCCLUDED_LABEL

OCCLUDED = wp.constant(OCCLUDED_LABEL)

wp.set_module_options({"enable_backward": False})


@wp.func
def curve(logarithm: float) -> float:
    """The sRGB curve (IEC 61966-2-1), here of log(1 + radiance): together they are the tone map."""
    if logarithm <= 0.0031308:
        return 12.92 * logarithm
    return 1.055 * wp.pow(logarithm, 1.0 / 2.4) - 0.055


@wp.func
def slope_of_curve(logarithm: float, encoded: float) -> float:
    """The derivative of `curve` at `logarithm`, where its value is `encoded`."""
    if logarithm <= 0.0031308:
        return 12.92
    return (encoded + 0.055) / (2.4 * logarithm)


@wp.kernel
def photometric_loss(
    image: wp.array(dtype=wp.vec4),
    target: wp.array2d(dtype=wp.uint8),
    mask: wp.array(dtype=wp.uint8),
    label: wp.array(dtype=wp.uint8),
    radiance: wp.array(dtype=wp.float32),
    toned: wp.array(dtype=wp.float32),
    colour_error: wp.array(dtype=wp.float32),
    mask_error: wp.array(dtype=wp.float32),
    grad: wp.array(dtype=wp.vec4),
):
    """One thread per pixel, of pictures [B H W] flattened: both errors of a drawn pixel, and their gradient.

    `image` is linear radiance and coverage, `target` sRGB bytes, `mask` 0 to 255. `colour_error` is the L1 distance of
    the colours, both times the mask and tone-mapped, summed over the channels; `mask_error` the squared distance of
    coverage and mask. `grad` is the derivative of the sum of both errors by `image`.

    Where `label` is OCCLUDED nothing is known of the head: both errors are 0.

    `radiance` decodes a byte of `target`, `toned` is its tone map: most pixels are wholly inside the mask, where a
    lookup is all that the target needs.
    """
    pixel = wp.tid()
    drawn = image[pixel]
    coverage = float(mask[pixel]) / 255.0
    error = float(0.0)
    slope = wp.vec4(0.0)
    if coverage > 0.0:
        for c in range(3):
            value = wp.max(drawn[c] * coverage, 0.0)
            logarithm = wp.log(1.0 + value)
            drawn_tone = curve(logarithm)
            target_tone = toned[int(target[pixel, c])]
            if coverage < 1.0:
                target_tone = curve(wp.log(1.0 + radiance[int(target[pixel, c])] * coverage))
            error += wp.abs(drawn_tone - target_tone)
            if drawn[c] >= 0.0:
                slope[c] = (
                    wp.sign(drawn_tone - target_tone) * slope_of_curve(logarithm, drawn_tone) * coverage / (1.0 + value)
                )
    coverage_off = drawn[3] - coverage
    if int(label[pixel]) == OCCLUDED:
        error, coverage_off, slope = float(0.0), float(0.0), wp.vec4(0.0)
    slope[3] = 2.0 * coverage_off
    colour_error[pixel] = error
    mask_error[pixel] = coverage_off * coverage_off
    grad[pixel] = slope
