"""What goes to other programs: how much light arrives, which parts are of what, whose names, which motion."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.strand import strand

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.baking.bake import bake_animation, bake_mesh, bake_rig, bake_textures
from flare_cli.config.loading import load_config
from flare_cli.data.meshes.tangents import corner_tangents
from flare_cli.data.meshes.textured_mesh import PbrTextures
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.arkit_motion import as_arkit
from flare_cli.head.hanging_hair import with_hanging_hair
from flare_cli.head.joints import JOINT_NAMES
from flare_cli.head.model import HeadModel
from flare_cli.render.light.sphere import even_directions

SIZE = 512
RAYS = 512


@pytest.fixture(scope="module")
def avatar(open_head: HeadModel) -> Avatar:
    """A new avatar that is drawn with shadows; its albedo is 0.4 all over."""
    config = load_config("cpu", ["material.log2_entries=10"])
    torch.manual_seed(0)
    made = Avatar(open_head, torch.zeros(open_head.n_shape), stage_spec(config, config.stage[0])).requires_grad_(False)
    assert made.visibility is not None
    return made


@pytest.fixture(scope="module")
def textures(avatar: Avatar) -> PbrTextures:
    return bake_textures(avatar, SIZE)


def seen(origin: np.ndarray, directions: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether rays leave a mesh (Moeller and Trumbore 1997)."""
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    t = origin - a
    q = np.cross(t, ab)
    across = (ac * q).sum(1)
    free = np.ones(len(directions), bool)
    for i, direction in enumerate(directions):
        p = ac @ np.cross(direction, np.eye(3))  # direction x ac
        inverse = 1 / np.where(abs(det := (ab * p).sum(1)) > 1e-14, det, np.inf)
        u = (t * p).sum(1) * inverse
        v = q @ direction * inverse
        far = across * inverse
        free[i] = not ((u >= 0) & (v >= 0) & (u + v <= 1) & (far > 0)).any()
    return free


def test_occlusion_is_what_rays_find(avatar: Avatar, textures: PbrTextures):
    assert textures.occlusion is not None
    assert textures.albedo.std() < 2  # an even albedo, so that bounces are known
    albedo = 0.4
    pose = torch.zeros(1, 5, 3)
    posed = avatar.posed(expression=torch.zeros(1, 51), pose=pose, translation=torch.zeros(1, 3))
    vertices, normals = posed.vertices[0].numpy(), posed.normals[0].numpy()
    topology = avatar.mesh.topology
    corners = vertices[topology.faces.numpy()].astype(float)
    outer = avatar.head.regions["skin"] & ~avatar.head.regions["inner_mouth"] & ~avatar.head.regions["eye_sockets"]
    chosen = np.random.default_rng(2).choice(np.flatnonzero((outer & ~avatar.head.regions["boundary"]).numpy()), 24)
    directions = even_directions(RAYS).numpy().astype(float)
    got, expected = [], []
    for vertex in chosen:
        cosine = (directions @ normals[vertex]).clip(0)
        free = seen(vertices[vertex] + 5e-4 * normals[vertex], directions[cosine > 0], corners)
        openness = (cosine[cosine > 0] * free).sum() / cosine.sum()
        expected.append(openness / (1 - albedo * (1 - openness)))
        face, corner = np.argwhere(topology.faces.numpy() == vertex)[0]
        u, v = topology.uv[topology.uv_faces[face, corner]].numpy()
        row, column = (np.clip(int(x * SIZE), 0, SIZE - 1) for x in (1 - v, u))
        got.append(textures.occlusion[row, column] / 255)
    # Nine harmonics, clamped to 0..1, lose some of what is seen. The avatar is drawn with them.
    assert np.corrcoef(got, expected)[0, 1] > 0.98
    assert np.abs(np.subtract(got, expected)).mean() < 0.1


def test_teeth_are_not_black_though_the_mouth_is_shut_at_rest(avatar: Avatar, textures: PbrTextures):
    assert textures.occlusion is not None
    topology, teeth = avatar.mesh.topology, avatar.head.regions["teeth"]
    corners = topology.uv[topology.uv_faces[teeth[topology.faces].all(1)]].flatten(0, 1).numpy()
    at = np.clip(np.stack([(1 - corners[:, 1]) * SIZE, corners[:, 0] * SIZE], 1).astype(int), 0, SIZE - 1)
    assert textures.occlusion[at[:, 0], at[:, 1]].max() > 40


