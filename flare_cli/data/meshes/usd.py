"""A rigged, expressive, textured head in USD: UsdSkel and UsdPreviewSurface, by the package usd-core (extra `usd`)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float, Integer

from flare_cli.data.atomic import replace_whole
from flare_cli.data.meshes.gltf import Animation, GltfAvatar, Part, continuous, strongest, unit_normals
from flare_cli.data.meshes.textured_mesh import write_textures
from flare_cli.errors import AvatarError, FileError

# Changes of a blend shape below these are left out, as in a GLB: metres, and of normals a tenth of a degree.
DELTA_FLOOR, NORMAL_FLOOR = 1e-6, 2e-3
NO_ROOM = "free some space, or choose a folder that is yours"
USUAL_IOR = 1.5  # UsdPreviewSurface's own


def usd_package() -> Any:
    """Pixar's library. Raises `AvatarError` where it is missing."""
    try:
        import pxr  # pyright: ignore[reportMissingImports] - an extra

        for module in ("Gf", "Sdf", "Tf", "Usd", "UsdGeom", "UsdShade", "UsdSkel", "UsdUtils", "Vt"):
            import_module(f"pxr.{module}")
    except ImportError as error:
        raise AvatarError("USD files need the package usd-core", hint="pip install flare-cli[usd]") from error
    return pxr


def write_usd(path: Path, avatar: GltfAvatar) -> list[Path]:
    """Write `path` (.usdc) and its textures (named after it) and return them all, the .usdc first."""
    pxr, pictures = usd_package(), write_textures(path.parent, path.stem, avatar.textures)
    with replace_whole(path, keep_suffix=True) as partial:
        try:
            _Stage(partial, avatar).write({kind: file.name for kind, file in pictures.items()})
        except pxr.Tf.ErrorException as error:
            raise FileError(f"{path} could not be written: {error}", hint=NO_ROOM) from error
    return [path, *pictures.values()]


def write_usdz(path: Path, avatar: GltfAvatar) -> list[Path]:
    """Write all of it as one .usdz file."""
    pxr = usd_package()
    with tempfile.TemporaryDirectory() as folder, replace_whole(path, keep_suffix=True) as partial:
        stage, *_ = write_usd(Path(folder) / "avatar.usdc", avatar)
        if not pxr.UsdUtils.CreateNewUsdzPackage(pxr.Sdf.AssetPath(str(stage)), str(partial)):
            raise FileError(f"{path} could not be packed", hint=NO_ROOM)
    return [path]


