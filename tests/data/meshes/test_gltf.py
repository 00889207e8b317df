import dataclasses
import json
import struct

import cv2
import numpy as np
import pygltflib
import pytest
import trimesh
from scipy.spatial.transform import Rotation
from support.validator import issues

from flare_cli.data.meshes.gltf import Animation, GltfAvatar, Part, Skin, write_glb
from flare_cli.data.meshes.seen_light import SeenLight
from flare_cli.data.meshes.tangents import corner_tangents
from flare_cli.data.meshes.textured_mesh import PbrTextures, TexturedMesh
from flare_cli.data.meshes.vrm import Vrm

KINDS = {5120: np.int8, 5122: np.int16, 5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def avatar(animated=True, rich=True):
    """A sphere whose atlas cuts it in two, five vertices of which a morph moves, on a chain of two joints."""
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.1)
    positions, faces = np.asarray(ball.vertices), np.asarray(ball.faces)
    behind = positions[faces].mean(1)[:, 2] < 0
    uv_faces = faces + len(positions) * behind[:, None]
    uv = np.tile((positions[:, :2] / 0.25 + 0.5) * [0.5, 1], (2, 1)) + np.repeat([[0, 0], [0.5, 0]], len(positions), 0)
    rng = np.random.default_rng(0)
    weights = rng.dirichlet([1.0, 1.0], len(positions))
    raised = np.zeros_like(positions)
    raised[[3, 5, 8, 13, 21]] = rng.normal(0, 0.01, (5, 3))
    frames = 4
    turns = np.tile([0.0, 0.0, 0.0, 1.0], (frames, 2, 1))
    turns[2] *= -1  # the same rotation, written with the other sign
    return GltfAvatar(
        name="ball",
        mesh=TexturedMesh(positions=positions, normals=positions / 0.1, faces=faces, uv=uv, uv_faces=uv_faces),
        textures=PbrTextures(
            albedo=rng.integers(0, 255, (8, 16, 3), dtype=np.uint8),
            roughness=rng.integers(0, 255, (8, 16), dtype=np.uint8),
            specular=rng.integers(0, 255, (8, 16), dtype=np.uint8) if rich else None,
            occlusion=rng.integers(0, 255, (8, 16), dtype=np.uint8) if rich else None,
        ),
        parts=(Part(name="head", faces=np.arange(len(faces)), ior=1.4 if rich else None),),
        skin=Skin(
            names=("root", "neck"),
            parents=(-1, 0),
            positions=np.array([[0.0, -0.1, 0.0], [0.01, 0.02, 0.03]]),
            weights=weights,
        ),
        morphs={"smile": raised, "still": np.zeros_like(positions), "swell": positions * 0.1},
        morph_normals=dict.fromkeys(("smile", "still", "swell"), raised),
        animations=(
            Animation(
                name="dance",
                fps=25.0,
                rotations=turns,
                translation=rng.normal(0, 0.1, (frames, 3)),
                morph_weights=rng.random((frames, 3)),
            ),
        )
        if animated
        else (),
    )


@pytest.fixture
def source():
    return avatar()


@pytest.fixture
def file(tmp_path, source):
    write_glb(tmp_path / "out" / "ball.glb", source)
    return tmp_path / "out" / "ball.glb"


@pytest.fixture
def document(file):
    return pygltflib.GLTF2().load_binary(str(file))


def view(document, index, kind, count, width, offset=0):
    where = document.bufferViews[index]
    size = np.dtype(kind).itemsize * width
    stride, start = where.byteStride or size, (where.byteOffset or 0) + (offset or 0)
    rows = np.frombuffer(document.binary_blob(), np.uint8, count * stride, start).reshape(count, stride)
    return np.ascontiguousarray(rows[:, :size]).view(kind)


