"""Ray tracing kernels: direct light from an environment on a triangle mesh, with shadows.

On purpose nothing here is shared with the fit's renderer: rays instead of rasterization, the microfacet integral
sampled instead of split sums, shadows instead of none.

Metres, world space (docs/conventions.md); radiance and albedo linear, as (red, green, blue); directions of unit length.
Nothing here is differentiated.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

PI = wp.constant(wp.float32(3.14159265358979))
# 1 / p and 1 / p^2 of the plastic number p: a two-dimensional low-discrepancy sequence (Roberts' R2, "The unreasonable
# effectiveness of quasirandom sequences", 2018).
R2_X = wp.constant(wp.float32(0.7548776662466927))
R2_Y = wp.constant(wp.float32(0.5698402909980532))
# Metres that shadow rays start off the surface, so that rounding does not let them meet the face they start on: three
# hundred times a float's step at 1 m (6e-8).
OFF_SURFACE = wp.constant(wp.float32(2e-5))
# Metres that rays reach: more than any scene.
FAR = wp.constant(wp.float32(100.0))
# Pairs of shadow rays (one aimed at light, one by material) per camera ray: they cost less than it and are noisier.
PAIRS = wp.constant(wp.int32(2))
# Part of the material's rays that follow the mirror's lobe, the others the cosine: skin is mostly matte. Not tuned: it
# changes the noise, not the mean.
MIRROR_SHARE = wp.constant(wp.float32(0.25))


@wp.struct
class Environment:
    """Radiance of an equirectangular map, and the distribution its pixels are drawn from; row 0 is up (+y)."""

    radiance: wp.array2d(dtype=wp.vec3)  # (H, W)
    density: wp.array2d(dtype=wp.float32)  # (H, W), per steradian
    rows: wp.array(dtype=wp.float32)  # (H), cumulative, ends at 1
    columns: wp.array2d(dtype=wp.float32)  # (H, W), cumulative in each row, ends at 1
    height: wp.int32
    width: wp.int32


@wp.struct
class Surface:
    """A mesh with values at its vertices."""

    mesh: wp.uint64  # id of the `wp.Mesh`, vertices in metres
    faces: wp.array2d(dtype=wp.int32)  # (F, 3)
    normals: wp.array(dtype=wp.vec3)  # (V)
    albedo: wp.array(dtype=wp.vec3)  # (V), 0..1
    roughness: wp.array(dtype=wp.float32)  # (V), perceptual, 0..1: its square is GGX's alpha
    labels: wp.array(dtype=wp.int32)  # (V), CelebAMask-19
    specular: wp.array(dtype=wp.float32)  # (V), a factor of the reflectance; of any length where it is 1 everywhere
    even: wp.bool  # whether it is
    f0: wp.float32  # reflectance straight on


@wp.struct
class Pinhole:
    """A pinhole camera in OpenCV axes; focal lengths and principal point in pixels, counted from pixel corners."""

    centre: wp.vec3  # metres, in the world
    world_from_camera: wp.mat33  # rotation
    fx: wp.float32
    fy: wp.float32
    cx: wp.float32
    cy: wp.float32


@wp.func
def fraction(x: float) -> float:
    """`x` modulo 1."""
    return x - wp.floor(x)


@wp.func
def first_above(cumulative: wp.array(dtype=wp.float32), count: int, value: float) -> int:
    """Index of the first of `count` rising numbers that is above `value`, else the last, by bisection."""
    low = int(0)
    high = int(count - 1)
    while low < high:
        middle = (low + high) / 2
        if cumulative[middle] > value:
            high = middle
        else:
            low = middle + 1
    return low


@wp.func
def first_above_in_row(cumulative: wp.array2d(dtype=wp.float32), row: int, count: int, value: float) -> int:
    """`first_above` in one row: Warp has no view of a row in a function."""
    low = int(0)
    high = int(count - 1)
    while low < high:
        middle = (low + high) / 2
        if cumulative[row, middle] > value:
            high = middle
        else:
            low = middle + 1
    return low


@wp.func
def environment_pixel(environment: Environment, direction: wp.vec3) -> wp.vec2i:
    """Row and column of the pixel that a direction meets; the middle column is -z, right of it +x."""
    theta = wp.acos(wp.clamp(direction[1], -1.0, 1.0))
    phi = wp.atan2(direction[0], -direction[2])
    row = wp.clamp(int(theta / PI * float(environment.height)), 0, environment.height - 1)
    column = wp.clamp(int((phi / (2.0 * PI) + 0.5) * float(environment.width)), 0, environment.width - 1)
    return wp.vec2i(row, column)


@wp.func
def environment_direction(environment: Environment, u: float, v: float) -> wp.vec3:
    """A direction drawn with the map's density, from `u` (row) and `v` (column), even in 0..1."""
    row = first_above(environment.rows, environment.height, u)
    before = float(0.0)
    if row > 0:
        before = environment.rows[row - 1]
    row_part = (u - before) / wp.max(environment.rows[row] - before, 1e-12)
    column = first_above_in_row(environment.columns, row, environment.width, v)
    before = float(0.0)
    if column > 0:
        before = environment.columns[row, column - 1]
    column_part = (v - before) / wp.max(environment.columns[row, column] - before, 1e-12)
    # Uniform in cos(theta) within the pixel, because density is per solid angle.
    top = wp.cos(float(row) / float(environment.height) * PI)
    bottom = wp.cos(float(row + 1) / float(environment.height) * PI)
    cosine = top + (bottom - top) * wp.clamp(row_part, 0.0, 1.0)
    sine = wp.sqrt(wp.max(1.0 - cosine * cosine, 0.0))
    phi = ((float(column) + wp.clamp(column_part, 0.0, 1.0)) / float(environment.width) - 0.5) * 2.0 * PI
    return wp.vec3(sine * wp.sin(phi), cosine, -sine * wp.cos(phi))


