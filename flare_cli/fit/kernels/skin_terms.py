"""Kernels of the loss terms on skin: its mean albedo, and how far each pixel is from what skin is like."""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.func
def skin_at(index: wp.int64, labels: wp.array(dtype=wp.uint8), is_skin: wp.array(dtype=wp.float32)) -> float:
    """1 where pixel `index` (flat in [B H W]) is labelled as skin, else 0. `is_skin` has an entry for each label."""
    pixel = int(index)
    if pixel >= labels.shape[0]:  # padding
        return 0.0
    return is_skin[int(labels[pixel])]


@wp.func
def outside(value: float, mean: float, width: float) -> float:
    """How far a value is from `mean` beyond `width`, with its sign."""
    return wp.max(value - mean - width, 0.0) + wp.min(value - mean + width, 0.0)


@wp.func
def sign_or_zero(off: float) -> float:
    """The derivative of the absolute value, 0 at 0 (`wp.sign` is 1 there)."""
    return wp.where(off == 0.0, 0.0, wp.sign(off))


@wp.kernel
def tally(
    index: wp.array(dtype=wp.int64),
    labels: wp.array(dtype=wp.uint8),
    is_skin: wp.array(dtype=wp.float32),
    albedo: wp.array(dtype=wp.vec3),
    out: wp.array(dtype=wp.vec4),
):
    """One thread per listed pixel: its albedo and a 1 where it is skin, zeros elsewhere.

    Summed over the pixels, `out` gives the skin's mean albedo and how many pixels of it there are.
    """
    i = wp.tid()
    skin = skin_at(index[i], labels, is_skin)
    out[i] = wp.vec4(albedo[i][0], albedo[i][1], albedo[i][2], 1.0) * skin


@wp.kernel
def distances(
    tallied: wp.array(dtype=wp.vec4),
    total: wp.array(dtype=wp.vec4),
    albedo: wp.array(dtype=wp.vec3),
    roughness: wp.array(dtype=wp.float32),
    specular: wp.array(dtype=wp.float32),
    usual: wp.vec4,
    out: wp.array2d(dtype=wp.float32),
):
    """One thread per listed pixel: what it adds to each loss term; zeros where it is not skin.

    `tallied` is what `tally` wrote, `total` (one entry) its sum. `usual` holds the mean and half the width of the usual
    range of roughness, then of specular intensity. Rows of out[6, P]: L1 from the mean albedo, summed over the
    channels; how far roughness and specular intensity are outside their usual range; and on which side of the mean each
    channel of albedo is.
    """
    i = wp.tid()
    skin = tallied[i][3]
    mean = total[0] / wp.max(total[0][3], 1.0)
    error = float(0.0)
    for c in range(3):
        off = (albedo[i][c] - mean[c]) * skin
        error += wp.abs(off)
        out[3 + c, i] = sign_or_zero(off)
    out[0, i] = error
    out[1, i] = wp.abs(outside(roughness[i], usual[0], usual[1])) * skin
    out[2, i] = wp.abs(outside(specular[i], usual[2], usual[3])) * skin


@wp.kernel
def distances_backward(
    tallied: wp.array(dtype=wp.vec4),
    total: wp.array(dtype=wp.vec4),
    sums: wp.array(dtype=wp.float32),
    albedo: wp.array(dtype=wp.vec3),
    roughness: wp.array(dtype=wp.float32),
    specular: wp.array(dtype=wp.float32),
    usual: wp.vec4,
    grad_out: wp.array(dtype=wp.float32),
    grad_albedo: wp.array(dtype=wp.vec3),
    grad_roughness: wp.array(dtype=wp.float32),
    grad_specular: wp.array(dtype=wp.float32),
):
    """Adjoint of the means of `distances` over the skin: one thread per listed pixel.

    Writes the gradients to albedo, roughness and specular intensity, given `grad_out`, those of the three means. `sums`
    is what `distances` wrote, summed over the pixels: each pixel's albedo also moves the mean.
    """
    i = wp.tid()
    count = wp.max(total[0][3], 1.0)
    mean = total[0] / count
    share = tallied[i][3] / count
    slope = wp.vec3(0.0)
    for c in range(3):
        slope[c] = sign_or_zero(albedo[i][c] - mean[c]) - sums[3 + c] / count
    grad_albedo[i] = slope * (grad_out[0] * share / 3.0)
    grad_roughness[i] = sign_or_zero(outside(roughness[i], usual[0], usual[1])) * grad_out[1] * share
    grad_specular[i] = sign_or_zero(outside(specular[i], usual[2], usual[3])) * grad_out[2] * share