def read(document, index):
    """The numbers behind an accessor, by the letter of the glTF specification."""
    accessor = document.accessors[index]
    kind, width = KINDS[accessor.componentType], WIDTHS[accessor.type]
    if accessor.bufferView is None:
        values = np.zeros((accessor.count, width), kind)
    else:
        values = view(document, accessor.bufferView, kind, accessor.count, width, accessor.byteOffset).copy()
    if accessor.sparse is not None:
        indices, changed = accessor.sparse.indices, accessor.sparse.values
        rows = view(document, indices.bufferView, KINDS[indices.componentType], accessor.sparse.count, 1)[:, 0]
        assert (np.diff(rows.astype(int)) > 0).all()
        values[rows] = view(document, changed.bufferView, kind, accessor.sparse.count, width)
    if accessor.max:
        np.testing.assert_array_equal(values.min(0), np.float32(accessor.min))
        np.testing.assert_array_equal(values.max(0), np.float32(accessor.max))
    return values


def nearest_source(document, source):
    """For each vertex of the file, the vertex of the source it came from."""
    positions = read(document, document.meshes[0].primitives[0].attributes.POSITION)
    distance = np.linalg.norm(positions[:, None] - source.mesh.positions[None], axis=-1)
    assert distance.min(1).max() < 1e-7
    return distance.argmin(1)


def test_the_file_is_whole_and_alone(file):
    magic, version, length = struct.unpack("<4sII", file.read_bytes()[:12])
    assert (magic, version, length) == (b"glTF", 2, file.stat().st_size)
    assert [p.name for p in file.parent.iterdir()] == ["ball.glb"]


def test_every_accessor_and_view_is_in_bounds_and_aligned(document):
    for where in document.bufferViews:
        assert where.byteOffset % 4 == 0
        assert where.byteOffset + where.byteLength <= len(document.binary_blob())
    for index in range(len(document.accessors)):
        assert np.isfinite(read(document, index)).all()


def test_trimesh_reads_the_same_closed_surface(file, source):
    loaded = next(iter(trimesh.load(file).geometry.values()))
    welded = trimesh.Trimesh(loaded.vertices, loaded.faces)
    welded.merge_vertices(merge_tex=True, merge_norm=True)
    assert welded.is_watertight
    assert welded.is_winding_consistent
    assert welded.volume == pytest.approx(trimesh.Trimesh(source.mesh.positions, source.mesh.faces).volume, rel=1e-5)
    assert len(loaded.faces) == len(source.mesh.faces)
    assert loaded.visual.material.baseColorTexture.size == (16, 8)


def test_corners_keep_position_and_texture_coordinate(document, source):
    primitive = document.meshes[0].primitives[0]
    corners = read(document, primitive.indices)[:, 0].reshape(-1, 3)
    positions, uv = read(document, primitive.attributes.POSITION), read(document, primitive.attributes.TEXCOORD_0)
    np.testing.assert_allclose(positions[corners], source.mesh.positions[source.mesh.faces], atol=1e-7)
    expected = source.mesh.uv[source.mesh.uv_faces]
    np.testing.assert_allclose(uv[corners], np.stack([expected[..., 0], 1 - expected[..., 1]], -1), atol=1e-6)
    assert len(positions) < 3 * len(corners) / 2  # vertices are shared away from the seam


def test_weights_are_the_strongest_and_sum_to_one(document, source):
    attributes = document.meshes[0].primitives[0].attributes
    joints, weights = read(document, attributes.JOINTS_0), read(document, attributes.WEIGHTS_0)
    origin = nearest_source(document, source)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert (joints[weights == 0] == 0).all()
    for joint in (0, 1):
        got = np.where(joints == joint, weights, 0).sum(1)
        np.testing.assert_allclose(got, source.skin.weights[origin, joint], atol=1e-6)


