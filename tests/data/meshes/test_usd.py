"""USD files read back by Pixar's own library: the same surface, posed by its skinning as by ours."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from flare_cli.data.meshes.gltf import Animation, GltfAvatar, Part, Skin, strongest
from flare_cli.data.meshes.textured_mesh import PbrTextures, TexturedMesh
from flare_cli.data.meshes.usd import write_usd, write_usdz
from flare_cli.errors import FlareError
from flare_cli.head.skinning import blend_transforms, joint_transforms

pytest.importorskip("pxr")
from pxr import Gf, Sdf, Tf, Usd, UsdGeom, UsdShade, UsdSkel

FRAMES, JOINTS = 3, 4


@pytest.fixture
def source() -> GltfAvatar:
    """A ball on a chain of joints that forks, with three morphs, two parts, and a clip of turns, shifts and weights."""
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.1)
    positions, faces = np.asarray(ball.vertices), np.asarray(ball.faces)
    rng = np.random.default_rng(0)
    behind = positions[faces].mean(1)[:, 2] < 0
    raised = np.zeros_like(positions)
    raised[[3, 5, 8]] = rng.normal(0, 0.01, (3, 3))
    rotations = rng.normal(0, 1, (FRAMES, JOINTS, 4))
    return GltfAvatar(
        name="a ball",
        mesh=TexturedMesh(
            positions=positions,
            normals=positions / 0.1,
            faces=faces,
            uv=np.concatenate([positions[:, :2] * 4 + 0.5] * 2),
            uv_faces=faces + len(positions) * behind[:, None],
        ),
        textures=PbrTextures(
            albedo=rng.integers(0, 255, (8, 8, 3), dtype=np.uint8),
            roughness=rng.integers(0, 255, (8, 8), dtype=np.uint8),
            specular=rng.integers(0, 255, (8, 8), dtype=np.uint8),
            occlusion=rng.integers(0, 255, (8, 8), dtype=np.uint8),
        ),
        parts=(
            Part(name="skin", faces=np.flatnonzero(~behind), ior=1.4),
            Part(name="hair", faces=np.flatnonzero(behind), ior=1.55),
        ),
        skin=Skin(
            names=("root", "neck", "jaw", "eye"),
            parents=(-1, 0, 1, 1),
            positions=rng.normal(0, 0.1, (JOINTS, 3)),
            weights=rng.dirichlet(np.ones(JOINTS), len(positions)),
        ),
        morphs={"smile": raised, "still": np.zeros_like(positions), "swell": positions * 0.1},
        morph_normals=dict.fromkeys(("smile", "still", "swell"), raised),
        animations=(
            Animation(
                name="dance",
                fps=25.0,
                rotations=rotations / np.linalg.norm(rotations, axis=-1, keepdims=True),
                translation=rng.normal(0, 0.1, (FRAMES, 3)),
                morph_weights=rng.random((FRAMES, 3)),
            ),
        ),
    )


@pytest.fixture
def stage(tmp_path: Path, source: GltfAvatar) -> Usd.Stage:
    return Usd.Stage.Open(str(write_usd(tmp_path / "out" / "ball.usdc", source)[0]))


def mesh_of(stage: Usd.Stage) -> UsdGeom.Mesh:
    return UsdGeom.Mesh(stage.GetPrimAtPath("/a_ball/Head"))


def posed_by_usd(stage: Usd.Stage, frame: int) -> np.ndarray:
    """Blend shapes, then skinning, as UsdSkel does them."""
    root, cache = UsdSkel.Root(stage.GetPrimAtPath("/a_ball")), UsdSkel.Cache()
    cache.Populate(root, Usd.PrimDefaultPredicate)
    (binding,) = cache.ComputeSkelBindings(root, Usd.PrimDefaultPredicate)
    skeleton = cache.GetSkelQuery(binding.GetSkeleton())
    (skinning,) = binding.GetSkinningTargets()
    points = mesh_of(stage).GetPointsAttr().Get()
    shapes = UsdSkel.BlendShapeQuery(UsdSkel.BindingAPI(mesh_of(stage)))
    weights = skinning.GetBlendShapeMapper().Remap(skeleton.GetAnimQuery().ComputeBlendShapeWeights(frame))
    sub_weights, shape_indices, sub_indices = shapes.ComputeSubShapeWeights(weights)
    assert shapes.ComputeDeformedPoints(
        sub_weights,
        shape_indices,
        sub_indices,
        shapes.ComputeBlendShapePointIndices(),
        shapes.ComputeSubShapePointOffsets(),
        points,
    )
    transforms = skeleton.ComputeSkinningTransforms(frame)
    assert skinning.ComputeSkinnedPoints(transforms, points, frame)
    return np.array(points)


def posed_by_us(source: GltfAvatar, frame: int) -> np.ndarray:
    """Our own skinning, in double precision, of the weights that a file keeps."""
    clip, skin = source.animations[0], source.skin
    morphed = source.mesh.positions + np.einsum("m,mvc->vc", clip.morph_weights[frame], [*source.morphs.values()])
    pose = torch.from_numpy(Rotation.from_quat(clip.rotations[frame]).as_rotvec())[None]
    transforms = joint_transforms(torch.from_numpy(skin.positions)[None], pose, skin.parents)[:, :, :3]
    joints, kept = strongest(skin.weights)
    weights = np.zeros_like(skin.weights)
    np.put_along_axis(weights, joints.astype(int), kept, 1)
    moved = blend_transforms(torch.from_numpy(morphed)[None], transforms, torch.from_numpy(weights))
    return moved[0].numpy() + clip.translation[frame]


@pytest.mark.parametrize("frame", range(FRAMES))
def test_usd_poses_the_head_as_our_skinning_does(stage: Usd.Stage, source: GltfAvatar, frame: int):
    np.testing.assert_allclose(posed_by_usd(stage, frame), posed_by_us(source, frame), atol=1e-6)


def test_the_surface_is_the_same_with_its_texture_coordinates(stage: Usd.Stage, source: GltfAvatar):
    mesh = mesh_of(stage)
    np.testing.assert_allclose(np.array(mesh.GetPointsAttr().Get()), source.mesh.positions, atol=1e-7)
    np.testing.assert_array_equal(np.array(mesh.GetFaceVertexIndicesAttr().Get()), source.mesh.faces.reshape(-1))
    corners = np.array(UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").ComputeFlattened())
    np.testing.assert_allclose(corners, source.mesh.uv[source.mesh.uv_faces.reshape(-1)], atol=1e-6)
    assert mesh.GetSubdivisionSchemeAttr().Get() == "none"


def test_the_stage_is_in_metres_with_y_up_and_at_the_clips_rate(stage: Usd.Stage):
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert (stage.GetTimeCodesPerSecond(), stage.GetEndTimeCode()) == (25, FRAMES - 1)
    assert stage.GetDefaultPrim().GetName() == "a_ball"


def test_joints_and_blend_shapes_have_their_names_and_only_what_moves(stage: Usd.Stage, source: GltfAvatar):
    skeleton = UsdSkel.Skeleton(stage.GetPrimAtPath("/a_ball/Skeleton"))
    assert list(skeleton.GetJointsAttr().Get()) == ["root", "root/neck", "root/neck/jaw", "root/neck/eye"]
    at = [np.array(matrix)[3, :3] for matrix in skeleton.GetBindTransformsAttr().Get()]
    np.testing.assert_allclose(at, source.skin.positions, atol=1e-9)
    assert list(UsdSkel.BindingAPI(mesh_of(stage)).GetBlendShapesAttr().Get()) == ["smile", "still", "swell"]
    smile = UsdSkel.BlendShape(stage.GetPrimAtPath("/a_ball/Head/smile"))
    assert list(smile.GetPointIndicesAttr().Get()) == [3, 5, 8]


def test_each_part_has_a_material_with_its_reflectance(stage: Usd.Stage, source: GltfAvatar):
    for part, subset in zip(
        source.parts, UsdShade.MaterialBindingAPI(mesh_of(stage)).GetMaterialBindSubsets(), strict=True
    ):
        np.testing.assert_array_equal(subset.GetIndicesAttr().Get(), part.faces)
        material, _ = UsdShade.MaterialBindingAPI(subset).ComputeBoundMaterial()
        assert material.GetPath().name == part.name
        texture = UsdShade.Shader(stage.GetPrimAtPath(material.GetPath().AppendChild("specular")))
        expected = ((part.ior - 1) / (part.ior + 1)) ** 2
        assert texture.GetInput("scale").Get() == Gf.Vec4f(expected, expected, expected, 1)
        albedo = UsdShade.Shader(stage.GetPrimAtPath(material.GetPath().AppendChild("albedo")))
        assert albedo.GetInput("sourceColorSpace").Get() == "sRGB"
        assert Path(albedo.GetInput("file").Get().resolvedPath).is_file()


def complaints(stage: Usd.Stage) -> list[str]:
    """What Pixar's validators (`usdchecker`) say."""
    validation = pytest.importorskip("pxr.UsdValidation")
    registry = validation.ValidationRegistry()
    names = [meta.name for meta in registry.GetAllValidatorMetadata()]
    try:
        context = validation.ValidationContext(registry.GetOrLoadValidatorsByName(names))
    except Tf.ErrorException:
        pytest.skip("this wheel names validators that it does not hold")
    return [f"{error.GetName()}: {error.GetMessage()}" for error in context.Validate(stage)]


