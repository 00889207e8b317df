"""Kernels of the integrated directional encoding: spherical harmonics of a direction, faded per degree.

Y_lm is a polynomial in z, of every second power, times (x + iy)^m. Degrees, orders and coefficients are known when the
kernels are compiled, so their loops come apart into a straight row of products.

Columns count degree by degree, order by order; imaginary parts follow all real ones. Output is stored column by column,
so that neighbouring threads write neighbouring numbers.
"""

import math

import warp as wp

wp.set_module_options({"enable_backward": False})

DEGREES = (1, 2, 4, 8)  # powers of two, as in Ref-NeRF; four of them as in FLARE (docs/method.md)
ORDERS = max(DEGREES) + 1
FIRST = tuple(sum(degree + 1 for degree in DEGREES[:k]) for k in range(len(DEGREES)))  # column of each degree's order 0
HALF = sum(degree + 1 for degree in DEGREES)


def coefficients(degree: int, order: int) -> list[float]:
    """Those of z^(degree - order), z^(degree - order - 2) and so on in Y_lm / (x + iy)^m.

    P_l is the l-th derivative of (z^2 - 1)^l / (2^l l!); P_lm its m-th, with the Condon-Shortley sign.
    """
    norm = math.sqrt((2 * degree + 1) / (4 * math.pi) * math.factorial(degree - order) / math.factorial(degree + order))
    terms = []
    for k in range((degree - order) // 2 + 1):
        power = degree - 2 * k
        legendre = (-1) ** k * math.comb(degree, k) * math.comb(2 * degree - 2 * k, degree) / 2**degree
        terms.append((-1) ** order * norm * legendre * math.factorial(power) / math.factorial(power - order))
    return terms


TABLE = tuple(tuple(coefficients(degree, order) for order in range(degree + 1)) for degree in DEGREES)

orders = wp.types.vector(length=ORDERS, dtype=wp.float32)


@wp.kernel
def encode(
    direction: wp.array(dtype=wp.vec3),
    roughness: wp.array(dtype=wp.float32),
    out: wp.array2d(dtype=wp.float32),
):
    """One thread per point: all harmonics of its unit direction, each times exp(-degree (degree + 1) / 2 roughness).

    out[38, P] holds the real parts (degree by degree, order by order), then the imaginary ones.
    """
    point = wp.tid()
    d = direction[point]
    z = d[2]
    real = orders()  # of (x + iy)^m
    imaginary = orders()
    real[0] = 1.0
    for m in range(wp.static(ORDERS - 1)):
        real[m + 1] = real[m] * d[0] - imaginary[m] * d[1]
        imaginary[m + 1] = real[m] * d[1] + imaginary[m] * d[0]
    for k in range(wp.static(len(DEGREES))):
        fade = wp.exp(wp.static(-0.5 * DEGREES[k] * (DEGREES[k] + 1)) * roughness[point])
        for m in range(wp.static(DEGREES[k] + 1)):
            zonal = float(0.0)
            for i in range(wp.static(len(TABLE[k][m]))):
                zonal = zonal * (z * z) + wp.static(TABLE[k][m][i])
            if wp.static((DEGREES[k] - m) % 2 == 1):
                zonal = zonal * z
            out[wp.static(FIRST[k]) + m, point] = fade * zonal * real[m]
            out[wp.static(HALF + FIRST[k]) + m, point] = fade * zonal * imaginary[m]


@wp.kernel
def encode_backward(
    direction: wp.array(dtype=wp.vec3),
    roughness: wp.array(dtype=wp.float32),
    grad_out: wp.array2d(dtype=wp.float32),
    grad_direction: wp.array(dtype=wp.vec3),
    grad_roughness: wp.array(dtype=wp.float32),
):
    """Adjoint of `encode`, one thread per point: gradients to the direction and the roughness.

    `grad_out` is laid out as `out`. The direction counts as three free numbers: its length is not divided out here.
    """
    point = wp.tid()
    d = direction[point]
    z = d[2]
    real = orders()
    imaginary = orders()
    real[0] = 1.0
    for m in range(wp.static(ORDERS - 1)):
        real[m + 1] = real[m] * d[0] - imaginary[m] * d[1]
        imaginary[m + 1] = real[m] * d[1] + imaginary[m] * d[0]
    g_x = float(0.0)
    g_y = float(0.0)
    g_z = float(0.0)
    g_roughness = float(0.0)
    for k in range(wp.static(len(DEGREES))):
        rate = wp.static(-0.5 * DEGREES[k] * (DEGREES[k] + 1))
        fade = wp.exp(rate * roughness[point])
        for m in range(wp.static(DEGREES[k] + 1)):
            zonal = float(0.0)
            slope = float(0.0)  # by z^2, then by z
            for i in range(wp.static(len(TABLE[k][m]))):
                slope = slope * (z * z) + zonal
                zonal = zonal * (z * z) + wp.static(TABLE[k][m][i])
            slope = 2.0 * z * slope
            if wp.static((DEGREES[k] - m) % 2 == 1):
                slope = z * slope + zonal
                zonal = zonal * z
            g_real = grad_out[wp.static(FIRST[k]) + m, point] * fade
            g_imaginary = grad_out[wp.static(HALF + FIRST[k]) + m, point] * fade
            along = g_real * real[m] + g_imaginary * imaginary[m]
            g_roughness += rate * zonal * along
            g_z += slope * along
            if wp.static(m > 0):
                # The derivative of (x + iy)^m is m-fold (x + iy)^(m - 1).
                order = float(m) * zonal
                g_x += order * (g_real * real[m - 1] + g_imaginary * imaginary[m - 1])
                g_y += order * (g_imaginary * real[m - 1] - g_real * imaginary[m - 1])
    grad_direction[point] = wp.vec3(g_x, g_y, g_z)
    grad_roughness[point] = g_roughness