def test_more_than_four_joints_keep_the_four_strongest(tmp_path, source):
    weights = np.tile([0.05, 0.3, 0.1, 0.25, 0.1, 0.2], (len(source.mesh.positions), 1))
    skin = Skin(names=tuple("abcdef"), parents=(-1, 0, 1, 2, 3, 4), positions=np.zeros((6, 3)), weights=weights)
    write_glb(tmp_path / "many.glb", dataclasses.replace(source, skin=skin, animations=()))
    document = pygltflib.GLTF2().load_binary(str(tmp_path / "many.glb"))
    attributes = document.meshes[0].primitives[0].attributes
    assert read(document, attributes.JOINTS_0)[0].tolist() == [1, 3, 5, 2]
    np.testing.assert_allclose(
        read(document, attributes.WEIGHTS_0)[0], np.array([0.3, 0.25, 0.2, 0.1]) / 0.85, rtol=1e-6
    )


def test_morphs_have_names_and_their_changes(document, source):
    mesh = document.meshes[0]
    assert mesh.extras["targetNames"] == ["smile", "still", "swell"]
    assert mesh.weights == [0, 0, 0]
    origin = nearest_source(document, source)
    for target, delta in zip(mesh.primitives[0].targets, source.morphs.values(), strict=True):
        index = target["POSITION"] if isinstance(target, dict) else target.POSITION
        np.testing.assert_allclose(read(document, index), delta[origin], atol=5.1e-5)


def test_sparse_morphs_keep_the_file_small(document):
    smile, still, swell = (
        document.accessors[t["POSITION"] if isinstance(t, dict) else t.POSITION]
        for t in document.meshes[0].primitives[0].targets
    )
    assert 5 <= smile.sparse.count <= 10  # five vertices, some twice along the seam
    assert smile.bufferView is None
    assert still.sparse is None
    assert still.bufferView is None
    assert swell.bufferView is not None  # dense, because every vertex moves


def test_the_skeleton_stands_where_the_joints_are(document, source):
    skin = document.skins[0]
    nodes = [document.nodes[index] for index in skin.joints]
    assert [node.name for node in nodes] == ["root", "neck"]
    assert skin.joints[1] in nodes[0].children
    np.testing.assert_allclose(np.add(nodes[0].translation, nodes[1].translation), source.skin.positions[1], atol=1e-7)
    inverse = read(document, skin.inverseBindMatrices).reshape(2, 4, 4).transpose(0, 2, 1)
    np.testing.assert_allclose(inverse[:, :3, 3], -source.skin.positions, atol=1e-7)
    np.testing.assert_allclose(inverse[:, :3, :3], np.tile(np.eye(3), (2, 1, 1)))


def test_the_animation_has_every_frame(document, source):
    motion, animation = document.animations[0], source.animations[0]
    tracks = {(c.target.node, c.target.path): motion.samplers[c.sampler] for c in motion.channels}
    times = {read(document, sampler.input)[-1, 0] for sampler in tracks.values()}
    assert times == {np.float32(3 / 25)}
    root = document.skins[0].joints[0]
    moved = read(document, tracks[root, "translation"].output)
    np.testing.assert_allclose(moved, source.skin.positions[0] + animation.translation, atol=1e-6)
    turned = read(document, tracks[root, "rotation"].output)
    assert ((turned[1:] * turned[:-1]).sum(1) > 0).all()  # no flip of sign between frames
    np.testing.assert_allclose(
        read(document, tracks[0, "weights"].output).reshape(-1, 3), animation.morph_weights, atol=1e-6
    )


def test_the_material_holds_roughness_in_green_no_metal_and_specular_in_alpha(document, source):
    def picture(texture):
        image = document.images[document.textures[texture].source]
        where = document.bufferViews[image.bufferView]
        data = document.binary_blob()[where.byteOffset : where.byteOffset + where.byteLength]
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)

    material = document.materials[0]
    surface = material.pbrMetallicRoughness
    albedo = picture(surface.baseColorTexture.index)
    rough = picture(surface.metallicRoughnessTexture.index)
    specular = picture(material.extensions["KHR_materials_specular"]["specularTexture"]["index"])
    assert (albedo[..., ::-1] == source.textures.albedo).all()
    assert (rough[..., 1] == source.textures.roughness).all()  # BGR: G is 1
    assert (rough[..., 0] == 0).all()
    assert (rough[..., 2] == source.textures.occlusion).all()
    assert material.occlusionTexture.index == surface.metallicRoughnessTexture.index
    halved = source.textures.specular.reshape(4, 2, 8, 2).mean((1, 3))
    assert np.abs(specular[..., 3] - halved).max() <= 0.5
    assert surface.metallicFactor == 0
    assert material.extensions["KHR_materials_ior"] == {"ior": 1.4}
    assert document.extensionsUsed == ["KHR_materials_specular", "KHR_materials_ior"]
    assert material.doubleSided


