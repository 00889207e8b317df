"""Integrated directional encoding (Verbin et al., Ref-NeRF, 2022): spherical harmonics blurred by roughness."""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

DEGREES = (1, 2, 4, 8)
ENCODING_WIDTH = 2 * sum(degree + 1 for degree in DEGREES)  # 38: real and imaginary parts of orders 0..degree


def directional_encoding(direction: Float[Tensor, "P 3"], roughness: Float[Tensor, "P 1"]) -> Float[Tensor, "P width"]:
    """Harmonics of a unit direction, the 19 real parts then the 19 imaginary ones, faded as a lobe about it would.

    A von Mises-Fisher lobe of concentration k multiplies degree l by about exp(-l (l + 1) / (2 k)). We take 1/k to be
    the roughness: at 1 only a hint of degree 4 and nothing of degree 8 is left, at 0 nothing is blurred.
    """
    x, y, z = direction.unbind(-1)
    polynomials, orders, degrees, fading = _tables(direction.device, direction.dtype)
    powers, real, imaginary = [torch.ones_like(z)], [torch.ones_like(x)], [torch.zeros_like(x)]
    for k in range(max(DEGREES)):  # z^k and (x + iy)^k
        powers.append(powers[k] * z)
        real.append(real[k] * x - imaginary[k] * y)
        imaginary.append(real[k] * y + imaginary[k] * x)
    # Columns are picked by 0/1 matrices: the gradient of indexing is far slower than a small product.
    zonal = (torch.stack(powers, -1) @ polynomials) * (torch.exp(-fading * roughness) @ degrees)
    return torch.cat([zonal * (torch.stack(real, -1) @ orders), zonal * (torch.stack(imaginary, -1) @ orders)], -1)


@functools.cache
def _tables(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Columns are harmonics: coefficients over powers of z of Y_lm / (x + iy)^m, 1 at m, 1 at l; then l (l + 1) / 2."""
    harmonics = [(degree, order) for degree in DEGREES for order in range(degree + 1)]
    polynomials = torch.zeros(max(DEGREES) + 1, len(harmonics), dtype=torch.float64)
    for column, (degree, order) in enumerate(harmonics):
        norm = math.sqrt(
            (2 * degree + 1) / (4 * math.pi) * math.factorial(degree - order) / math.factorial(degree + order)
        )
        for k in range((degree - order) // 2 + 1):
            # P_l is the l-th derivative of (z^2 - 1)^l / (2^l l!); P_lm its m-th, with the Condon-Shortley sign.
            power = degree - 2 * k
            legendre = (-1) ** k * math.comb(degree, k) * math.comb(2 * degree - 2 * k, degree) / 2**degree
            derivative = math.factorial(power) / math.factorial(power - order)
            polynomials[power - order, column] = (-1) ** order * norm * legendre * derivative
    orders = torch.eye(max(DEGREES) + 1)[:, [order for _, order in harmonics]]
    degrees = torch.eye(len(DEGREES))[:, [DEGREES.index(degree) for degree, _ in harmonics]]
    fading = torch.tensor([degree * (degree + 1) / 2 for degree in DEGREES])
    polynomials, orders, degrees, fading = (t.to(device, dtype) for t in (polynomials, orders, degrees, fading))
    return polynomials, orders, degrees, fading
