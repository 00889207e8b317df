"""Kernels around the light: what a pixel's surface looks toward, and what colour its material gives to the light."""

import warp as wp

wp.set_module_options({"enable_backward": False})

# Below these lengths a direction is not one: padding is all zeros.
TINY = wp.constant(1.0e-12)


@wp.func
def unit(v: wp.vec3) -> wp.vec3:
    """A vector of length 1; (nearly) zero stays zero."""
    return v / wp.max(wp.length(v), TINY)


@wp.func
def unit_backward(v: wp.vec3, g: wp.vec3) -> wp.vec3:
    """Adjoint of `unit` at v, given the gradient g of its result."""
    length = wp.max(wp.length(v), TINY)
    direction = v / length
    return (g - direction * wp.dot(g, direction)) / length


@wp.kernel
def facing_normal_and_view(
    position: wp.array(dtype=wp.vec3),
    normal: wp.array(dtype=wp.vec3),
    centres: wp.array(dtype=wp.vec3),
    batch: wp.array(dtype=wp.int64),
    facing: wp.array(dtype=wp.vec3),
    view: wp.array(dtype=wp.vec3),
):
    """One thread per listed pixel: the unit direction to its camera, and the unit normal on that side.

    `position` and `centres` (one a picture) are in world space, in metres; `normal` has any length. One that points
    away is mirrored at the plane across the view: at an outline, where smooth normals turn away a little too early, it
    stays what it was, where its negative would face light from the other side of the head.
    """
    pixel = wp.tid()
    to_camera = unit(centres[int(batch[pixel])] - position[pixel])
    upright = unit(normal[pixel])
    view[pixel] = to_camera
    facing[pixel] = upright - 2.0 * wp.min(wp.dot(upright, to_camera), 0.0) * to_camera


@wp.kernel
def facing_normal_and_view_backward(
    position: wp.array(dtype=wp.vec3),
    normal: wp.array(dtype=wp.vec3),
    centres: wp.array(dtype=wp.vec3),
    batch: wp.array(dtype=wp.int64),
    grad_facing: wp.array(dtype=wp.vec3),
    grad_view: wp.array(dtype=wp.vec3),
    grad_position: wp.array(dtype=wp.vec3),
    grad_normal: wp.array(dtype=wp.vec3),
):
    """Adjoint of `facing_normal_and_view`: gradients to position and normal. Cameras get none."""
    pixel = wp.tid()
    to_camera = centres[int(batch[pixel])] - position[pixel]
    v = unit(to_camera)
    n = unit(normal[pixel])
    g = grad_facing[pixel]
    away = wp.min(wp.dot(n, v), 0.0)
    along = wp.where(away < 0.0, wp.dot(g, v), 0.0)
    grad_position[pixel] = -unit_backward(to_camera, grad_view[pixel] - 2.0 * (along * n + away * g))
    grad_normal[pixel] = unit_backward(normal[pixel], g - 2.0 * along * v)


@wp.kernel
def mirror(normal: wp.array(dtype=wp.vec3), view: wp.array(dtype=wp.vec3), out: wp.array(dtype=wp.vec3)):
    """One thread per pixel: the unit direction whose light a mirror with this unit normal shows to this unit view."""
    pixel = wp.tid()
    n = normal[pixel]
    v = view[pixel]
    out[pixel] = unit(2.0 * wp.dot(n, v) * n - v)


@wp.kernel
def mirror_backward(
    normal: wp.array(dtype=wp.vec3),
    view: wp.array(dtype=wp.vec3),
    grad_out: wp.array(dtype=wp.vec3),
    grad_normal: wp.array(dtype=wp.vec3),
    grad_view: wp.array(dtype=wp.vec3),
):
    """Adjoint of `mirror`: gradients to normal and view, each as three free numbers."""
    pixel = wp.tid()
    n = normal[pixel]
    v = view[pixel]
    n_dot_v = wp.dot(n, v)
    g = unit_backward(2.0 * n_dot_v * n - v, grad_out[pixel])
    n_dot_g = wp.dot(n, g)
    grad_normal[pixel] = 2.0 * (v * n_dot_g + g * n_dot_v)
    grad_view[pixel] = 2.0 * n * n_dot_g - g


@wp.func
def table_coordinate(value: float, least: float, nodes: int) -> float:
    """Where a table of `nodes` values, evenly from `least` to 1, has this one: 0 to nodes - 1."""
    return wp.clamp((value - least) / (1.0 - least), 0.0, 1.0) * float(nodes - 1)


@wp.func
def slope_of_table_coordinate(value: float, least: float, nodes: int) -> float:
    """The derivative of `table_coordinate` by the value: 0 where that is clamped."""
    return wp.where(value > least and value < 1.0, float(nodes - 1) / (1.0 - least), 0.0)