def test_an_avatar_without_shadows_has_no_occlusion(open_head: HeadModel, tiny_config):
    plain = Avatar(open_head, torch.zeros(open_head.n_shape), stage_spec(tiny_config, tiny_config.stage[0]))
    if plain.visibility is None:
        assert bake_textures(plain, 32).occlusion is None


def test_every_face_is_of_one_part_with_the_reflectance_of_the_fit(avatar: Avatar, textures: PbrTextures):
    rig = bake_rig(avatar, "me", textures)
    assert [part.name for part in rig.parts] == ["skin", "eyes", "teeth", "mouth", "hair"]
    faces = np.concatenate([part.faces for part in rig.parts])
    assert sorted(faces.tolist()) == list(range(len(rig.mesh.faces)))
    f0 = avatar.spec.f0
    for part in rig.parts:
        assert part.ior is not None
        expected = f0.skin if part.name == "skin" else f0.other
        assert ((part.ior - 1) / (part.ior + 1)) ** 2 == pytest.approx(expected)
    eyes = rig.mesh.faces[rig.parts[1].faces]
    assert avatar.head.regions["eyes"].numpy()[eyes].all()


def test_hair_that_hangs_is_of_the_part_of_hair_and_no_morph_moves_it(
    open_head: HeadModel, textures: PbrTextures, tiny_config
):
    head, own = with_hanging_hair(open_head, strand(open_head)), len(open_head.faces)
    hairy = Avatar(head, torch.zeros(head.n_shape), stage_spec(tiny_config, tiny_config.stage[0])).requires_grad_(False)
    rig = bake_rig(hairy, "me", textures)
    assert set(range(own, own + 4)) <= set(rig.parts[-1].faces.tolist())
    first = len(open_head.template)
    assert max(np.abs(moved[first:]).max() for moved in rig.morphs.values()) < 1e-6


def test_profiles_name_morphs_and_bones(avatar: Avatar, textures: PbrTextures):
    plain, rpm = (bake_rig(avatar, "me", textures, profile) for profile in ("arkit", "rpm"))
    assert (tuple(plain.morphs), plain.skin.names) == (ARKIT_NAMES, JOINT_NAMES)
    assert tuple(rpm.morphs)[:52] == ARKIT_NAMES
    assert len(rpm.morphs) == 52 + 15 + 5
    assert rpm.skin.names[-5:] == ("Neck", "Head", "Jaw", "LeftEye", "RightEye")
    assert {"Hips", "Spine2", "LeftHandThumb1", "RightToeBase"} < set(rpm.skin.names)
    assert rpm.skin.parents[rpm.skin.names.index("Neck")] == rpm.skin.names.index("Spine2")
    assert (rpm.skin.weights[:, :-5] == 0).all()
    lifted = rpm.mesh.positions - plain.mesh.positions
    np.testing.assert_allclose(lifted, np.tile(lifted[0], (len(lifted), 1)), atol=1e-6)
    np.testing.assert_allclose(rpm.skin.positions[-5:] - plain.skin.positions, lifted[:5], atol=1e-6)
    np.testing.assert_allclose(rpm.morphs["mouthOpen"], plain.morphs["jawOpen"], atol=1e-7)
    assert np.abs(rpm.morphs["viseme_sil"]).max() < 1e-7


def test_unreal_and_vrm_say_what_their_programs_look_for(avatar: Avatar, textures: PbrTextures):
    unreal, vrm = (bake_rig(avatar, "me", textures, profile) for profile in ("unreal", "vrm"))
    assert (unreal.skin.names[:3], unreal.skin.parents[:3]) == (("root", "neck_01", "head"), (-1, 0, 1))
    np.testing.assert_array_equal(unreal.skin.positions[0], 0)
    assert next(iter(unreal.morphs)) == "EyeBlinkLeft"
    assert unreal.dense_morphs
    assert vrm.vrm is not None
    assert set(vrm.vrm.bones.values()) <= set(vrm.skin.names)
    for weights in (*vrm.vrm.expressions.values(), *vrm.vrm.custom_expressions.values()):
        assert set(weights) <= set(vrm.morphs)
    presets = "happy angry sad relaxed surprised aa ih ou ee oh blink blinkLeft blinkRight lookUp lookDown lookLeft"
    assert set(vrm.vrm.expressions) == {*presets.split(), "lookRight", "neutral"}
    assert len(vrm.vrm.custom_expressions) == 52
    assert vrm.vrm.eyes_from_head[2] > 0.03  # eyes are before the joint of the head