def test_pixars_validators_have_nothing_to_say(stage: Usd.Stage):
    assert complaints(stage) == []


def test_an_older_file_is_replaced(tmp_path: Path, source: GltfAvatar):
    for avatar in (source, replace(source, name="other")):
        file, *_ = write_usd(tmp_path / "ball.usdc", avatar)
    assert Usd.Stage.Open(str(file)).GetDefaultPrim().GetName() == "other"


def test_a_disk_without_room_is_one_sentence(tmp_path: Path, source: GltfAvatar):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(FlareError, match=r"ball\.usdc"):
            write_usd(tmp_path / "ball.usdc", source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "ball.usdc").exists()


def test_a_usdz_holds_all_in_one_file(tmp_path: Path, source: GltfAvatar):
    (file,) = write_usdz(tmp_path / "ball.usdz", source)
    assert list(tmp_path.iterdir()) == [file]
    with zipfile.ZipFile(file) as archive:
        packed = archive.namelist()
    assert packed[0] == "avatar.usdc"
    assert sorted(packed[1:]) == [f"avatar_{kind}.png" for kind in ("albedo", "occlusion", "roughness", "specular")]
    stage = Usd.Stage.Open(str(file))
    np.testing.assert_allclose(posed_by_usd(stage, 1), posed_by_us(source, 1), atol=1e-6)
    assert complaints(stage) == []


