"""Kernels that sum a light's directions at every pixel: Lambert's lobe and GGX's, each times what can be seen there.

GGX as glTF has it: alpha = roughness^2, height-correlated Smith masking, Schlick's Fresnel term. With h = (v + l) /
|v + l| and s = |v + l|^2 = 2 + 2 v.l, both (n.h)^2 = (n.v + n.l)^2 / s and (v.h)^2 = s / 4 come without a half vector.

Each direction widens the distribution D by its own size: alpha^2 + r^2. A disc of solid angle pi R^2 around l covers
pi r^2 = pi R^2 / (4 v.h) of the half vectors; its light's mean square angle, `spread` (`LightSamples`), is R^2 / 2, so
that r^2 = spread / (2 v.h) = spread / |v + l|. Masking is the surface's alone. Padding has zero normals, from which no
direction is above the horizon.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

PI = wp.constant(3.14159265358979)
# Squared length of v + l below which l looks straight at the viewer from behind: divisions stay finite.
LEAST_S = wp.constant(1.0e-4)
# alpha^2 of roughness 0.1 without spread: sharper lobes are a mirror's, and float32 loses (n.h)^2 (alpha^2 - 1) + 1.
LEAST_ALPHA2 = wp.constant(1.0e-4)
# Pixels whose part of the light's gradient is summed by one thread. A warp's threads are neighbouring directions, which
# read the same pixel; on a CPU so many pixels stay in the first-level cache.
CHUNK = wp.constant(256)

harmonics = wp.types.vector(length=9, dtype=wp.float32)


@wp.func
def smith(cosine: float, alpha2: float) -> float:
    """cosine times (1 + 2 Lambda) of Smith's masking for GGX."""
    return wp.sqrt(cosine * cosine * (1.0 - alpha2) + alpha2)


@wp.func
def lobe(n_dot_l: float, n_dot_v: float, s: float, wide: float, masking: float) -> float:
    """D G / (4 n.l n.v) times n.l. `s` is |v + l|^2, `wide` the widened alpha^2, 0.5 / `masking` is G / (4 n.l n.v)."""
    both = n_dot_l + n_dot_v
    q = s + (wide - 1.0) * both * both
    return wide * s * s * n_dot_l / (2.0 * PI * q * q * masking)


@wp.func
def schlick(root: float) -> float:
    """(1 - v.h)^5; `root` is |v + l|."""
    rest = 1.0 - 0.5 * root
    squared = rest * rest
    return squared * squared * rest


@wp.func
def arriving_part(n_dot_l: float, is_shadowed: bool, visibility: harmonics, basis: harmonics) -> float:
    """The part of a direction's light that arrives, 0..1; 0 below the horizon.

    A place sees a lamp or does not: a smooth step of what nine numbers tell is nearer to that than what they tell.
    """
    if n_dot_l <= 0.0:
        return 0.0
    if is_shadowed:
        return wp.smoothstep(0.0, 1.0, wp.dot(visibility, basis))
    return 1.0


@wp.func
def openness_of(visibility: harmonics, n: wp.vec3) -> float:
    """The part of even light that arrives at a matte surface with this normal, 0..1.

    Clamped cosines have 1, 2/3 and 1/4 of the harmonics of degree 0, 1 and 2 (Ramamoorthi and Hanrahan 2001).
    """
    one = 0.2820948
    two = 0.4886025 * 2.0 / 3.0
    four = 1.0925484 / 4.0
    part = one * visibility[0] + two * (visibility[1] * n[1] + visibility[2] * n[2] + visibility[3] * n[0])
    part += four * (visibility[4] * n[0] * n[1] + visibility[5] * n[1] * n[2] + visibility[7] * n[0] * n[2])
    part += four * visibility[6] * (3.0 * n[2] * n[2] - 1.0) * 0.2886751
    part += four * visibility[8] * (n[0] * n[0] - n[1] * n[1]) * 0.5
    return wp.clamp(part, 0.0, 1.0)