def world_matrices(document):
    """Where the nodes are, from their translations and rotations."""
    matrices = {}

    def place(index, above):
        node, own = document.nodes[index], np.eye(4)
        own[:3, :3] = Rotation.from_quat(node.rotation or [0, 0, 0, 1]).as_matrix()
        own[:3, 3] = node.translation or [0, 0, 0]
        matrices[index] = above @ own
        for child in node.children or []:
            place(child, matrices[index])

    for root in document.scenes[0].nodes:
        place(root, np.eye(4))
    return matrices


def test_joints_that_lie_otherwise_leave_the_mesh_where_it_is(tmp_path, source):
    turned = Rotation.random(2, rng=np.random.default_rng(3)).as_quat()
    skin = dataclasses.replace(source.skin, rotations=turned)
    write_glb(tmp_path / "turned.glb", dataclasses.replace(source, skin=skin, animations=(), scene="Armature"))
    document = pygltflib.GLTF2().load_binary(str(tmp_path / "turned.glb"))
    world = world_matrices(document)
    inverse = read(document, document.skins[0].inverseBindMatrices).reshape(2, 4, 4).transpose(0, 2, 1)
    for joint, (node, rotation) in enumerate(zip(document.skins[0].joints, turned, strict=True)):
        np.testing.assert_allclose(world[node] @ inverse[joint], np.eye(4), atol=1e-6)
        np.testing.assert_allclose(world[node][:3, :3], Rotation.from_quat(rotation).as_matrix(), atol=1e-6)
    assert document.scenes[0].name == "Armature"


def test_a_clip_may_leave_the_first_joints_alone(tmp_path, source):
    clip = dataclasses.replace(source.animations[0], rotations=source.animations[0].rotations[:, :1], first=1)
    write_glb(tmp_path / "late.glb", dataclasses.replace(source, animations=(clip,)))
    document = pygltflib.GLTF2().load_binary(str(tmp_path / "late.glb"))
    neck = document.skins[0].joints[1]
    channels = document.animations[0].channels
    assert {(c.target.node, c.target.path) for c in channels} == {
        (neck, "rotation"),
        (neck, "translation"),
        (0, "weights"),
    }
    shifted = next(c for c in channels if c.target.path == "translation")
    moved = read(document, document.animations[0].samplers[shifted.sampler].output)
    np.testing.assert_allclose(moved, np.subtract(*source.skin.positions[::-1]) + clip.translation, atol=1e-6)


def test_tangents_follow_u_and_say_on_which_side_v_grows():
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    mesh = TexturedMesh(
        positions=square,
        normals=np.tile([0.0, 0, 1], (4, 1)),
        faces=np.array([[0, 1, 2], [0, 2, 3]]),
        uv=square[:, :2],
        uv_faces=np.array([[0, 1, 2], [0, 2, 3]]),
    )
    np.testing.assert_allclose(corner_tangents(mesh), np.tile([1.0, 0, 0, 1], (2, 3, 1)), atol=1e-12)
    mirrored = dataclasses.replace(mesh, uv=square[:, :2] * [-1, 1])
    np.testing.assert_allclose(corner_tangents(mirrored), np.tile([-1.0, 0, 0, -1], (2, 3, 1)), atol=1e-12)
    nowhere = dataclasses.replace(mesh, uv=np.zeros((4, 2)))
    lengths = np.linalg.norm(corner_tangents(nowhere)[..., :3], axis=-1)
    np.testing.assert_allclose(lengths, 1)