@final
class _Stage:
    """A SkelRoot that holds mesh, blend shapes, skeleton, materials and animation. Metres, +y up."""

    def __init__(self, path: Path, avatar: GltfAvatar) -> None:
        self.pxr, self.avatar = usd_package(), avatar
        self.stage = self.pxr.Usd.Stage.CreateNew(str(path))
        self.joints = _joint_paths(avatar)
        self.place = self.pxr.Sdf.Path.absoluteRootPath.AppendChild(self.identifier(avatar.name))

    def write(self, pictures: Mapping[str, str]) -> None:
        """Fill the stage and save it. `pictures` are the textures' file names by kind."""
        pxr, stage = self.pxr, self.stage
        pxr.UsdGeom.SetStageUpAxis(stage, pxr.UsdGeom.Tokens.y)
        pxr.UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = pxr.UsdSkel.Root.Define(stage, self.place)
        stage.SetDefaultPrim(root.GetPrim())
        pxr.Usd.ModelAPI(root.GetPrim()).SetKind("component")
        skeleton = self.add_skeleton()
        mesh = self.add_mesh()
        pxr.UsdSkel.BindingAPI(mesh).CreateSkeletonRel().SetTargets([skeleton.GetPath()])
        self.add_blend_shapes(mesh)
        self.add_materials(mesh, pictures)
        for animation in self.avatar.animations:
            clip = self.add_animation(animation)
            pxr.UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets([clip.GetPath()])
        root.CreateExtentAttr(mesh.GetExtentAttr().Get())
        stage.GetRootLayer().Save()

    def add_skeleton(self) -> Any:
        """The joints where they stand at rest."""
        skeleton = self.pxr.UsdSkel.Skeleton.Define(self.stage, self.place.AppendChild("Skeleton"))
        skeleton.CreateJointsAttr(self.joints)
        skin = self.avatar.skin
        upright = np.tile([0.0, 0.0, 0.0, 1.0], (len(skin.names), 1))
        turns = upright if skin.rotations is None else skin.rotations
        skeleton.CreateBindTransformsAttr([*map(self.placed, skin.positions, turns)])
        skeleton.CreateRestTransformsAttr([*map(self.placed, *skin.local())])
        return skeleton

    def add_mesh(self) -> Any:
        """The mesh at rest, bound to its joints; texture coordinates are by corner, so that no vertex is split."""
        pxr, of = self.pxr, self.avatar.mesh
        mesh = pxr.UsdGeom.Mesh.Define(self.stage, self.place.AppendChild("Head"))
        mesh.CreatePointsAttr(self.vectors(of.positions))
        mesh.CreateFaceVertexCountsAttr(self.integers(np.full(len(of.faces), 3)))
        mesh.CreateFaceVertexIndicesAttr(self.integers(of.faces))
        mesh.CreateSubdivisionSchemeAttr(pxr.UsdGeom.Tokens.none)
        mesh.CreateExtentAttr(self.vectors(np.stack([of.positions.min(0), of.positions.max(0)])))
        mesh.CreateDoubleSidedAttr(True)
        mesh.CreateNormalsAttr(self.vectors(unit_normals(of.normals)))
        mesh.SetNormalsInterpolation(pxr.UsdGeom.Tokens.vertex)
        kind = pxr.Sdf.ValueTypeNames.TexCoord2fArray
        corners = pxr.UsdGeom.PrimvarsAPI(mesh).CreatePrimvar("st", kind, pxr.UsdGeom.Tokens.faceVarying)
        corners.Set(pxr.Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(of.uv, np.float32)))
        corners.SetIndices(self.integers(of.uv_faces))
        binding = pxr.UsdSkel.BindingAPI.Apply(mesh.GetPrim())
        indices, weights = strongest(self.avatar.skin.weights)
        binding.CreateJointIndicesPrimvar(False, indices.shape[1]).Set(self.integers(indices))
        binding.CreateJointWeightsPrimvar(False, weights.shape[1]).Set(pxr.Vt.FloatArray.FromNumpy(weights.reshape(-1)))
        binding.CreateGeomBindTransformAttr(pxr.Gf.Matrix4d(1))
        return mesh

    def add_blend_shapes(self, mesh: Any) -> None:
        """One below the mesh for each morph: the vertices that it moves, or whose normals it turns, and by how much."""
        pxr, avatar, targets = self.pxr, self.avatar, []
        for name, delta in avatar.morphs.items():
            turned = np.zeros_like(delta) if avatar.morph_normals is None else avatar.morph_normals[name]
            moved = np.flatnonzero((np.abs(delta).max(1) > DELTA_FLOOR) | (np.abs(turned).max(1) > NORMAL_FLOOR))
            shape = pxr.UsdSkel.BlendShape.Define(self.stage, mesh.GetPath().AppendChild(self.identifier(name)))
            shape.CreateOffsetsAttr(self.vectors(delta[moved]))
            shape.CreateNormalOffsetsAttr(self.vectors(turned[moved]))
            shape.CreatePointIndicesAttr(self.integers(moved))
            targets.append(shape.GetPath())
        if targets:
            binding = pxr.UsdSkel.BindingAPI(mesh)
            binding.CreateBlendShapesAttr(list(avatar.morphs))
            binding.CreateBlendShapeTargetsRel().SetTargets(targets)

    def add_materials(self, mesh: Any, pictures: Mapping[str, str]) -> None:
        """A material for each part, bound to its faces."""
        pxr, place = self.pxr, self.place.AppendChild("Materials")
        pxr.UsdGeom.Scope.Define(self.stage, place)
        family, partition = pxr.UsdShade.Tokens.materialBind, pxr.UsdGeom.Tokens.partition
        for part in self.avatar.parts:
            name, faces = self.identifier(part.name), self.integers(part.faces)
            material = self.material(place.AppendChild(name), part, pictures)
            subset = pxr.UsdGeom.Subset.CreateGeomSubset(
                mesh, f"faces_{name}", pxr.UsdGeom.Tokens.face, faces, family, partition
            )
            pxr.UsdShade.MaterialBindingAPI.Apply(subset.GetPrim()).Bind(material)
        pxr.UsdGeom.Subset.SetFamilyType(mesh, family, partition)

    def material(self, place: Any, part: Part, pictures: Mapping[str, str]) -> Any:
        """A UsdPreviewSurface. Its specular colour is the reflectance at normal incidence times the fit's intensity."""
        types, ior = self.pxr.Sdf.ValueTypeNames, part.ior or USUAL_IOR
        material = self.pxr.UsdShade.Material.Define(self.stage, place)
        surface = self.shader(place.AppendChild("Surface"), "UsdPreviewSurface")
        material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
        reader = self.shader(place.AppendChild("st"), "UsdPrimvarReader_float2")
        reader.CreateInput("varname", types.String).Set("st")
        corners = reader.CreateOutput("result", types.Float2)
        surface.CreateInput("ior", types.Float).Set(ior)
        surface.CreateInput("metallic", types.Float).Set(0.0)
        surface.CreateInput("useSpecularWorkflow", types.Int).Set(int("specular" in pictures))
        f0 = ((ior - 1) / (ior + 1)) ** 2
        for kind, (name, scale) in {
            "albedo": ("diffuseColor", 1.0),
            "roughness": ("roughness", 1.0),
            "specular": ("specularColor", f0),
            "occlusion": ("occlusion", 1.0),
        }.items():
            if kind in pictures:
                texture = self.texture(place.AppendChild(kind), pictures[kind], corners, scale, linear=kind != "albedo")
                is_colour = name.endswith("Color")
                channel = texture.CreateOutput(*(("rgb", types.Float3) if is_colour else ("r", types.Float)))
                surface.CreateInput(name, types.Color3f if is_colour else types.Float).ConnectToSource(channel)
        if "normal" in pictures:
            texture = self.texture(place.AppendChild("normal"), pictures["normal"], corners, 2.0, linear=True)
            texture.CreateInput("bias", types.Float4).Set(self.pxr.Gf.Vec4f(-1, -1, -1, 0))
            read = texture.CreateOutput("rgb", types.Float3)
            surface.CreateInput("normal", types.Normal3f).ConnectToSource(read)
        return material

    def texture(self, place: Any, file: str, corners: Any, scale: float, *, linear: bool) -> Any:
        """A picture beside the stage, looked up at `corners`; what it says is multiplied by `scale`."""
        types, texture = self.pxr.Sdf.ValueTypeNames, self.shader(place, "UsdUVTexture")
        texture.CreateInput("file", types.Asset).Set(f"./{file}")
        texture.CreateInput("sourceColorSpace", types.Token).Set("raw" if linear else "sRGB")
        texture.CreateInput("st", types.Float2).ConnectToSource(corners)
        texture.CreateInput("scale", types.Float4).Set(self.pxr.Gf.Vec4f(scale, scale, scale, 1))
        for axis in "ST":
            texture.CreateInput(f"wrap{axis}", types.Token).Set("clamp")
        return texture

    def shader(self, place: Any, kind: str) -> Any:
        """A node of a material."""
        shader = self.pxr.UsdShade.Shader.Define(self.stage, place)
        shader.CreateIdAttr(kind)
        return shader

    def add_animation(self, animation: Animation) -> Any:
        """Turns of all joints, the root's shift, and weights of the blend shapes, a time code a frame."""
        pxr, avatar = self.pxr, self.avatar
        offsets, resting = avatar.skin.local()
        clip = pxr.UsdSkel.Animation.Define(self.stage, self.place.AppendChild(self.identifier(animation.name)))
        clip.CreateJointsAttr(self.joints)
        clip.CreateScalesAttr([pxr.Gf.Vec3h(1)] * len(self.joints))
        clip.CreateBlendShapesAttr(list(avatar.morphs))
        turns = np.tile(resting, (len(animation.rotations), 1, 1))
        for joint, turned in enumerate(animation.rotations.swapaxes(0, 1), animation.first):
            turns[:, joint] = continuous(turned)
        is_root = np.arange(len(offsets))[:, None] == animation.first
        rotations, translations = clip.CreateRotationsAttr(), clip.CreateTranslationsAttr()
        weights = clip.CreateBlendShapeWeightsAttr()
        for frame, (turned, shift) in enumerate(zip(turns.tolist(), animation.translation, strict=True)):
            rotations.Set([pxr.Gf.Quatf(w, x, y, z) for x, y, z, w in turned], frame)
            translations.Set(self.vectors(offsets + is_root * shift), frame)
            weights.Set(pxr.Vt.FloatArray.FromNumpy(animation.morph_weights[frame].astype(np.float32)), frame)
        self.stage.SetTimeCodesPerSecond(animation.fps)
        self.stage.SetFramesPerSecond(animation.fps)
        self.stage.SetStartTimeCode(0)
        self.stage.SetEndTimeCode(len(turns) - 1)
        return clip

    def identifier(self, name: str) -> str:
        """A name as USD takes it for a part of a path."""
        return self.pxr.Tf.MakeValidIdentifier(name)

    def vectors(self, values: Float[np.ndarray, "N 3"]) -> Any:
        """Vectors of three as USD's array."""
        return self.pxr.Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(values, np.float32))

    def integers(self, values: Integer[np.ndarray, "*shape"]) -> Any:
        """Whole numbers as USD's array, one after the other."""
        return self.pxr.Vt.IntArray.FromNumpy(values.reshape(-1).astype(np.int32))

    def placed(self, offset: Float[np.ndarray, "3"], turn: Float[np.ndarray, "4"]) -> Any:
        """A matrix that turns (quaternion x, y, z, w), then shifts."""
        gf, (x, y, z, w) = self.pxr.Gf, turn.tolist()
        return gf.Matrix4d(1).SetTransform(gf.Rotation(gf.Quatd(w, x, y, z)), gf.Vec3d(*offset.tolist()))


def _joint_paths(avatar: GltfAvatar) -> list[str]:
    """The joints' names, each after its parents': `root/neck/jaw`."""
    paths: list[str] = []
    for name, parent in zip(avatar.skin.names, avatar.skin.parents, strict=True):
        paths.append(name if parent < 0 else f"{paths[parent]}/{name}")
    return paths
