"""The loss terms against closed forms, twins in float64 and finite differences."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.drawn import drawn_step

from flare_cli.avatar.deformer import Deformer
from flare_cli.avatar.material import Material
from flare_cli.data.celebamask import EYE_WHITE, Label
from flare_cli.fit.loss.losses import (
    DELICATE,
    EYE_WHITE_ALBEDO,
    POSITION_JITTER,
    LossInputs,
    albedo_smoothness,
    direction_prior,
    held_offsets,
    laplacian_term,
    light_level,
    usual_level,
    weights_prior,
    white_light,
)
from flare_cli.render.colour import linear_from_srgb
from flare_cli.render.noise import normal_noise


def test_grey_light_is_white_whatever_its_level():
    grey = torch.rand(50, 1).expand(50, 3)
    assert white_light(grey) < 1e-6
    assert white_light(torch.tensor([[1.0, 0.5, 0.0]])) == pytest.approx(1 / 3)


def test_light_level_is_zero_at_one_and_symmetric_in_stops():
    assert light_level(torch.ones(10, 3)) == 0
    assert light_level(torch.full((10, 3), 2.0)) == pytest.approx(float(light_level(torch.full((10, 3), 0.5))))


def test_direction_prior_is_in_the_published_unit():
    deformer = Deformer(width=8, depth=1, n_expression=2, n_pose=4, n_joints=5)
    with torch.no_grad():
        deformer.layers[-1].bias.fill_(0.1)  # a millimetre
    corrections = deformer(torch.rand(7, 3))
    assert direction_prior(corrections, corrections.pose).item() == pytest.approx((0.001 * 4 * 10) ** 2)


@pytest.fixture
def step(toy_frames, open_head, tiny_config) -> LossInputs:
    return drawn_step(toy_frames, open_head, tiny_config)


def with_offsets(step: LossInputs, offsets: torch.Tensor) -> LossInputs:
    with torch.no_grad():
        step.avatar.mesh.offsets.copy_(offsets)
    return step


def random_offsets(step: LossInputs) -> torch.Tensor:
    return 0.002 * torch.randn(step.avatar.mesh.offsets.shape, generator=torch.Generator().manual_seed(1))


def slope_along(function, values: torch.Tensor, direction: torch.Tensor, size: float) -> float:
    """Central difference of a number of `values`."""
    with torch.no_grad():
        ahead, behind = (function(values + sign * size * direction).double() for sign in (1, -1))
    return float(ahead - behind) / (2 * size)


def neighbours_of(faces: torch.Tensor) -> list[set[int]]:
    found = [set() for _ in range(int(faces.max()) + 1)]
    for face in faces.tolist():
        for corner in face:
            found[corner] |= set(face) - {corner}
    return found


# Laplacian


def test_laplacian_of_one_moved_vertex_is_closed_form(step):
    neighbours = neighbours_of(step.avatar.mesh.topology.faces)
    vertex, moved = 200, torch.tensor([0.001, -0.002, 0.002])  # 3 mm
    offsets = torch.zeros_like(step.avatar.mesh.offsets)
    offsets[vertex] = moved
    # The vertex itself leaves its neighbours' mean by all of it, each neighbour by one part in its own neighbours.
    parts = 1 + sum(1 / len(neighbours[n]) ** 2 for n in neighbours[vertex])
    expected = (4 * 0.003) ** 2 * parts / len(offsets)
    assert laplacian_term(with_offsets(step, offsets), "offsets").item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("of", ["offsets", "vertices"])
def test_laplacian_and_its_gradient_match_float64(step, of):
    offsets = random_offsets(step)
    values = offsets.double().numpy()
    if of == "vertices":
        head = step.avatar.head
        values = values + (head.template.double() + head.shape_dirs.double() @ step.avatar.shape.double()).numpy()
    neighbours = neighbours_of(step.avatar.mesh.topology.faces)
    bends = np.stack([values[sorted(near)].mean(0) - own for near, own in zip(neighbours, values, strict=True)])
    term = laplacian_term(with_offsets(step, offsets), of)
    assert term.item() == pytest.approx(16 * (bends**2).sum(1).mean(), rel=1e-4)
    term.backward()
    # By the product rule: each vertex leaves its own mean and takes part in its neighbours'.
    own = -bends
    for vertex, near in enumerate(neighbours):
        own[sorted(near)] += bends[vertex] / len(near)
    expected = torch.from_numpy(2 * 16 * own / len(values)).float()
    torch.testing.assert_close(
        step.avatar.mesh.offsets.grad, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().mean())
    )


def test_a_mesh_that_only_shifts_has_no_laplacian(step):
    shifted = torch.tensor([0.01, 0.02, -0.03]).expand_as(step.avatar.mesh.offsets)
    assert laplacian_term(with_offsets(step, shifted), "offsets").item() == pytest.approx(0, abs=1e-12)


# Delicate offsets


def delicate_vertices(head) -> set[int]:
    names = ("eyelids", "eyes", "eye_sockets", "lips", "inner_mouth", "teeth", "tongue")
    return {vertex for name in names for vertex in torch.nonzero(head.regions[name])[:, 0].tolist()}


def test_only_delicate_vertices_pay_for_offsets_each_alike(step, open_head):
    inside = sorted(delicate_vertices(open_head))
    offsets = torch.full_like(step.avatar.mesh.offsets, 5.0)
    offsets[inside] = torch.tensor([0.001, -0.002, 0.002])
    assert held_offsets(with_offsets(step, offsets).avatar, DELICATE).item() == pytest.approx(
        (4 * 0.003) ** 2, rel=1e-5
    )
    held_offsets(step.avatar, DELICATE).backward()
    expected = torch.zeros_like(offsets)
    expected[inside] = 2 * 16 * offsets[inside] / len(inside)
    torch.testing.assert_close(step.avatar.mesh.offsets.grad, expected)


def test_new_vertices_are_as_delicate_as_their_parents(toy_frames, open_head, tiny_config):
    step = drawn_step(toy_frames, open_head, tiny_config, subdivisions=1)
    inside, parents = delicate_vertices(open_head), step.avatar.mesh.topology.subdivisions[0].parents.tolist()
    weights = [float(vertex in inside) for vertex in range(len(open_head.template))]
    weights += [0.5 * ((a in inside) + (b in inside)) for a, b in parents]
    assert 0.5 in weights
    weights, offsets = np.array(weights), random_offsets(step)
    expected = 16 * ((offsets.double().numpy() ** 2).sum(1) * weights).sum() / weights.sum()
    assert held_offsets(with_offsets(step, offsets).avatar, DELICATE).item() == pytest.approx(expected, rel=1e-5)


# Weights prior


def with_log_weights(step: LossInputs, log_weights: torch.Tensor) -> LossInputs:
    return replace(step, corrections=replace(step.corrections, log_weights=log_weights))


def test_weights_that_are_the_heads_own_cost_nothing(step):
    none = torch.zeros_like(step.corrections.log_weights)
    assert weights_prior(with_log_weights(step, none)).item() == pytest.approx(0, abs=1e-8)
    # A factor on all joints is no change of weights.
    assert weights_prior(with_log_weights(step, none + 3.0)).item() == pytest.approx(0, abs=1e-8)


def test_skin_that_goes_to_one_joint_costs_its_distance_to_the_heads_weights(step, open_head):
    all_to_the_neck = torch.full_like(step.corrections.log_weights, -100.0)
    all_to_the_neck[:, 1] = 0
    expected = (open_head.weights.double() - torch.tensor([0.0, 1.0, 0, 0, 0]).double()).square().sum(1).mean()
    assert weights_prior(with_log_weights(step, all_to_the_neck)).item() == pytest.approx(float(expected), rel=1e-5)


def test_weights_prior_and_its_gradient_match_float64_and_finite_differences(step, open_head):
    generator = torch.Generator().manual_seed(2)
    change = torch.randn(open_head.weights.shape, generator=generator, dtype=torch.float64)
    # The head's weights, which are 1e-5 at least, times the exponential of the change, made to add up to 1.
    unnormalised = (open_head.weights.double() + 1e-5) * change.exp()
    away = unnormalised / unnormalised.sum(1, keepdim=True) - open_head.weights.double()
    free = change.clone().requires_grad_()
    term = weights_prior(with_log_weights(step, free))
    assert term.item() == pytest.approx(float(away.square().sum(1).mean()), rel=1e-5)
    term.backward()
    for _ in range(3):
        direction = torch.randn(change.shape, generator=generator, dtype=torch.float64)
        slope = slope_along(lambda values: weights_prior(with_log_weights(step, values)), change, direction, 1e-5)
        assert float((free.grad * direction).sum()) == pytest.approx(slope, rel=1e-6)


# Albedo smoothness


class LinearField(torch.nn.Module):
    """Materials whose albedo rises evenly: by `slopes` (one row per channel) over the unit cube."""

    def __init__(self, slopes: torch.Tensor) -> None:
        super().__init__()
        self.slopes = torch.nn.Parameter(slopes.clone())
        self.asked: list[int] = []

    def forward(self, position: torch.Tensor) -> Material:
        self.asked.append(len(position))
        half = torch.full_like(position[:, :1], 0.5)
        return Material(0.5 + (position - 0.5) @ self.slopes.T, half, half)


def on_a_slope(frames, head, config, slopes: torch.Tensor) -> LossInputs:
    def change(avatar) -> None:
        avatar.material = LinearField(slopes)

    return drawn_step(frames, head, config, change=change)


def robust(change: torch.Tensor) -> torch.Tensor:
    """Barron's general and adaptive robust loss (2019, equation 1) at alpha = 1 and c = 0.1."""
    return ((change / 0.1) ** 2 + 1) ** 0.5 - 1