@wp.kernel
def compose(
    albedo: wp.array(dtype=wp.vec3),
    roughness: wp.array(dtype=wp.float32),
    specular: wp.array(dtype=wp.float32),
    f0: wp.array(dtype=wp.float32),
    normal: wp.array(dtype=wp.vec3),
    view: wp.array(dtype=wp.vec3),
    diffuse_light: wp.array(dtype=wp.vec3),
    specular_light: wp.array(dtype=wp.vec3),
    table: wp.array2d(dtype=wp.vec2),
    least_n_dot_v: float,
    least_roughness: float,
    out: wp.array(dtype=wp.vec3),
):
    """One thread per pixel: albedo * diffuse light + specular * specular light * (f0 * A + B), linear radiance.

    (A, B) is bilinear in table[roughness, n.v], which starts at `least_roughness` and `least_n_dot_v` and ends at 1.
    Normal and view are unit.
    """
    pixel = wp.tid()
    x = table_coordinate(wp.dot(normal[pixel], view[pixel]), least_n_dot_v, table.shape[1])
    y = table_coordinate(roughness[pixel], least_roughness, table.shape[0])
    column = wp.min(int(x), table.shape[1] - 2)
    row = wp.min(int(y), table.shape[0] - 2)
    u = x - float(column)
    v = y - float(row)
    brdf = (table[row, column] * (1.0 - u) + table[row, column + 1] * u) * (1.0 - v) + (
        table[row + 1, column] * (1.0 - u) + table[row + 1, column + 1] * u
    ) * v
    reflectance = specular[pixel] * (f0[pixel] * brdf[0] + brdf[1])
    out[pixel] = wp.cw_mul(albedo[pixel], diffuse_light[pixel]) + reflectance * specular_light[pixel]


@wp.kernel
def compose_backward(
    albedo: wp.array(dtype=wp.vec3),
    roughness: wp.array(dtype=wp.float32),
    specular: wp.array(dtype=wp.float32),
    f0: wp.array(dtype=wp.float32),
    normal: wp.array(dtype=wp.vec3),
    view: wp.array(dtype=wp.vec3),
    diffuse_light: wp.array(dtype=wp.vec3),
    specular_light: wp.array(dtype=wp.vec3),
    table: wp.array2d(dtype=wp.vec2),
    least_n_dot_v: float,
    least_roughness: float,
    grad_out: wp.array(dtype=wp.vec3),
    grad_albedo: wp.array(dtype=wp.vec3),
    grad_roughness: wp.array(dtype=wp.float32),
    grad_specular: wp.array(dtype=wp.float32),
    grad_f0: wp.array(dtype=wp.float32),
    grad_normal: wp.array(dtype=wp.vec3),
    grad_view: wp.array(dtype=wp.vec3),
    grad_diffuse_light: wp.array(dtype=wp.vec3),
    grad_specular_light: wp.array(dtype=wp.vec3),
):
    """Adjoint of `compose`, one thread per pixel: gradients to all eight inputs that differ from pixel to pixel.

    Those to normal and view are by way of n.v; the table gets none.
    """
    pixel = wp.tid()
    g = grad_out[pixel]
    n_dot_v = wp.dot(normal[pixel], view[pixel])
    x = table_coordinate(n_dot_v, least_n_dot_v, table.shape[1])
    y = table_coordinate(roughness[pixel], least_roughness, table.shape[0])
    column = wp.min(int(x), table.shape[1] - 2)
    row = wp.min(int(y), table.shape[0] - 2)
    u = x - float(column)
    v = y - float(row)
    above = table[row, column] * (1.0 - u) + table[row, column + 1] * u
    below = table[row + 1, column] * (1.0 - u) + table[row + 1, column + 1] * u
    brdf = above * (1.0 - v) + below * v
    across = (table[row, column + 1] - table[row, column]) * (1.0 - v) + (
        table[row + 1, column + 1] - table[row + 1, column]
    ) * v
    white_reflectance = f0[pixel] * brdf[0] + brdf[1]
    lit = wp.dot(g, specular_light[pixel])
    toward = wp.vec2(f0[pixel], 1.0) * (lit * specular[pixel])
    grad_albedo[pixel] = wp.cw_mul(g, diffuse_light[pixel])
    grad_diffuse_light[pixel] = wp.cw_mul(g, albedo[pixel])
    grad_specular_light[pixel] = g * (specular[pixel] * white_reflectance)
    grad_specular[pixel] = lit * white_reflectance
    grad_f0[pixel] = lit * specular[pixel] * brdf[0]
    grad_roughness[pixel] = wp.dot(toward, below - above) * slope_of_table_coordinate(
        roughness[pixel], least_roughness, table.shape[0]
    )
    g_n_dot_v = wp.dot(toward, across) * slope_of_table_coordinate(n_dot_v, least_n_dot_v, table.shape[1])
    grad_normal[pixel] = view[pixel] * g_n_dot_v
    grad_view[pixel] = normal[pixel] * g_n_dot_v
