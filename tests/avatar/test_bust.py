"""How an avatar ends below: closed like a bust, or faded out."""

import numpy as np
import pytest
import torch
from support.gnm_like import write_gnm_like
from support.strand import strand
from torch import nn

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.baking.bake import bake_rig, bake_textures
from flare_cli.avatar.baking.texture import largest_gap, rasterize_uv
from flare_cli.avatar.bust import FADE, ROUNDING, closed, presented
from flare_cli.avatar.completion import completion_of, values_at_vertices
from flare_cli.avatar.cut import distance_from_cut, find_cut
from flare_cli.avatar.material import Material
from flare_cli.avatar.picture import draw
from flare_cli.config.loading import load_config
from flare_cli.data.meshes.textured_mesh import PbrTextures
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.flame.surface import border_loops
from flare_cli.head.gnm.model_file import head_of_gnm, read_gnm
from flare_cli.head.hanging_hair import with_hanging_hair
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.camera import Cameras

SIZE = 128


def avatar_of(head: HeadModel, subdivisions: int = 0) -> Avatar:
    config = load_config("cpu", ["material.log2_entries=10"])
    torch.manual_seed(0)
    made = Avatar(head, torch.zeros(head.n_shape), stage_spec(config, config.stage[0]))
    for _ in range(subdivisions):
        made.subdivide_mesh()
    return made.requires_grad_(False)


@pytest.fixture(scope="module", params=["open", "divided", "flame", "gnm"])
def avatar(request: pytest.FixtureRequest, open_head: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    if request.param == "flame":
        return avatar_of(request.getfixturevalue("flame_head"))
    if request.param == "gnm":
        file = write_gnm_like(tmp_path_factory.mktemp("gnm") / "gnm_head.npz")
        return avatar_of(head_of_gnm(read_gnm(file), "gnm")[0])
    return avatar_of(open_head, 1 if request.param == "divided" else 0)


@pytest.fixture
def own(open_head: HeadModel) -> Avatar:
    return avatar_of(open_head)


def posed(avatar: Avatar, turn: float = 0.0) -> np.ndarray:
    pose = torch.zeros(1, len(avatar.head.parents), 3)
    pose[0, Joint.NECK, 1] = turn
    rest = torch.zeros(1, avatar.head.n_expression)
    return avatar.posed(expression=rest, pose=pose, translation=torch.zeros(1, 3)).vertices[0].double().numpy()


def area_vectors(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return 0.5 * np.cross(b - a, c - a)


def camera(background: float) -> dict:
    looking = Cameras(
        intrinsics=torch.tensor([[180.0, 180.0, 64.0, 64.0]]),
        camera_from_world=torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, -0.05], [0, 0, -1, 0.6]]]),
        height=SIZE,
        width=SIZE,
    )
    return {"projections": looking.projections(), "background": torch.full((1, SIZE, SIZE, 3), background)}


def test_a_closed_head_has_no_border_below_and_is_the_same_above(avatar: Avatar):
    whole, _ = closed(avatar, None)
    faces, own_faces = whole.mesh.topology.faces.numpy(), avatar.mesh.topology.faces.numpy()
    assert find_cut(avatar) is not None
    assert find_cut(whole) is None
    assert len(border_loops(faces)) == len(border_loops(own_faces)) - 1
    n = len(avatar.mesh.offsets)
    np.testing.assert_array_equal(faces[: len(own_faces)], own_faces)
    np.testing.assert_allclose(posed(whole)[:n], posed(avatar), atol=1e-6)


@pytest.mark.parametrize("turn", [0.0, 0.8])
def test_the_new_surface_spans_the_cut_however_the_neck_turns(avatar: Avatar, turn: float):
    """By Stokes' theorem its area vector is that of any surface with the same border: of a fan, say."""
    whole, _ = closed(avatar, None)
    cut, vertices = find_cut(avatar), posed(whole, turn)
    assert cut is not None
    added = area_vectors(vertices, whole.mesh.topology.faces.numpy()[len(avatar.mesh.topology.faces) :])
    border = vertices[cut.loop]
    expected = 0.5 * np.cross(np.roll(border, -1, 0), border).sum(0)
    np.testing.assert_allclose(added.sum(0), expected, atol=1e-6)
    assert expected[1] < -0.01  # square metres, downwards


