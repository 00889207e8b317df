"""What needs no fit, what no fit can pass, and what each map is worth."""

from dataclasses import replace

import pytest
import torch

from flare_cli.avatar.maps import SurfaceMaps
from flare_cli.fit.frames import Frames, load_frames
from flare_cli.head.model import HeadModel
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.light.environment import prefilter
from flare_cli.render.light.samples import sample_environment
from flare_cli.show.honest_rows import OWN, TRUE_LIGHT, attributed, mean_skin_colour, nothing_done, perfect_maps
from flare_cli.show.predicted import AvatarPrediction, Prediction
from flare_cli.show.true_lights import TrueLights
from flare_cli.show.true_visibility import true_visibility
from flare_cli.show.truth_scores import score_against_truth, score_relit
from flare_cli.subject.folder import Subject
from flare_cli.subject.truth import Truth, frames_with_truth, load_truth


@pytest.fixture(scope="module")
def frames(subject_with_truth: Subject) -> Frames:
    track = subject_with_truth.track
    held_out = torch.isin(track.frames, torch.tensor(frames_with_truth(subject_with_truth)))
    return load_frames(subject_with_truth, track[held_out], 64)


@pytest.fixture(scope="module")
def truth(subject_with_truth: Subject) -> Truth:
    return load_truth(subject_with_truth, frames_with_truth(subject_with_truth), 64, 64)


@pytest.fixture(scope="module")
def lights(truth: Truth) -> TrueLights:
    return TrueLights.of(truth, prefilter)


def test_nothing_done_is_the_template_and_the_recorded_picture(open_head: HeadModel, frames: Frames, truth: Truth):
    nothing = nothing_done(open_head, frames, choose_rasterizer(), truth)
    scores = score_against_truth(truth, nothing)
    assert set(nothing.relit) == {"left", "above"}
    for relit in nothing.relit.values():
        torch.testing.assert_close(relit, frames.pictures.radiance())
    assert scores.picture.psnr > 35  # recorded in 8 bits; over black by a mask of 8 bits
    # The track is exact and the person has the head model's own shape: only paint, hair and smoothing tell them apart.
    assert scores.vertices_mm < 0.2
    assert 1 < scores.normal.degrees_face < 10
    assert scores.silhouette_iou > 0.95
    assert scores.roughness is None
    assert scores.light_matte is None


def test_the_mean_skin_colour_is_of_skin_alone(frames: Frames):
    pictures = frames.pictures
    skin = torch.isin(pictures.label, torch.tensor([1, 7, 8, 10, 14], dtype=torch.uint8))
    painted = torch.where(skin[..., None], torch.tensor([188, 0, 255], dtype=torch.uint8), 77)
    image = replace(pictures, image=painted, mask=torch.full_like(pictures.mask, 255))
    colour = mean_skin_colour(replace(frames, pictures=image))
    assert colour.tolist() == pytest.approx([0.5029, 0, 1], abs=1e-4)  # 188 of 255 is half the light


def test_true_maps_through_our_shading_have_nothing_but_the_shading_to_lose(truth: Truth, lights: TrueLights):
    numbers = score_against_truth(truth, perfect_maps(truth, lights)).numbers()
    for name in ("normal.degrees", "depth_mm", "roughness", "albedo.hue_degrees"):
        assert numbers[name] == pytest.approx(0, abs=1e-4)
    assert numbers["albedo.psnr"] == numbers["light_matte.psnr"] == 100
    for name in ("picture.psnr", "relit.left.psnr", "relit.above.psnr"):
        assert 20 < numbers[name] < 35  # no shadows, and the noise of four samples


def as_avatar(maps: SurfaceMaps, truth: Truth, lights: TrueLights) -> AvatarPrediction:
    return AvatarPrediction(
        prediction=Prediction.of_maps(maps), maps=maps, camera=truth.camera, light=lights.relit["left"]
    )