@wp.func
def about(normal: wp.vec3, local: wp.vec3) -> wp.vec3:
    """A vector given in a frame whose z is `normal`, in the world; where x points is arbitrary."""
    helper = wp.vec3(0.0, 1.0, 0.0)
    if wp.abs(normal[1]) > 0.9:
        helper = wp.vec3(1.0, 0.0, 0.0)
    tangent = wp.normalize(wp.cross(helper, normal))
    return local[0] * tangent + local[1] * wp.cross(normal, tangent) + local[2] * normal


@wp.func
def ggx(cosine: float, alpha: float) -> float:
    """Density of microfacet normals (Walter et al. 2007, eq. 33) at a cosine to the surface's, per steradian."""
    a2 = alpha * alpha
    denominator = cosine * cosine * (a2 - 1.0) + 1.0
    return a2 / (PI * denominator * denominator)


@wp.func
def smith(cosine: float, alpha: float) -> float:
    """The part of the microfacets that one direction sees: GGX's G1 (Walter et al. 2007, eq. 34)."""
    a2 = alpha * alpha
    return 2.0 * cosine / (cosine + wp.sqrt(a2 + (1.0 - a2) * cosine * cosine))


@wp.func
def reflected(
    normal: wp.vec3, view: wp.vec3, light: wp.vec3, albedo: wp.vec3, roughness: float, intensity: float, f0: float
) -> wp.vec3:
    """Lambert plus Cook-Torrance (Schlick's Fresnel, separable Smith) per steradian, times the cosine to the light.

    `view` and `light` point away from the surface. `f0` of 0 is matte: without Schlick's rise at grazing angles.
    `intensity` scales what is mirrored.
    """
    to_light = wp.dot(normal, light)
    to_view = wp.max(wp.dot(normal, view), 1e-3)
    if to_light <= 0.0:
        return wp.vec3(0.0, 0.0, 0.0)
    half = wp.normalize(view + light)
    alpha = roughness * roughness
    fresnel = f0 + (1.0 - f0) * wp.pow(1.0 - wp.clamp(wp.dot(view, half), 0.0, 1.0), 5.0)
    if f0 == 0.0:
        fresnel = 0.0
    fresnel = intensity * fresnel
    shape = ggx(wp.max(wp.dot(normal, half), 0.0), alpha) * smith(to_view, alpha) * smith(to_light, alpha)
    specular = fresnel * shape / (4.0 * to_view * to_light)
    return (albedo / PI + wp.vec3(specular, specular, specular)) * to_light