@wp.kernel
def sum_light(
    normal: wp.array(dtype=wp.vec3),
    view: wp.array(dtype=wp.vec3),
    roughness: wp.array(dtype=wp.float32),
    f0: wp.array(dtype=wp.float32),
    visibility: wp.array(dtype=harmonics),
    is_shadowed: bool,
    direction: wp.array(dtype=wp.vec3),
    flux: wp.array(dtype=wp.vec3),
    spread: wp.array(dtype=wp.float32),
    basis: wp.array(dtype=harmonics),
    least_n_dot_v: float,
    diffuse: wp.array(dtype=wp.vec3),
    reflected: wp.array(dtype=wp.vec3),
    openness: wp.array(dtype=wp.float32),
):
    """One thread per pixel: irradiance over pi, the radiance that a surface of specular intensity 1 reflects, openness.

    `flux` is radiance times solid angle of each `direction`, and `basis` the harmonics there. `visibility` (read only
    where `is_shadowed`) are the pixel's coefficients. Normal and view are unit vectors on one side of the surface.
    """
    pixel = wp.tid()
    n = normal[pixel]
    v = view[pixel]
    reflectance = f0[pixel]
    alpha = roughness[pixel] * roughness[pixel]
    alpha2 = alpha * alpha
    n_dot_v = wp.max(wp.dot(n, v), least_n_dot_v)
    of_view = smith(n_dot_v, alpha2)
    shadows = harmonics()
    if is_shadowed:
        shadows = visibility[pixel]
    cosine_sum = wp.vec3()
    lobe_sum = wp.vec3()
    for k in range(direction.shape[0]):
        to_light = direction[k]
        n_dot_l = wp.dot(n, to_light)
        part = arriving_part(n_dot_l, is_shadowed, shadows, basis[k])
        if part > 0.0:
            arriving = part * flux[k]
            s = wp.max(2.0 + 2.0 * wp.dot(v, to_light), LEAST_S)
            root = wp.sqrt(s)
            wide = wp.max(alpha2 + spread[k] / root, LEAST_ALPHA2)
            masking = n_dot_l * of_view + n_dot_v * smith(n_dot_l, alpha2)
            fresnel = reflectance + (1.0 - reflectance) * schlick(root)
            cosine_sum += n_dot_l * arriving
            lobe_sum += (lobe(n_dot_l, n_dot_v, s, wide, masking) * fresnel) * arriving
    diffuse[pixel] = cosine_sum / PI
    reflected[pixel] = lobe_sum
    openness[pixel] = wp.where(is_shadowed, openness_of(shadows, n), 1.0)


@wp.kernel
def sum_light_backward(
    normal: wp.array(dtype=wp.vec3),
    view: wp.array(dtype=wp.vec3),
    roughness: wp.array(dtype=wp.float32),
    f0: wp.array(dtype=wp.float32),
    visibility: wp.array(dtype=harmonics),
    is_shadowed: bool,
    direction: wp.array(dtype=wp.vec3),
    flux: wp.array(dtype=wp.vec3),
    spread: wp.array(dtype=wp.float32),
    basis: wp.array(dtype=harmonics),
    least_n_dot_v: float,
    grad_diffuse: wp.array(dtype=wp.vec3),
    grad_reflected: wp.array(dtype=wp.vec3),
    grad_normal: wp.array(dtype=wp.vec3),
    grad_view: wp.array(dtype=wp.vec3),
    grad_roughness: wp.array(dtype=wp.float32),
    grad_f0: wp.array(dtype=wp.float32),
):
    """Adjoint of `sum_light`, one thread per pixel: gradients to material, normal and view (three free numbers each).

    Visibility counts as constant; the light's gradient is `sum_light_backward_to_flux`. With R the lobe times Fresnel's
    term, each derivative of R is R times that of log R, which is a sum of a few quotients.
    """
    pixel = wp.tid()
    n = normal[pixel]
    v = view[pixel]
    reflectance = f0[pixel]
    alpha = roughness[pixel] * roughness[pixel]
    alpha2 = alpha * alpha
    facing = wp.dot(n, v)
    n_dot_v = wp.max(facing, least_n_dot_v)
    of_view = smith(n_dot_v, alpha2)
    shadows = harmonics()
    if is_shadowed:
        shadows = visibility[pixel]
    g_diffuse = grad_diffuse[pixel] / PI
    g_reflected = grad_reflected[pixel]
    g_normal = wp.vec3()
    g_view = wp.vec3()
    g_n_dot_v = float(0.0)
    g_alpha2 = float(0.0)
    g_f0 = float(0.0)
    for k in range(direction.shape[0]):
        to_light = direction[k]
        n_dot_l = wp.dot(n, to_light)
        part = arriving_part(n_dot_l, is_shadowed, shadows, basis[k])
        if part > 0.0:
            arriving = part * flux[k]
            s = wp.max(2.0 + 2.0 * wp.dot(v, to_light), LEAST_S)
            root = wp.sqrt(s)
            wide = wp.max(alpha2 + spread[k] / root, LEAST_ALPHA2)
            both = n_dot_l + n_dot_v
            of_light = smith(n_dot_l, alpha2)
            per_masking = 1.0 / (n_dot_l * of_view + n_dot_v * of_light)
            per_q = 1.0 / (s + (wide - 1.0) * both * both)
            per_cosine = wide * s * s * per_q * per_q * per_masking / (2.0 * PI)  # the lobe over n.l
            rest = 1.0 - 0.5 * root
            rest4 = rest * rest * rest * rest
            fresnel = reflectance + (1.0 - reflectance) * rest4 * rest

            lit = wp.dot(g_reflected, arriving) * per_cosine
            weight = lit * n_dot_l
            whole = weight * fresnel
            toward = 4.0 * (wide - 1.0) * both * per_q  # -d log D by n.l, and by n.v
            between = n_dot_l * n_dot_v * (1.0 - alpha2)
            g_n_dot_l = lit * fresnel - whole * (toward + per_masking * (of_view + between / of_light))
            g_n_dot_v -= whole * (toward + per_masking * (of_light + between / of_view))
            masked = n_dot_l * (1.0 - n_dot_v * n_dot_v) / of_view + n_dot_v * (1.0 - n_dot_l * n_dot_l) / of_light
            by_wide = whole * (1.0 / wide - 2.0 * both * both * per_q)
            by_root = weight * (1.0 - reflectance) * 2.5 * rest4 + by_wide * spread[k] / s
            g_s = whole * (2.0 / s - 2.0 * per_q) - 0.5 * by_root / root
            g_alpha2 += by_wide - 0.5 * whole * per_masking * masked
            g_f0 += weight * (1.0 - rest4 * rest)
            g_view += (2.0 * g_s) * to_light
            g_normal += (g_n_dot_l + wp.dot(g_diffuse, arriving)) * to_light
    if facing > least_n_dot_v:
        g_normal += g_n_dot_v * v
        g_view += g_n_dot_v * n
    grad_normal[pixel] = g_normal
    grad_view[pixel] = g_view
    grad_roughness[pixel] = g_alpha2 * 4.0 * alpha * roughness[pixel]
    grad_f0[pixel] = g_f0