def test_the_edge_is_round_and_goes_on_from_the_skin(avatar: Avatar):
    whole, _ = closed(avatar, None)
    vertices, faces = posed(whole), whole.mesh.topology.faces.numpy()
    cut, before = find_cut(avatar), len(avatar.mesh.topology.faces)
    assert cut is not None
    n = len(cut.loop)
    skin = area_vectors(vertices, faces[cut.face])
    first = area_vectors(vertices, faces[before : before + n])  # at the edges of the cut, in its order

    def angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        return np.degrees(np.arccos(cosine.clip(-1, 1)))

    assert np.median(angle(skin, first)) < 25  # a flat lid would stand at 90 or more
    ring = vertices[len(avatar.mesh.offsets) :][:n]
    assert 0 < np.linalg.norm(ring - vertices[cut.loop], axis=1).max() < ROUNDING


def test_distances_are_those_to_the_edges_of_the_cut(own: Avatar):
    cut, distance = find_cut(own), distance_from_cut(own)
    assert cut is not None
    assert distance is not None
    places = own.head.template.double().numpy()
    start, end = places[cut.loop], places[np.roll(cut.loop, -1)]
    chosen = np.random.default_rng(0).choice(len(places), 50)
    along = ((places[chosen][:, None] - start) * (end - start)).sum(-1) / ((end - start) ** 2).sum(-1)
    nearest = start + along.clip(0, 1)[..., None] * (end - start)
    expected = np.linalg.norm(places[chosen][:, None] - nearest, axis=-1).min(1)
    np.testing.assert_allclose(distance[chosen, 0], expected, atol=2e-4)
    assert distance[cut.loop].max() < 1e-6


def test_a_head_that_is_whole_below_stays_as_it_is(own: Avatar):
    """Its teeth still have borders, which nobody should close."""
    whole, _ = closed(own, None)
    assert border_loops(whole.mesh.topology.faces.numpy())
    again, completion = closed(whole, None)
    assert again is whole
    assert completion is None
    assert distance_from_cut(whole) is None