@wp.func
def material_density(normal: wp.vec3, view: wp.vec3, light: wp.vec3, roughness: float) -> float:
    """Density per steradian of `material_direction`: mostly cosine, else reflection about a GGX normal."""
    half = wp.normalize(view + light)
    on_half = wp.max(wp.dot(normal, half), 0.0)
    mirror = ggx(on_half, roughness * roughness) * on_half / wp.max(4.0 * wp.dot(view, half), 1e-6)
    return (1.0 - MIRROR_SHARE) * wp.max(wp.dot(normal, light), 0.0) / PI + MIRROR_SHARE * mirror


@wp.func
def material_direction(normal: wp.vec3, view: wp.vec3, roughness: float, u: float, v: float, choice: float) -> wp.vec3:
    """A direction to look for light in, drawn by the material; `u`, `v` and `choice` are even in 0..1.

    It may point into the surface: `arriving` gives nothing then.
    """
    phi = 2.0 * PI * u
    if choice >= MIRROR_SHARE:
        radius = wp.sqrt(v)
        up = wp.sqrt(wp.max(1.0 - v, 0.0))
        return about(normal, wp.vec3(radius * wp.cos(phi), radius * wp.sin(phi), up))
    a2 = wp.pow(roughness, 4.0)
    cosine = wp.sqrt((1.0 - v) / (1.0 + (a2 - 1.0) * v))
    sine = wp.sqrt(wp.max(1.0 - cosine * cosine, 0.0))
    half = about(normal, wp.vec3(sine * wp.cos(phi), sine * wp.sin(phi), cosine))
    return 2.0 * wp.dot(view, half) * half - view


@wp.func
def arriving(
    surface: Surface,
    environment: Environment,
    place: wp.vec3,
    facing: wp.vec3,
    normal: wp.vec3,
    view: wp.vec3,
    light: wp.vec3,
    albedo: wp.vec3,
    roughness: float,
    intensity: float,
) -> wp.vec3:
    """What one direction `light` brings: radiance reflected towards `view`, over the density with which it was drawn.

    The density is that of both ways of drawing (balance heuristic, Veach and Guibas 1995), because each is used once.
    Nothing arrives from behind the face (`facing`) or the smooth surface (`normal`), or where the mesh shadows `place`.
    """
    if wp.dot(facing, light) <= 0.0 or wp.dot(normal, light) <= 0.0:
        return wp.vec3(0.0, 0.0, 0.0)
    shadow = wp.mesh_query_ray(surface.mesh, place, light, FAR)
    if shadow.result:
        return wp.vec3(0.0, 0.0, 0.0)
    pixel = environment_pixel(environment, light)
    radiance = environment.radiance[pixel[0], pixel[1]]
    density = environment.density[pixel[0], pixel[1]] + material_density(normal, view, light, roughness)
    shaded = reflected(normal, view, light, albedo, roughness, intensity, surface.f0)
    return wp.cw_mul(shaded, radiance) / wp.max(density, 1e-9)