def test_an_avatar_without_morphs_and_clips_is_a_file_too(tmp_path: Path, source: GltfAvatar):
    bare = replace(source, morphs={}, morph_normals=None, animations=(), name="1 ü")
    stage = Usd.Stage.Open(str(write_usd(tmp_path / "bare.usdc", bare)[0]))
    assert complaints(stage) == []
    assert Sdf.Path.IsValidIdentifier(stage.GetDefaultPrim().GetName())


def test_joints_that_lie_otherwise_and_a_normal_texture(source: GltfAvatar, tmp_path: Path):
    turned = Rotation.random(JOINTS, rng=np.random.default_rng(5)).as_quat()
    normal = np.full((8, 8, 3), (128, 128, 255), np.uint8)
    rig = replace(
        source,
        skin=replace(source.skin, rotations=turned),
        textures=replace(source.textures, normal=normal),
        animations=(),
    )
    write_usd(tmp_path / "ball.usdc", rig)
    stage = Usd.Stage.Open(str(tmp_path / "ball.usdc"))
    skeleton = next(prim for prim in stage.Traverse() if prim.IsA(UsdSkel.Skeleton))
    query = UsdSkel.Cache().GetSkelQuery(UsdSkel.Skeleton(skeleton))
    at_rest = np.array(query.ComputeJointSkelTransforms(Usd.TimeCode.Default(), True))
    bound = np.array(query.GetJointWorldBindTransforms())
    np.testing.assert_allclose(at_rest, bound, atol=1e-6)
    # USD's vectors are rows: the matrix is the transpose of ours.
    np.testing.assert_allclose(bound[:, :3, :3].swapaxes(1, 2), Rotation.from_quat(turned).as_matrix(), atol=1e-6)
    np.testing.assert_allclose(bound[:, 3, :3], source.skin.positions, atol=1e-6)
    surfaces = [UsdShade.Shader(prim) for prim in stage.Traverse() if prim.GetName() == "Surface"]
    assert all(surface.GetInput("normal").HasConnectedSource() for surface in surfaces)