def test_a_light_mesh_shows_by_its_normals_what_the_full_one_has(
    open_head: HeadModel, textures: PbrTextures, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flare_cli.avatar.baking.detail.STRAY", 1.0)  # with teeth gone no triangle stays divided
    config = load_config("cpu", ["material.log2_entries=10"])
    head = replace(open_head, regions={**open_head.regions, "teeth": torch.zeros_like(open_head.regions["teeth"])})
    fine = Avatar(head, torch.zeros(head.n_shape), stage_spec(config, config.stage[0])).requires_grad_(False)
    fine.subdivide_mesh()
    with torch.no_grad():
        fine.mesh.offsets += 3e-4 * torch.randn(fine.mesh.offsets.shape, generator=torch.Generator().manual_seed(1))
    full, light = bake_mesh(fine), bake_rig(fine, "me", textures, detail="light")
    assert light.textures.normal is not None
    mesh, coarse = light.mesh, open_head.faces.numpy()
    np.testing.assert_allclose(mesh.positions, full.positions[: len(mesh.positions)], atol=2e-3)
    np.testing.assert_array_equal(mesh.faces, np.roll(coarse, -1, 1))
    assert sorted(np.concatenate([part.faces for part in light.parts]).tolist()) == list(range(len(coarse)))
    # In the middle of a face, the full mesh has a face between the middles of the edges.
    children = full.faces.reshape(len(coarse), 4, 3).swapaxes(0, 1)
    inner = next(block for block in children if (block >= len(mesh.positions)).all())
    truth = full.normals[inner].mean(1)
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    corners = corner_tangents(mesh)
    normal = mesh.normals[coarse].mean(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    tangent = corners[..., :3].mean(1)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    bitangent = corners[:, 0, 3:] * np.cross(normal, tangent)
    u, v = mesh.uv[mesh.uv_faces].mean(1).T
    texel = light.textures.normal[((1 - v) * SIZE).astype(int), (u * SIZE).astype(int)] / 127.5 - 1
    shown = texel[:, :1] * tangent + texel[:, 1:2] * bitangent + texel[:, 2:] * normal
    shown /= np.linalg.norm(shown, axis=1, keepdims=True)
    edges = mesh.uv[mesh.uv_faces]
    area = np.abs(np.linalg.det(edges[:, 1:] - edges[:, :1])) * SIZE**2 / 2
    large = area > 12  # texels: in smaller ones the nearest is not in the middle
    assert large.sum() > 1000
    off = np.degrees(np.arccos((shown * truth).sum(1).clip(-1, 1)))[large]
    flat = np.degrees(np.arccos((normal * truth).sum(1).clip(-1, 1)))[large]
    assert np.median(off) < 0.35 * np.median(flat)
    assert np.median(off) < 2


def test_a_clip_does_to_the_rig_what_the_performance_does_to_the_avatar(avatar: Avatar, textures: PbrTextures):
    rig = bake_rig(avatar, "me", textures)
    weights = torch.zeros(2, 52)
    weights[1, ARKIT_NAMES.index("jawOpen")] = 0.7
    weights[1, ARKIT_NAMES.index("mouthSmileLeft")] = 0.5
    arkit = avatar.head.arkit
    expression, pose = weights @ arkit.expression, torch.einsum("nk,kjc->njc", weights, arkit.pose)
    shift = torch.tensor([[0.0, 0, 0], [0.01, 0.02, 0.03]])
    clip = bake_animation("talk", rig, as_arkit(avatar.head, expression=expression, pose=pose), shift, 25)
    assert clip.rotations.shape == (2, 5, 4)
    np.testing.assert_allclose(clip.rotations, np.tile([0, 0, 0, 1.0], (2, 5, 1)), atol=1e-5)
    posed = avatar.posed(expression=expression, pose=pose, translation=shift).vertices.numpy()
    morphed = rig.mesh.positions + np.einsum("m,mvc->vc", clip.morph_weights[1], np.stack(list(rig.morphs.values())))
    error = np.linalg.norm(morphed + clip.translation[1] - posed[1], axis=1)
    assert error.max() < 0.003  # a morph goes straight where the jaw turns: a few millimetres at 0.7 of its way
    assert error.mean() < 2e-4