BROKEN = {
    "true normals": lambda m: replace(
        m, normal=torch.nn.functional.normalize(m.normal + 0.5, dim=-1) * (m.normal != 0)
    ),
    "true albedo": lambda m: replace(m, albedo=0.5 * m.albedo.flip(-1)),
    "true gloss": lambda m: replace(m, roughness=0.3 * m.roughness, specular=3 * m.specular),
    "true silhouette": lambda m: replace(m, coverage=m.coverage * (torch.arange(64) < 40)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_only_the_true_one_mends_the_map_that_is_wrong(name: str, truth: Truth, lights: TrueLights):
    """Maps that are true but for one: replacing it reaches the ceiling, replacing others changes nothing."""
    ceiling = score_against_truth(truth, perfect_maps(truth, lights)).relit
    rows = attributed(as_avatar(BROKEN[name](truth.maps), truth, lights), truth, lights)
    scores = {row: score_against_truth(truth, prediction).relit for row, prediction in rows.items() if prediction.relit}
    for light in ("left", "above"):
        before = scores[OWN][light].psnr
        assert scores[name][light].psnr == pytest.approx(ceiling[light].psnr, abs=1e-3)
        assert before < ceiling[light].psnr - 0.2
        for other in set(scores) - {OWN, name}:
            assert scores[other][light].psnr == pytest.approx(before, abs=1e-3)


def test_the_true_light_is_judged_by_the_recorded_picture(truth: Truth, lights: TrueLights):
    rows = attributed(as_avatar(truth.maps, truth, lights), truth, lights)
    ceiling = score_against_truth(truth, perfect_maps(truth, lights)).picture
    own, mended = (score_against_truth(truth, rows[row]).picture for row in (OWN, TRUE_LIGHT))
    assert mended.psnr == pytest.approx(ceiling.psnr, abs=1e-3)
    assert own.psnr_aligned < mended.psnr_aligned - 3


def test_the_true_silhouette_is_filled_from_the_nearest_pixel(truth: Truth, lights: TrueLights):
    """Maps that end at column 40, and are red in the column before: so is everything beyond."""
    seen = torch.arange(64) < 40
    last = torch.arange(64) == 39
    albedo = torch.where(last[:, None], torch.tensor([1.0, 0, 0]), truth.maps.albedo) * seen[:, None]
    maps = replace(
        truth.maps, coverage=truth.maps.coverage * seen, normal=truth.maps.normal * seen[:, None], albedo=albedo
    )
    matte = replace(maps, specular=0 * maps.specular)
    row = attributed(as_avatar(matte, truth, lights), truth, lights)["true silhouette"]
    torch.testing.assert_close(row.coverage, truth.maps.coverage)
    beyond = row.relit["above"][0, 20, 41:][truth.maps.coverage[0, 20, 41:] > 0]
    assert len(beyond)
    assert (beyond[:, 0] > 0).all()
    assert (beyond[:, 1:] == 0).all()


def test_a_lamp_on_the_subjects_left_lights_the_left_cheek_in_both_programs(truth: Truth, lights: TrueLights):
    """Skin that faces the subject's left is bright, traced and in our shading of the true maps, and the right dark."""
    world = truth.maps.normal @ truth.camera.camera_from_world[0, :, :3]
    left, right = truth.face & (world[..., 0] > 0.6), truth.face & (world[..., 0] < -0.6)
    for picture in (truth.relit["left"].radiance, perfect_maps(truth, lights).relit["left"]):
        assert picture[left].mean() > 3 * picture[right].mean()


def test_true_maps_with_true_visibility_are_closer_to_what_was_traced(truth: Truth):
    """Lamps above and to the side: chin, nose and brow cast shadows, which our own tracer found ray by ray."""
    summed = TrueLights.of(truth, lambda envmap: sample_environment(envmap, 256))
    visibility = true_visibility(truth, truth.mesh, choose_rasterizer())
    inside = truth.inside
    assert (visibility[inside] != 0).any(-1).all()
    shadowed = replace(truth, maps=replace(truth.maps, visibility=visibility))
    for name, relit in truth.relit.items():
        drawn = (perfect_maps(of, summed).relit[name] for of in (truth, shadowed))
        without, with_visibility = (score_relit(picture, relit.radiance, truth).psnr for picture in drawn)
        assert with_visibility > without + 2