def test_what_fades_shows_the_background_and_nothing_of_the_head(own: Avatar):
    """Over white less over black is what doesn't cover."""
    shown = presented(own, fill=False, bust="fade")
    rest = torch.zeros(1, own.head.n_expression)
    still = shown.avatar.posed(expression=rest, pose=torch.zeros(1, 5, 3), translation=torch.zeros(1, 3))

    def picture(background: float) -> torch.Tensor:
        return draw(
            shown.avatar, still, light=shown.avatar.light, rasterizer=choose_rasterizer(),
            completion=shown.completion, opacity=shown.opacity, **camera(background),
        ).image[0]  # fmt: skip

    black, white = picture(0.0), picture(1.0)
    coverage = black[..., 3]
    np.testing.assert_allclose((white - black)[..., 0], 1 - coverage, atol=1e-5)
    column = coverage[:, SIZE // 2].numpy()
    face = np.flatnonzero(column == 1)
    below = column[face.max() + 1 :]
    assert (np.diff(below) <= 1e-6).all()  # down to nothing, without a step
    assert below[-1] == 0
    assert np.abs(np.diff(column[face.max() - 5 :])).max() < 0.35
    length = ((below > 0) & (below < 1)).sum() * 0.55 / 180  # metres: the breast is 0.55 away from the camera
    assert 0.6 * FADE < length < 1.3 * FADE


def test_open_leaves_all_as_it_was_fitted(own: Avatar):
    shown = presented(own, fill=False, bust="open")
    assert shown.avatar is own
    assert shown.completion is None
    assert shown.opacity is None


def test_the_underside_has_a_place_of_its_own_in_the_atlas(own: Avatar):
    """All texels of the head are as they were, and those of the underside were nobody's."""
    own.visibility = None  # nothing is traced
    whole, completion = closed(own, None)
    before, after = bake_textures(own, SIZE), bake_textures(whole, SIZE, completion)
    texels = rasterize_uv(own.head.uv, own.head.uv_faces, SIZE)[0].numpy()
    np.testing.assert_array_equal(before.albedo.reshape(-1, 3)[texels], after.albedo.reshape(-1, 3)[texels])
    topology, n = whole.mesh.topology, len(own.mesh.topology.uv_faces)
    flat = topology.uv_faces[n:][(topology.uv_faces[n:] >= len(own.head.uv)).all(1)]
    disc = rasterize_uv(topology.uv, flat, SIZE)[0].numpy()
    assert len(disc) > 50
    assert not set(disc) & set(texels)


def test_the_largest_gap_of_an_atlas_is_found():
    """A square with a hole of 0.6 x 0.6 around (0.6, 0.5): a disc of radius 0.3."""
    outer, inner = [(0, 0), (1, 0), (1, 1), (0, 1)], [(0.3, 0.2), (0.9, 0.2), (0.9, 0.8), (0.3, 0.8)]
    faces = [f for k in range(4) for f in ((k, (k + 1) % 4, 4 + k), ((k + 1) % 4, 4 + (k + 1) % 4, 4 + k))]
    centre, radius = largest_gap(torch.tensor([*outer, *inner], dtype=torch.float32), torch.tensor(faces))
    np.testing.assert_allclose(centre, [0.6, 0.5], atol=0.01)
    assert radius == pytest.approx(0.3, abs=0.01)


def test_a_light_rig_of_a_closed_head_is_closed_and_has_the_fine_normals(open_head: HeadModel):
    fine = avatar_of(open_head, 1)
    fine.mesh.offsets += 3e-4 * torch.randn(fine.mesh.offsets.shape, generator=torch.Generator().manual_seed(1))
    whole, _ = closed(fine, None)
    textures = PbrTextures(albedo=np.zeros((SIZE, SIZE, 3), np.uint8), roughness=np.zeros((SIZE, SIZE), np.uint8))
    light, opened = (bake_rig(a, "me", textures, detail="light") for a in (whole, fine))
    n = len(opened.mesh.positions)
    assert len(border_loops(light.mesh.faces)) == len(border_loops(opened.mesh.faces)) - 1
    np.testing.assert_array_equal(light.mesh.positions[:n], opened.mesh.positions)
    # Closing turns the normals of the cut alone.
    same = np.abs(light.mesh.normals[:n] - opened.mesh.normals).max(1) < 1e-6
    cut, fine_cut = find_cut(avatar_of(open_head)), find_cut(fine)
    assert cut is not None
    assert fine_cut is not None
    # Around the disc in the atlas, which textures are baked on by the fine mesh, both begin at the same place.
    np.testing.assert_array_equal(fine_cut.loop[::2], cut.loop)
    assert set(np.flatnonzero(~same)) <= set(cut.loop)
    assert sorted(np.concatenate([part.faces for part in light.parts]).tolist()) == list(range(len(light.mesh.faces)))
    assert len(light.skin.weights) == len(light.mesh.positions)
    assert max(np.abs(morph[n:]).max() for morph in light.morphs.values()) < 1e-3  # a face hardly moves the breast


class Banded(nn.Module):
    """Albedo by what a table says of the nearest vertex."""

    def __init__(self, places: torch.Tensor, albedo: torch.Tensor) -> None:
        super().__init__()
        self.places, self.albedo = places, albedo

    def forward(self, at: torch.Tensor) -> Material:
        nearest = torch.cdist(at, self.places).argmin(1)
        half = torch.full_like(at[:, :1], 0.5)
        return Material(albedo=self.albedo[nearest][:, None].expand(-1, 3), roughness=half, specular=half)


def test_a_coat_goes_on_around_the_neck_where_it_was_not_seen(own: Avatar):
    """Seen from the front: a dark coat, above it skin. Skin's colour does not run down into the coat."""
    distance = distance_from_cut(own)
    assert distance is not None
    distance = distance[:, 0]
    albedo = torch.where(distance < 0.035, 0.1, 0.6)
    own.material = Banded(own.material_positions(), albedo)
    template = own.head.template
    own.confidence = (template[:, 2:] > -0.02).float()
    completion = completion_of(own)
    assert completion is not None
    found = values_at_vertices(own, completion)[:, 0]
    back = (template[:, 2] < -0.05) & own.head.regions["skin"] & ~own.head.regions["scalp"]
    coat, skin = found[back & (distance < 0.025)], found[back & (distance > 0.045)]
    assert len(coat) > 20
    assert len(skin) > 5
    assert (coat.median() - 0.1).abs() < 0.1
    assert (skin.median() - 0.6).abs() < 0.1


def test_the_cut_is_that_of_the_head_without_hair(own: Avatar):
    hairy = avatar_of(with_hanging_hair(own.head, strand(own.head)))
    expected, cut = find_cut(own), find_cut(hairy)
    assert expected is not None
    assert cut is not None
    np.testing.assert_array_equal(cut.loop, expected.loop)
    np.testing.assert_array_equal(cut.face, expected.face)
