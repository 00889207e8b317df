"""The scorer can't be fooled: truth is perfect, and every broken convention is noticed."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from flare_cli.render.colour import linear_from_srgb, srgb_from_linear
from flare_cli.render.light.environment import prefilter
from flare_cli.show.honest_rows import perfect_maps
from flare_cli.show.predicted import Mesh, Prediction, View, predicted_by_truth
from flare_cli.show.true_lights import TrueLights
from flare_cli.show.truth_scores import ball_normals, light_on_balls, score_against_truth
from flare_cli.subject.folder import Subject
from flare_cli.subject.truth import Truth, frames_with_truth, load_truth

PER_FRAME = ("coverage", "colour", "albedo", "roughness", "normal", "depth")


@pytest.fixture(scope="module")
def truth(subject_with_truth: Subject) -> Truth:
    return load_truth(subject_with_truth, frames_with_truth(subject_with_truth), 64, 64)


Change = Callable[[torch.Tensor], torch.Tensor]


def is_error(name: str) -> bool:
    return name.endswith(("degrees", "degrees_face", "_mm")) or name == "roughness"


def perfect_value(name: str) -> float:
    return 0.0 if is_error(name) else 100.0 if "psnr" in name else 1.0


def test_truth_as_a_prediction_is_perfect_in_every_number(truth: Truth):
    numbers = score_against_truth(truth, predicted_by_truth(truth)).numbers()
    assert len(numbers) == 30
    for name, value in numbers.items():
        assert value == pytest.approx(perfect_value(name), abs=1e-3), name


def with_light(prediction: Prediction, truth: Truth, change: Change) -> Prediction:
    """As if every map of light were changed: the true surface under it, and the light itself."""
    wrong = replace(
        truth,
        envmap=change(truth.envmap),
        relit={name: replace(relit, envmap=change(relit.envmap)) for name, relit in truth.relit.items()},
    )
    return replace(prediction, relit=perfect_maps(wrong, TrueLights.of(wrong, prefilter)).relit, light=wrong.light)


def changed(prediction: Prediction, names: tuple[str, ...], change: Change) -> Prediction:
    """The same change to some buffers, relit pictures (with `colour`) and views (with `views`)."""
    own = {name: change(getattr(prediction, name)) for name in names if name != "views"}
    if "colour" in names:
        own["relit"] = {name: change(relit) for name, relit in prediction.relit.items()}
    if "views" in names:
        own["views"] = {
            name: View(colour=change(view.colour), coverage=change(view.coverage))
            for name, view in prediction.views.items()
        }
    return replace(prediction, **own)


def about_y(degrees: float) -> torch.Tensor:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])


def mirrored(envmap: torch.Tensor) -> torch.Tensor:
    return envmap.flip(1)


def quarter_turned(envmap: torch.Tensor) -> torch.Tensor:
    return envmap.roll(envmap.shape[1] // 4, 1)


def times(*signs: float) -> Change:
    return lambda values: values * torch.tensor(signs)


# What is broken, how, and by how much which numbers get worse at least: dB, degrees, millimetres or parts.
BROKEN: dict[str, tuple[Callable[[Prediction, Truth], Prediction], dict[str, float]]] = {
    "normals flipped left to right": (
        lambda p, t: changed(p, ("normal",), times(-1.0, 1.0, 1.0)),
        {"normal.degrees": 20, "normal.degrees_face": 20},
    ),
    "normals pointing away": (
        lambda p, t: changed(p, ("normal",), times(1.0, 1.0, -1.0)),
        {"normal.degrees": 90, "normal.degrees_face": 90},
    ),
    "normals upside down": (lambda p, t: changed(p, ("normal",), times(1.0, -1.0, 1.0)), {"normal.degrees": 20}),
    "sRGB applied twice": (
        lambda p, t: changed(p, ("colour", "albedo"), srgb_from_linear),
        {"picture.psnr": 80, "picture.ssim": 0.01, "albedo.psnr": 80, "albedo.psnr_aligned": 60, "relit.left.psnr": 80},
    ),
    "linear instead of sRGB": (
        lambda p, t: changed(p, ("colour", "albedo"), linear_from_srgb),
        {"picture.psnr": 80, "picture.ssim": 0.01, "albedo.psnr": 80, "albedo.psnr_aligned": 60, "relit.left.psnr": 80},
    ),
    "channels swapped": (
        lambda p, t: changed(p, ("colour", "albedo", "views"), lambda values: values.flip(-1)),
        {
            "picture.psnr": 80,
            "albedo.psnr": 80,
            "albedo.psnr_aligned": 60,
            "relit.left.psnr": 80,
            "views.30_0.psnr": 70,
        },
    ),
    "albedo green": (
        lambda p, t: changed(p, ("albedo",), lambda values: values.roll(1, -1)),
        {"albedo.psnr": 80, "albedo.hue_degrees": 0.5},
    ),
    "roughness squared": (lambda p, t: changed(p, ("roughness",), torch.square), {"roughness": 0.1}),
    "HDR mirrored": (
        lambda p, t: with_light(p, t, mirrored),
        {"light_matte.psnr_aligned": 80, "light_mirror.psnr_aligned": 80, "relit.left.psnr_aligned": 85},
    ),
    "HDR turned by 90 degrees": (
        lambda p, t: with_light(p, t, quarter_turned),
        {"light_matte.psnr_aligned": 75, "light_mirror.psnr_aligned": 80, "relit.left.psnr_aligned": 85},
    ),
    "frames shifted by one": (
        lambda p, t: changed(p, PER_FRAME, lambda values: values.roll(1, 0)),
        {"picture.psnr": 70, "normal.degrees": 5, "depth_mm": 1, "silhouette_iou": 0.01, "relit.left.psnr": 70},
    ),
    "pictures shifted by a pixel": (
        lambda p, t: changed(p, (*PER_FRAME, "views"), lambda values: values.roll(1, 2)),
        {"picture.psnr": 70, "normal.degrees": 2, "depth_mm": 0.5, "silhouette_iou": 0.01, "views.30_0.psnr": 70},
    ),
    "pictures shifted by two pixels": (
        lambda p, t: changed(p, (*PER_FRAME, "views"), lambda values: values.roll(2, 1)),
        {"picture.psnr": 75, "normal.degrees": 4, "depth_mm": 1, "silhouette_iou": 0.02, "views.30_0.psnr": 75},
    ),
    "views exchanged": (
        lambda p, t: replace(p, views=dict(zip(p.views, reversed(p.views.values()), strict=True))),
        {"views.30_0.psnr": 70, "views.30_0.silhouette_iou": 0.05},
    ),
}


@pytest.mark.parametrize("convention", BROKEN)
def test_a_broken_convention_is_noticed(convention: str, truth: Truth):
    break_it, expected = BROKEN[convention]
    numbers = score_against_truth(truth, break_it(predicted_by_truth(truth), truth)).numbers()
    for name, margin in expected.items():
        assert abs(numbers[name] - perfect_value(name)) >= margin, name


@pytest.mark.parametrize("change", [mirrored, quarter_turned])
def test_maps_under_a_wrong_light_lose_to_the_same_maps_under_the_right_one(change: Change, truth: Truth):
    right = score_against_truth(truth, perfect_maps(truth, TrueLights.of(truth, prefilter))).numbers()
    wrong = score_against_truth(truth, with_light(predicted_by_truth(truth), truth, change)).numbers()
    for name in ("relit.left.psnr_aligned", "relit.above.psnr_aligned"):
        assert wrong[name] < right[name] - 1.5


def test_one_factor_per_channel_is_forgiven_only_where_the_name_says_so(truth: Truth):
    tint = torch.tensor([0.7, 0.8, 0.9])
    tinted = changed(predicted_by_truth(truth), ("colour", "albedo"), lambda values: values * tint)
    numbers = score_against_truth(truth, tinted).numbers()
    for name in ("picture", "relit.left", "relit.above", "albedo"):
        assert numbers[f"{name}.psnr"] < 30
        assert numbers[f"{name}.psnr_aligned"] > 60
    assert numbers["albedo.hue_degrees"] < 0.1


def test_a_brighter_light_is_forgiven_only_aligned(truth: Truth):
    class Brighter:
        def diffuse(self, normal):
            return 2 * truth.light.diffuse(normal)

        def specular(self, direction, roughness):
            return 2 * truth.light.specular(direction, roughness)

    scores = score_against_truth(truth, replace(predicted_by_truth(truth), light=Brighter()))
    for ball in (scores.light_matte, scores.light_mirror):
        assert ball.psnr < 20
        assert ball.psnr_aligned > 60


def test_showing_only_what_is_easy_costs_cover_and_outline(truth: Truth):
    """Surfaces are compared where both show the head: what is left out has to show elsewhere."""
    half = truth.inside.float()
    half[:, :, 32:] = 0
    easy = replace(predicted_by_truth(truth), coverage=half, normal=truth.maps.normal * half[..., None])
    numbers = score_against_truth(truth, easy).numbers()
    assert numbers["albedo.psnr"] == 100
    assert numbers["normal.degrees"] < 1e-3
    assert numbers["normal.covered"] == pytest.approx(numbers["covered"], abs=0.01)
    assert 0.3 < numbers["covered"] < 0.7
    assert numbers["silhouette_iou"] == pytest.approx(numbers["covered"])


def test_clothes_do_not_count(truth: Truth):
    clothes = ~truth.picture.counted()
    assert clothes.any()
    colour = torch.where(clothes[..., None], 9.0, truth.picture.radiance)
    wrong = replace(predicted_by_truth(truth), colour=colour, coverage=truth.maps.coverage * ~clothes)
    numbers = score_against_truth(truth, wrong).numbers()
    for name in ("picture.psnr", "picture.psnr_all_pixels", "picture.ssim", "silhouette_iou"):
        assert numbers[name] == pytest.approx(perfect_value(name), abs=1e-6)


def test_what_is_not_predicted_has_no_number(truth: Truth):
    numbers = score_against_truth(truth, Prediction(coverage=truth.maps.coverage)).numbers()
    assert numbers == {"covered": 1.0, "silhouette_iou": 1.0}


def test_a_mesh_of_another_topology_is_scored_by_its_surface(truth: Truth):
    """The true mesh with its vertices renumbered, 1.1 times as large and as far, and turned: the same surface."""
    true = truth.mesh
    order = torch.randperm(true.vertices.shape[1], generator=torch.Generator().manual_seed(0))
    place = torch.argsort(order)
    middle = true.vertices.mean(1, keepdim=True)
    moved = 1.1 * ((true.vertices[:, order] - middle) @ about_y(2).T + middle)
    faces = place[true.faces.long()].int()
    mesh = Mesh(vertices=moved, faces=faces, n_head=len(order), head_faces=faces)
    prediction = replace(predicted_by_truth(truth), mesh=mesh, depth=1.1 * truth.maps.depth)
    assert score_against_truth(truth, prediction).vertices_mm < 0.05
    bumpy = mesh.vertices + 0.002 * torch.randn(mesh.vertices.shape, generator=torch.Generator().manual_seed(1))
    assert 0.3 < score_against_truth(truth, replace(prediction, mesh=replace(mesh, vertices=bumpy))).vertices_mm < 2


def test_balls_show_the_light_from_where_it_comes(truth: Truth):
    """A lamp on the subject's left stands on the right of both balls, which face the camera."""
    left = replace(truth, envmap=truth.relit["left"].envmap).light
    matte, mirror = light_on_balls(left, torch.device("cpu"))
    normal, disc = ball_normals(torch.device("cpu"))
    assert len(normal) == int(disc.sum())
    right = normal[:, 0] > 0
    assert (normal[:, 2] <= 0).all()  # towards the camera
    for ball in (matte, mirror):
        assert ball[right].mean() > 1.5 * ball[~right].mean()