SLOPES = torch.tensor([[20.0, 0, 0], [0, -8, 6], [0, 0, 0]])


@pytest.mark.parametrize("fraction", [1.0, 0.4])
def test_albedo_on_a_slope_costs_what_a_jitter_of_a_hundredth_changes(toy_frames, open_head, tiny_config, fraction):
    step = on_a_slope(toy_frames, open_head, tiny_config, SLOPES)
    n = len(step.picture.surface.canonical)
    # A channel changes by 0.01 times its slope's length times a standard normal number: Gauss-Hermite quadrature.
    nodes, shares = (torch.from_numpy(values) for values in np.polynomial.hermite_e.hermegauss(60))
    shares = shares / shares.sum()
    each = robust(POSITION_JITTER * SLOPES.double().norm(dim=1)[:, None] * nodes)
    expected = (each @ shares).mean()
    spread = (((each**2) @ shares - (each @ shares) ** 2).sum() / 9 / (fraction * n)).sqrt()
    term = albedo_smoothness(step, fraction).detach()
    assert float(spread) < 0.05 * float(expected)
    assert abs(float(term - expected)) < 4 * float(spread)
    assert step.avatar.material.asked[-1] == math.ceil(fraction * n)


def test_even_albedo_is_smooth(toy_frames, open_head, tiny_config):
    assert albedo_smoothness(on_a_slope(toy_frames, open_head, tiny_config, torch.zeros(3, 3)), 1.0) == 0


