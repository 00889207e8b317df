"""Kernels of the integrated directional encoding: spherical harmonics of a direction, faded per degree.

`coefficients[k, m, p]` multiplies z^p in Y_lm / (x + iy)^m, l being the k-th degree. Columns count degree by degree,
order by order; imaginary parts follow all real ones. Output is stored column by column, so that neighbouring threads
write neighbouring numbers.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def encode(
    direction: wp.array(dtype=wp.vec3),
    roughness: wp.array(dtype=wp.float32),
    coefficients: wp.array3d(dtype=wp.float32),
    degrees: wp.array(dtype=wp.int32),
    out: wp.array2d(dtype=wp.float32),
):
    point = wp.tid()
    d = direction[point]
    half = out.shape[0] / 2
    first = int(0)
    for k in range(degrees.shape[0]):
        degree = degrees[k]
        fade = wp.exp(-0.5 * float(degree * (degree + 1)) * roughness[point])
        real = float(1.0)
        imaginary = float(0.0)
        for m in range(degree + 1):
            zonal = float(0.0)
            for power in range(degree - m, -1, -1):
                zonal = zonal * d[2] + coefficients[k, m, power]
            zonal = zonal * fade
            out[first + m, point] = zonal * real
            out[half + first + m, point] = zonal * imaginary
            turned = real * d[0] - imaginary * d[1]
            imaginary = real * d[1] + imaginary * d[0]
            real = turned
        first += degree + 1


@wp.kernel
def encode_backward(
    direction: wp.array(dtype=wp.vec3),
    roughness: wp.array(dtype=wp.float32),
    coefficients: wp.array3d(dtype=wp.float32),
    degrees: wp.array(dtype=wp.int32),
    grad_out: wp.array2d(dtype=wp.float32),
    grad_direction: wp.array(dtype=wp.vec3),
    grad_roughness: wp.array(dtype=wp.float32),
):
    """Adjoint of `encode`; `grad_out` is laid out as `out`."""
    point = wp.tid()
    d = direction[point]
    half = grad_out.shape[0] / 2
    first = int(0)
    g_x = float(0.0)
    g_y = float(0.0)
    g_z = float(0.0)
    g_roughness = float(0.0)
    for k in range(degrees.shape[0]):
        degree = degrees[k]
        rate = -0.5 * float(degree * (degree + 1))
        fade = wp.exp(rate * roughness[point])
        real = float(1.0)
        imaginary = float(0.0)
        real_before = float(0.0)  # (x + iy)^(m - 1), whose m-fold is the derivative of (x + iy)^m
        imaginary_before = float(0.0)
        for m in range(degree + 1):
            zonal = float(0.0)
            slope = float(0.0)
            for power in range(degree - m, -1, -1):
                slope = slope * d[2] + zonal
                zonal = zonal * d[2] + coefficients[k, m, power]
            g_real = grad_out[first + m, point] * fade
            g_imaginary = grad_out[half + first + m, point] * fade
            along = g_real * real + g_imaginary * imaginary
            g_roughness += rate * zonal * along
            g_z += slope * along
            order = float(m) * zonal
            g_x += order * (g_real * real_before + g_imaginary * imaginary_before)
            g_y += order * (g_imaginary * real_before - g_real * imaginary_before)
            real_before = real
            imaginary_before = imaginary
            real = real_before * d[0] - imaginary_before * d[1]
            imaginary = real_before * d[1] + imaginary_before * d[0]
        first += degree + 1
    grad_direction[point] = wp.vec3(g_x, g_y, g_z)
    grad_roughness[point] = g_roughness