def test_a_normal_texture_comes_with_tangents(tmp_path, source):
    normal = np.full((8, 16, 3), (128, 128, 255), np.uint8)
    textures = dataclasses.replace(source.textures, normal=normal)
    write_glb(tmp_path / "normal.glb", dataclasses.replace(source, textures=textures))
    document = pygltflib.GLTF2().load_binary(str(tmp_path / "normal.glb"))
    assert document.images[document.textures[document.materials[0].normalTexture.index].source].name == "normal"
    primitive = document.meshes[0].primitives[0]
    tangents, normals = (read(document, getattr(primitive.attributes, name)) for name in ("TANGENT", "NORMAL"))
    np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose((tangents[:, :3] * normals).sum(1), 0, atol=1e-6)
    assert set(tangents[:, 3]) <= {-1.0, 1.0}


def test_dense_morphs_have_every_vertex(tmp_path, source):
    write_glb(tmp_path / "dense.glb", dataclasses.replace(source, dense_morphs=True))
    document = pygltflib.GLTF2().load_binary(str(tmp_path / "dense.glb"))
    assert all(accessor.sparse is None and accessor.bufferView is not None for accessor in document.accessors)


@pytest.mark.parametrize("dense", [False, True])
def test_quantised_morphs_are_the_same_to_a_fiftieth_of_a_millimetre(dense, tmp_path, source):
    small = dataclasses.replace(source, quantised_morphs=True, dense_morphs=dense)
    write_glb(tmp_path / "small.glb", small)
    document = pygltflib.GLTF2().load_binary(str(tmp_path / "small.glb"))
    assert document.extensionsRequired == ["KHR_mesh_quantization"]
    origin = nearest_source(document, source)
    for target, name in zip(document.meshes[0].primitives[0].targets, source.morphs, strict=True):
        for kind, changes, step in (("POSITION", source.morphs, 32767), ("NORMAL", source.morph_normals, 127)):
            index = target[kind] if isinstance(target, dict) else getattr(target, kind)
            accessor = document.accessors[index]
            assert accessor.normalized
            if accessor.bufferView is not None:
                assert document.bufferViews[accessor.bufferView].byteStride in (4, 8)
            np.testing.assert_allclose(read(document, index) / step, changes[name][origin], atol=0.51 / step)


def seen_by(source):
    """Some light, seen by every vertex of the mesh."""
    ones = np.ones((len(source.mesh.positions), 9))
    return SeenLight(shapes=(("smile", 1.0),), at_rest=ones, changes=-ones[None])


def test_vertices_that_see_light_are_numbered(tmp_path, source):
    write_glb(tmp_path / "seen.glb", dataclasses.replace(source, seen=seen_by(source)))
    document = pygltflib.GLTF2().load_binary(str(tmp_path / "seen.glb"))
    numbers = read(document, document.meshes[0].primitives[0].attributes._VERTEX)[:, 0]
    np.testing.assert_array_equal(numbers, nearest_source(document, source))
    extras = document.meshes[0].extras
    assert extras["targetNames"] == list(source.morphs)
    assert extras["flare_seen"] == json.loads(json.dumps(seen_by(source).extras()))


def test_a_vrm_names_bones_and_faces_by_index(tmp_path, source):
    vrm = Vrm(
        bones={"hips": "root", "head": "neck"},
        expressions={"happy": {"smile": 0.5, "swell": 0.25}, "neutral": {}},
        custom_expressions={"Swell": {"swell": 1.0}},
        eyes_from_head=(0.0, 0.06, 0.08),
    )
    write_glb(tmp_path / "ball.vrm", dataclasses.replace(source, vrm=vrm))
    document = pygltflib.GLTF2().load_binary(str(tmp_path / "ball.vrm"))
    added = document.extensions["VRMC_vrm"]
    assert document.extensionsUsed[-1] == "VRMC_vrm"
    assert not document.extensionsRequired
    nodes = {name: document.nodes[bone["node"]].name for name, bone in added["humanoid"]["humanBones"].items()}
    assert nodes == vrm.bones
    happy = added["expressions"]["preset"]["happy"]["morphTargetBinds"]
    assert happy == [{"node": 0, "index": 0, "weight": 0.5}, {"node": 0, "index": 2, "weight": 0.25}]
    assert added["expressions"]["preset"]["neutral"] == {}
    assert added["meta"]["avatarPermission"] == "onlyAuthor"