def test_albedo_smoothness_and_its_gradient_match_float64_and_finite_differences(toy_frames, open_head, tiny_config):
    step = on_a_slope(toy_frames, open_head, tiny_config, SLOPES)
    field = step.avatar.material
    jitter = normal_noise(step.seed, len(step.picture.surface.canonical)).double()
    expected = robust(0.01 * jitter @ SLOPES.double().T).mean()
    # In float64, and without the gradient that goes to what was drawn.
    surface = replace(step.picture.surface, canonical=step.picture.surface.canonical.double())
    material = replace(step.picture.material, albedo=step.picture.material.albedo.detach().double())
    step = replace(step, picture=replace(step.picture, surface=surface, material=material))
    field.double()
    term = albedo_smoothness(step, 1.0)
    assert term.item() == pytest.approx(float(expected), rel=1e-4)
    (gradient,) = torch.autograd.grad(term, field.slopes)

    def moved(slopes: torch.Tensor) -> torch.Tensor:
        field.slopes.copy_(slopes)
        return albedo_smoothness(step, 1.0)

    for direction in torch.eye(9, dtype=torch.float64).view(9, 3, 3):
        slope = slope_along(moved, SLOPES.double(), direction, 1e-5)
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-8)


class CliffField(torch.nn.Module):
    """Even albedo on the head, a steep one near the corner of the cube, where a list's padding looks it up."""

    def forward(self, position: torch.Tensor) -> Material:
        half = torch.full_like(position[:, :1], 0.5)
        return Material(100 * torch.relu(0.05 - position), half, half)


def test_padding_is_never_sampled(toy_frames, open_head, tiny_config):
    def change(avatar) -> None:
        avatar.material = CliffField()

    step = drawn_step(toy_frames, open_head, tiny_config, capacity=48 * 48, change=change)
    assert step.picture.surface.pixels.n_covered < 48 * 48
    assert albedo_smoothness(step, 1.0) == 0
    assert albedo_smoothness(step, 0.5) == 0
    everything = replace(step.picture.surface, pixels=replace(step.picture.surface.pixels, n_covered=None))
    assert albedo_smoothness(replace(step, picture=replace(step.picture, surface=everything)), 0.5) > 0.1


def whites(step, *, recorded: float, others: float, part: float):
    """The step's pictures, in which so much of the head is labelled as the white of an eye."""
    picture, target = step.picture, step.target
    label, image = torch.full_like(target.label, Label.SKIN), torch.full_like(target.image, int(others))
    n = int(part * len(picture.surface.pixels.index))
    chosen = picture.surface.pixels.index[:n]
    label.view(-1)[chosen] = EYE_WHITE
    image.view(-1, 3)[chosen] = int(recorded)
    return replace(target, label=label, image=image), chosen


def test_the_usual_level_is_that_at_which_the_whites_have_their_albedo(step):
    target, _ = whites(step, recorded=188, others=40, part=0.05)
    shaded = replace(step.picture.shaded, diffuse=torch.full_like(step.picture.shaded.diffuse, 0.3))
    shaded.diffuse[: int(0.05 * len(shaded.diffuse))] = 0.2  # eyes lie in the shade
    mean = 0.05 * 0.2 + 0.95 * 0.3
    found = usual_level(replace(step.picture, shaded=shaded), target)
    linear = float(linear_from_srgb(torch.tensor([188 / 255])))
    assert float(found) == pytest.approx(linear / EYE_WHITE_ALBEDO * mean / 0.2, rel=1e-3)


def test_dark_pixels_among_the_whites_hardly_count(step):
    target, chosen = whites(step, recorded=188, others=40, part=0.05)
    clean = usual_level(step.picture, target)
    target.image.view(-1, 3)[chosen[::2]] = 60  # lashes
    assert float(usual_level(step.picture, target)) == pytest.approx(float(clean), rel=0.02)


def test_where_no_white_is_seen_the_usual_level_is_one(step):
    target, _ = whites(step, recorded=188, others=40, part=0)
    assert float(usual_level(step.picture, target)) == 1