@wp.kernel
def sum_light_backward_to_flux(
    first: wp.array(dtype=wp.int32),
    normal: wp.array(dtype=wp.vec3),
    view: wp.array(dtype=wp.vec3),
    roughness: wp.array(dtype=wp.float32),
    f0: wp.array(dtype=wp.float32),
    visibility: wp.array(dtype=harmonics),
    is_shadowed: bool,
    direction: wp.array(dtype=wp.vec3),
    flux: wp.array(dtype=wp.vec3),
    spread: wp.array(dtype=wp.float32),
    basis: wp.array(dtype=harmonics),
    least_n_dot_v: float,
    grad_diffuse: wp.array(dtype=wp.vec3),
    grad_reflected: wp.array(dtype=wp.vec3),
    grad_flux: wp.array2d(dtype=wp.vec3),
):
    """Adjoint of `sum_light` to the light: one thread per chunk of CHUNK pixels from `first` on, and direction.

    Arguments as those of `sum_light`; `flux` is not read.
    grad_flux[chunk, direction] is the part of that chunk: nothing is added by two threads, and the sum has one order.
    """
    chunk, k = wp.tid()
    to_light = direction[k]
    start = first[chunk]
    shadows = harmonics()
    total = wp.vec3()
    for pixel in range(start, wp.min(start + CHUNK, normal.shape[0])):
        n_dot_l = wp.dot(normal[pixel], to_light)
        if n_dot_l > 0.0:
            if is_shadowed:
                shadows = visibility[pixel]
            part = arriving_part(n_dot_l, is_shadowed, shadows, basis[k])
            v = view[pixel]
            alpha = roughness[pixel] * roughness[pixel]
            alpha2 = alpha * alpha
            n_dot_v = wp.max(wp.dot(normal[pixel], v), least_n_dot_v)
            s = wp.max(2.0 + 2.0 * wp.dot(v, to_light), LEAST_S)
            root = wp.sqrt(s)
            wide = wp.max(alpha2 + spread[k] / root, LEAST_ALPHA2)
            masking = n_dot_l * smith(n_dot_v, alpha2) + n_dot_v * smith(n_dot_l, alpha2)
            fresnel = f0[pixel] + (1.0 - f0[pixel]) * schlick(root)
            mirrored = lobe(n_dot_l, n_dot_v, s, wide, masking) * fresnel
            total += part * ((n_dot_l / PI) * grad_diffuse[pixel] + mirrored * grad_reflected[pixel])
    grad_flux[chunk, k] = total