def test_what_is_absent_leaves_no_trace(tmp_path):
    write_glb(tmp_path / "plain.glb", avatar(animated=False, rich=False))
    data = (tmp_path / "plain.glb").read_bytes()
    header = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    assert not header.get("animations")
    assert not header.get("extensionsUsed")
    assert len(header["images"]) == 2
    assert "occlusionTexture" not in header["materials"][0]


def test_parts_share_textures_and_have_only_their_own_vertices(tmp_path, source):
    above = source.mesh.positions[source.mesh.faces].mean(1)[:, 1] > 0.03
    parts = (
        Part(name="skin", faces=np.flatnonzero(~above), ior=1.4),
        Part(name="hair", faces=np.flatnonzero(above), ior=1.55),
    )
    write_glb(tmp_path / "parts.glb", dataclasses.replace(source, parts=parts))
    document = pygltflib.GLTF2().load_binary(str(tmp_path / "parts.glb"))
    assert [material.name for material in document.materials] == ["skin", "hair"]
    assert len(document.images) == 3
    for material, (primitive, part) in enumerate(zip(document.meshes[0].primitives, parts, strict=True)):
        assert primitive.material == material
        corners = read(document, primitive.indices)[:, 0].reshape(-1, 3)
        positions = read(document, primitive.attributes.POSITION)
        assert sorted(set(corners.ravel())) == list(range(len(positions)))
        expected = source.mesh.positions[source.mesh.faces[part.faces]]
        np.testing.assert_allclose(positions[corners], expected, atol=1e-7)
        assert len(primitive.targets) == 3


@pytest.mark.parametrize(("kind", "alpha_kind"), [("png", "png"), ("jpeg", "png"), ("webp", "webp")])
def test_textures_are_of_the_kind_that_was_asked_for(kind, alpha_kind, tmp_path, source):
    smooth = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    colour = np.stack([smooth, smooth.T, 255 - smooth], -1)
    textures = PbrTextures(albedo=colour, roughness=smooth, specular=smooth.T.copy(), occlusion=255 - smooth)
    write_glb(tmp_path / "x.glb", dataclasses.replace(source, textures=textures), kind)
    document = pygltflib.GLTF2().load_binary(str(tmp_path / "x.glb"))
    assert [image.mimeType for image in document.images] == [f"image/{kind}"] * 2 + [f"image/{alpha_kind}"]
    expected = [colour, np.dstack([255 - smooth, smooth, 0 * smooth]), smooth.T.reshape(32, 2, 32, 2).mean((1, 3))]
    for texture, right in zip(document.textures, expected, strict=True):
        source_index = texture.extensions["EXT_texture_webp"]["source"] if kind == "webp" else texture.source
        where = document.bufferViews[document.images[source_index].bufferView]
        data = document.binary_blob()[where.byteOffset : where.byteOffset + where.byteLength]
        got = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        got = got[..., 3] if right.ndim == 2 else got[..., 2::-1]
        assert np.abs(got.astype(int) - right).mean() < (0.5 if kind == "png" else 3)
    assert document.extensionsRequired == (["EXT_texture_webp"] if kind == "webp" else [])


def test_khronos_validator_has_nothing_to_say(tmp_path, source):
    for kind in ("png", "jpeg", "webp"):
        write_glb(tmp_path / f"{kind}.glb", source, kind)
    for dense in (False, True):
        small = dataclasses.replace(source, quantised_morphs=True, seen=seen_by(source), dense_morphs=dense)
        write_glb(tmp_path / f"small_{dense}.glb", small)
    assert issues(sorted(tmp_path.glob("*.glb"))) == [[]] * 5