@wp.kernel
def trace(
    surface: Surface,
    environment: Environment,
    camera: Pinhole,
    samples: wp.int32,
    seed: wp.int32,
    out_radiance: wp.array2d(dtype=wp.vec3),
    out_coverage: wp.array2d(dtype=wp.float32),
    out_albedo: wp.array2d(dtype=wp.vec3),
    out_roughness: wp.array2d(dtype=wp.float32),
    out_specular: wp.array2d(dtype=wp.float32),
    out_normal: wp.array2d(dtype=wp.vec3),
    out_depth: wp.array2d(dtype=wp.float32),
    out_label: wp.array2d(dtype=wp.int32),
):
    """One thread traces one pixel (row i, column j): `samples` jittered camera rays and their shadow rays, averaged.

    A ray through the pixel's centre comes first and only reads the label, that of the nearest corner. Outputs are
    (H, W) and must hold zeros. Radiance (linear, over black) and coverage (0..1) are means over all rays; albedo,
    roughness, specular, normal (world, unit length) and depth (metres along the camera's axis) over those that hit. The
    same seed gives the same picture: random numbers depend on seed and pixel, places of samples also on their number.
    """
    i, j = wp.tid()
    state = wp.rand_init(seed, i * out_coverage.shape[1] + j)
    shift_x, shift_y = wp.randf(state), wp.randf(state)
    shift_u, shift_v = wp.randf(state), wp.randf(state)
    shift_s, shift_t = wp.randf(state), wp.randf(state)
    forward = camera.world_from_camera * wp.vec3(0.0, 0.0, 1.0)
    radiance = wp.vec3(0.0, 0.0, 0.0)
    albedo_sum = wp.vec3(0.0, 0.0, 0.0)
    normal_sum = wp.vec3(0.0, 0.0, 0.0)
    roughness_sum = float(0.0)
    specular_sum = float(0.0)
    depth_sum = float(0.0)
    hits = float(0.0)
    for k in range(samples + 1):
        # The first ray, through the pixel's centre, only reads the label.
        number = float(k)
        x = float(j) + 0.5
        y = float(i) + 0.5
        if k > 0:
            x = float(j) + fraction(shift_x + number * R2_X)
            y = float(i) + fraction(shift_y + number * R2_Y)
        ray = wp.normalize(
            camera.world_from_camera * wp.vec3((x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, 1.0)
        )
        hit = wp.mesh_query_ray(surface.mesh, camera.centre, ray, FAR)
        if hit.result:
            a, b, c = surface.faces[hit.face, 0], surface.faces[hit.face, 1], surface.faces[hit.face, 2]
            u, v = hit.u, hit.v
            w = 1.0 - u - v
            if k == 0:
                nearest = a
                if v > u and v >= w:
                    nearest = b
                elif w > u and w > v:
                    nearest = c
                out_label[i, j] = surface.labels[nearest]
            else:
                toward = -ray
                facing = wp.normalize(hit.normal)
                if wp.dot(facing, toward) < 0.0:
                    facing = -facing
                normal = wp.normalize(u * surface.normals[a] + v * surface.normals[b] + w * surface.normals[c])
                if wp.dot(normal, facing) < 0.0:
                    normal = -normal
                albedo = u * surface.albedo[a] + v * surface.albedo[b] + w * surface.albedo[c]
                roughness = u * surface.roughness[a] + v * surface.roughness[b] + w * surface.roughness[c]
                specular = float(1.0)
                if not surface.even:
                    specular = u * surface.specular[a] + v * surface.specular[b] + w * surface.specular[c]
                place = camera.centre + hit.t * ray + OFF_SURFACE * facing
                for pair in range(PAIRS):
                    n = float(PAIRS * k + pair)
                    light = environment_direction(
                        environment, fraction(shift_u + n * R2_X), fraction(shift_v + n * R2_Y)
                    )
                    radiance += arriving(
                        surface, environment, place, facing, normal, toward, light, albedo, roughness, specular
                    )
                    light = material_direction(
                        normal,
                        toward,
                        roughness,
                        fraction(shift_s + n * R2_X),
                        fraction(shift_t + n * R2_Y),
                        wp.randf(state),
                    )
                    radiance += arriving(
                        surface, environment, place, facing, normal, toward, light, albedo, roughness, specular
                    )
                albedo_sum += albedo
                normal_sum += normal
                roughness_sum += roughness
                specular_sum += specular
                depth_sum += hit.t * wp.dot(ray, forward)
                hits += 1.0
    out_radiance[i, j] = radiance / float(samples * PAIRS)
    out_coverage[i, j] = hits / float(samples)
    if hits > 0.0:
        out_albedo[i, j] = albedo_sum / hits
        out_normal[i, j] = wp.normalize(normal_sum)
        out_roughness[i, j] = roughness_sum / hits
        out_specular[i, j] = specular_sum / hits
        out_depth[i, j] = depth_sum / hits
