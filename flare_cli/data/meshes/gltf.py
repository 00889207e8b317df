"""A rigged, expressive, textured head as binary glTF 2.0 (.glb): mesh, PBR material, skin, morph targets, animation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pygltflib as gltf
from jaxtyping import Float, Int, Shaped
from scipy.spatial.transform import Rotation

from flare_cli import __version__
from flare_cli.data.atomic import write_bytes_whole
from flare_cli.data.meshes.seen_light import SeenLight
from flare_cli.data.meshes.tangents import corner_tangents
from flare_cli.data.meshes.textured_mesh import PbrTextures, TexturedMesh, divided, jpeg, png, split_at_seams, webp
from flare_cli.data.meshes.vrm import VRM, Vrm, vrm_extension

# Morph deltas below this are not worth a row: metres, half a hair; and as normals, a third of a degree.
_DELTA_FLOOR = 5e-5
_NORMAL_FLOOR = 6e-3
_INFLUENCES = 4
QUALITY = 92  # of JPEG and WebP
_WEBP, _SPECULAR, _IOR = "EXT_texture_webp", "KHR_materials_specular", "KHR_materials_ior"
_QUANTISED = "KHR_mesh_quantization"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skin:
    """Joints, parents first (-1 for the root), with their rest positions in metres, and a weight per vertex and joint.

    Rest orientation (quaternions x, y, z, w in the world) is that of the world unless `rotations` says otherwise.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    positions: Float[np.ndarray, "J 3"]
    weights: Float[np.ndarray, "V J"]
    rotations: Float[np.ndarray, "J 4"] | None = None

    def local(self) -> tuple[Float[np.ndarray, "J 3"], Float[np.ndarray, "J 4"]]:
        """Where each joint is at rest and how it is turned, as its parent sees it."""
        upright = np.tile([0.0, 0.0, 0.0, 1.0], (len(self.names), 1))
        world = Rotation.from_quat(upright if self.rotations is None else self.rotations)
        parents = np.array(self.parents)
        above = Rotation.from_quat(np.where(parents[:, None] < 0, upright, world.as_quat()[parents]))
        offsets = self.positions - np.where(parents[:, None] < 0, 0.0, self.positions[parents])
        return above.inv().apply(offsets), (above.inv() * world).as_quat()


@dataclass(frozen=True, slots=True, kw_only=True)
class Animation:
    """One row per frame: rotations relative to the parent joint (quaternions x, y, z, w), root shift, morph weights.

    Turned are the skin's joints from `first` on, which are upright at rest; the first of them is shifted.
    """

    name: str
    fps: float
    rotations: Float[np.ndarray, "T J 4"]
    translation: Float[np.ndarray, "T 3"]
    morph_weights: Float[np.ndarray, "T M"]
    first: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The triangles `faces` (their indices) under a material of their own; all parts share the textures.

    `ior` is the index of refraction, which says what the surface mirrors at normal incidence; None is glTF's 1.5.
    """

    name: str
    faces: Int[np.ndarray, " N"]
    ior: float | None = None


TextureFormat: TypeAlias = Literal["png", "jpeg", "webp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GltfAvatar:
    """What goes into the file. Morphs are changes of position and normal per vertex, by name, in order.

    `scene` names what holds mesh and joints; `dense_morphs` stores vertices that don't move too, for programs
    that read no sparse ones; `quantised_morphs` stores them in steps of 0.03 mm, and of 0.008 of a unit normal, which
    programs without KHR_mesh_quantization refuse; `seen` is put into the mesh's extras, for `flare_light.js`, with the
    number that each vertex has in `mesh` as the attribute `_VERTEX`; `vrm` makes a VRM of it.
    """

    name: str
    mesh: TexturedMesh
    textures: PbrTextures
    parts: tuple[Part, ...]
    skin: Skin
    morphs: dict[str, Float[np.ndarray, "V 3"]] = field(default_factory=dict)
    morph_normals: dict[str, Float[np.ndarray, "V 3"]] | None = None
    animations: tuple[Animation, ...] = ()
    scene: str | None = None
    dense_morphs: bool = False
    quantised_morphs: bool = False
    seen: SeenLight | None = None
    vrm: Vrm | None = None


def write_glb(path: Path, avatar: GltfAvatar, texture_format: TextureFormat = "png") -> None:
    """Write `avatar` for Blender, Unity, Unreal and the browser; the file is whole or not there."""
    write_bytes_whole(path, glb_bytes(avatar, texture_format))


def glb_bytes(avatar: GltfAvatar, texture_format: TextureFormat) -> bytes:
    """The avatar as a binary glTF file.

    Vertices are split at UV seams and where parts meet. Each vertex keeps its four strongest joints. glTF has no pose
    correctives. Tangents are written where there is a normal texture. WebP makes the smallest file, which programs
    without EXT_texture_webp refuse.
    """
    document = gltf.GLTF2(asset=gltf.Asset(version="2.0", generator=f"flare {__version__}"))
    store = _Store(document, texture_format)
    tangents = None if avatar.textures.normal is None else corner_tangents(avatar.mesh)
    primitives = [_primitive(store, avatar, part, material, tangents) for material, part in enumerate(avatar.parts)]
    extras: dict[str, Any] = {"targetNames": list(avatar.morphs)} if avatar.morphs else {}
    if avatar.seen is not None:
        extras["flare_seen"] = avatar.seen.extras()
    mesh = gltf.Mesh(name=avatar.name, primitives=primitives, extras=extras)
    if avatar.morphs:
        mesh.weights = [0.0] * len(avatar.morphs)
    document.meshes.append(mesh)
    _add_materials(store, avatar.textures, avatar.parts)
    _add_skeleton(store, avatar)
    if avatar.vrm is not None:
        _add_vrm(store, avatar, avatar.vrm)
    for animation in avatar.animations:
        _add_animation(store, animation, avatar.skin, bool(avatar.morphs))
    store.close()
    return b"".join(document.save_to_bytes())


_COMPONENTS: dict[np.dtype[Any], int] = {
    np.dtype(np.float32): gltf.FLOAT,
    np.dtype(np.int8): gltf.BYTE,
    np.dtype(np.int16): gltf.SHORT,
    np.dtype(np.uint8): gltf.UNSIGNED_BYTE,
    np.dtype(np.uint16): gltf.UNSIGNED_SHORT,
    np.dtype(np.uint32): gltf.UNSIGNED_INT,
}
_TYPES = {(): gltf.SCALAR, (2,): gltf.VEC2, (3,): gltf.VEC3, (4,): gltf.VEC4, (4, 4): gltf.MAT4}


class _Store:
    """The binary chunk as it grows, and the accessors into it."""

    def __init__(self, document: gltf.GLTF2, texture_format: TextureFormat) -> None:
        self.document, self._texture_format = document, texture_format
        self._blob = bytearray()

    def view(self, data: bytes, target: int | None = None, stride: int | None = None) -> int:
        self._blob.extend(b"\0" * (-len(self._blob) % 4))
        view = gltf.BufferView(
            buffer=0, byteOffset=len(self._blob), byteLength=len(data), byteStride=stride, target=target
        )
        self._blob.extend(data)
        self.document.bufferViews.append(view)
        return len(self.document.bufferViews) - 1

    def accessor(self, values: Shaped[np.ndarray, "N ..."], target: int | None = None, bounds: bool = False) -> int:
        """Store an array; `bounds` adds the least and greatest value of each component."""
        rows, stride = np.ascontiguousarray(values), None
        if target == gltf.ARRAY_BUFFER and _row_bytes(values) % 4:  # rows of vertices begin at multiples of four bytes
            stride = _stride(values)
            rows = np.zeros((len(values), stride), np.uint8)
            rows[:, : _row_bytes(values)] = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
        return self._append(values, bounds, view=self.view(rows.tobytes(), target, stride))

    def sparse(self, values: Shaped[np.ndarray, "N 3"], floor: float, bounds: bool) -> int:
        """Store an array that is mostly zero: only its rows above `floor`, when that is smaller."""
        rows = np.flatnonzero(np.abs(values).max(-1) > floor)
        index = rows.astype(np.uint16 if len(values) <= 0xFFFF else np.uint32)
        if len(rows) * (index.itemsize + _row_bytes(values)) >= len(values) * _stride(values):
            return self.accessor(values, gltf.ARRAY_BUFFER, bounds)
        kept = np.zeros_like(values)
        kept[rows] = values[rows]
        if len(rows) == 0:  # an accessor without data is all zero
            return self._append(kept, bounds)
        sparse = gltf.Sparse(
            count=len(rows),
            indices=gltf.AccessorSparseIndices(
                bufferView=self.view(index.tobytes()), componentType=_COMPONENTS[index.dtype]
            ),
            values=gltf.AccessorSparseValues(bufferView=self.view(kept[rows].tobytes())),
        )
        return self._append(kept, bounds, sparse=sparse)

    def texture(self, name: str, picture: Shaped[np.ndarray, "H W *C"]) -> int:
        """Store a picture as a texture; its index. JPEG has no alpha: such a picture is a PNG then."""
        kind = "png" if self._texture_format == "jpeg" and picture.shape[-1] == 4 else self._texture_format
        data = {"png": png, "jpeg": partial(jpeg, quality=QUALITY), "webp": partial(webp, quality=QUALITY)}[kind](
            picture
        )
        self.document.images.append(gltf.Image(name=name, bufferView=self.view(data), mimeType=f"image/{kind}"))
        source = len(self.document.images) - 1
        texture = gltf.Texture(sampler=0, source=source)
        if kind == "webp":
            texture = gltf.Texture(sampler=0, extensions={_WEBP: {"source": source}})
            self.require(_WEBP)
        self.document.textures.append(texture)
        return len(self.document.textures) - 1

    def use(self, extension: str) -> None:
        if extension not in self.document.extensionsUsed:
            self.document.extensionsUsed.append(extension)

    def require(self, extension: str) -> None:
        self.use(extension)
        if extension not in self.document.extensionsRequired:
            self.document.extensionsRequired.append(extension)

    def close(self) -> None:
        self._blob.extend(b"\0" * (-len(self._blob) % 4))
        self.document.buffers.append(gltf.Buffer(byteLength=len(self._blob)))
        self.document.set_binary_blob(bytes(self._blob))

    def _append(
        self,
        values: Shaped[np.ndarray, "N ..."],
        bounds: bool,
        view: int | None = None,
        sparse: gltf.Sparse | None = None,
    ) -> int:
        least, greatest = (values.min(0), values.max(0)) if bounds else (None, None)
        self.document.accessors.append(
            gltf.Accessor(
                componentType=_COMPONENTS[values.dtype],
                normalized=values.dtype.kind == "i",
                count=len(values),
                type=_TYPES[values.shape[1:]],
                min=None if least is None else np.atleast_1d(least).tolist(),
                max=None if greatest is None else np.atleast_1d(greatest).tolist(),
                bufferView=view,
                byteOffset=None,
                sparse=sparse,
            )
        )
        return len(self.document.accessors) - 1


def _row_bytes(values: Shaped[np.ndarray, "N ..."]) -> int:
    return values.itemsize * math.prod(values.shape[1:])


def _stride(values: Shaped[np.ndarray, "N ..."]) -> int:
    return -(-_row_bytes(values) // 4) * 4


def _primitive(
    store: _Store, avatar: GltfAvatar, part: Part, material: int, tangents: Float[np.ndarray, "F 3 4"] | None
) -> gltf.Primitive:
    mesh = avatar.mesh
    split = split_at_seams(mesh.faces[part.faces], mesh.uv_faces[part.faces])
    source = split.position
    uv = mesh.uv[split.uv] * [1, -1] + [0, 1]  # glTF counts v downward
    joints, weights = strongest(avatar.skin.weights)
    numbers = {"_VERTEX": store.accessor(_float32(source), gltf.ARRAY_BUFFER)} if avatar.seen is not None else {}
    attributes = gltf.Attributes(
        POSITION=store.accessor(_float32(mesh.positions[source]), gltf.ARRAY_BUFFER, bounds=True),
        NORMAL=store.accessor(unit_normals(mesh.normals[source]), gltf.ARRAY_BUFFER),
        TEXCOORD_0=store.accessor(_float32(uv), gltf.ARRAY_BUFFER),
        JOINTS_0=store.accessor(joints[source], gltf.ARRAY_BUFFER),
        WEIGHTS_0=store.accessor(weights[source], gltf.ARRAY_BUFFER),
        **numbers,
    )
    if tangents is not None:
        of_vertices = np.zeros((len(source), 4), np.float32)
        of_vertices[split.faces.reshape(-1)] = tangents[part.faces].reshape(-1, 4)
        attributes.TANGENT = store.accessor(of_vertices, gltf.ARRAY_BUFFER)
    index_type = np.uint16 if len(source) < 0xFFFF else np.uint32
    targets: list[gltf.Attributes] = []
    for name, delta in avatar.morphs.items():
        target = gltf.Attributes(POSITION=_morph(store, avatar, delta[source], _DELTA_FLOOR, np.int16, bounds=True))
        if avatar.morph_normals is not None:
            turned = avatar.morph_normals[name][source]
            target.NORMAL = _morph(store, avatar, turned, _NORMAL_FLOOR, np.int8, bounds=False)
        targets.append(target)
    indices = store.accessor(split.faces.reshape(-1).astype(index_type), gltf.ELEMENT_ARRAY_BUFFER)
    return gltf.Primitive(attributes=attributes, indices=indices, material=material, targets=targets)


def _morph(
    store: _Store,
    avatar: GltfAvatar,
    change: Float[np.ndarray, "N 3"],
    floor: float,
    steps: type[np.signedinteger[Any]],
    bounds: bool,
) -> int:
    values: Shaped[np.ndarray, "N 3"] = _float32(change)
    if avatar.quantised_morphs:
        store.require(_QUANTISED)
        most = np.iinfo(steps).max  # stands for 1: a metre, or the length of a normal, which hardly turns farther
        values, floor = (values.clip(-1, 1) * most).round().astype(steps), floor * most
    if avatar.dense_morphs:
        return store.accessor(values, gltf.ARRAY_BUFFER, bounds)
    return store.sparse(values, floor, bounds)


def strongest(
    weights: Float[np.ndarray, "V J"],
) -> tuple[Shaped[np.ndarray, "V 4"], Float[np.ndarray, "V 4"]]:
    """The four strongest joints of each vertex and their shares; an unused place is joint 0 with weight 0."""
    joints = np.argsort(-weights, 1, kind="stable")[:, :_INFLUENCES]
    kept = np.take_along_axis(weights, joints, 1)
    missing = ((0, 0), (0, _INFLUENCES - kept.shape[1]))
    joints, kept = np.pad(joints, missing), np.pad(kept, missing)
    kept = kept / kept.sum(1, keepdims=True)
    return np.where(kept > 0, joints, 0).astype(np.uint8), _float32(kept)


def _add_materials(store: _Store, textures: PbrTextures, parts: tuple[Part, ...]) -> None:
    """One material a part. Textures: albedo; occlusion, roughness and metal (none) in one; specular; normals."""
    store.document.samplers.append(
        gltf.Sampler(
            magFilter=gltf.LINEAR,
            minFilter=gltf.LINEAR_MIPMAP_LINEAR,
            wrapS=gltf.CLAMP_TO_EDGE,
            wrapT=gltf.CLAMP_TO_EDGE,
        )
    )
    zero, white = np.zeros_like(textures.roughness), np.full_like(textures.roughness, 255)
    albedo = store.texture("albedo", textures.albedo)
    occlusion = white if textures.occlusion is None else textures.occlusion
    packed = store.texture("occlusion, roughness, metal", np.stack([occlusion, textures.roughness, zero], -1))
    specular: dict[str, Any] = {}
    if textures.specular is not None:
        # Half as many texels a side: what it says is smooth, and a PNG, the only plain kind with an alpha, is large.
        alpha = divided(textures.specular, 2)
        opaque = np.full_like(alpha, 255)
        picture = store.texture("specular", np.stack([opaque, opaque, opaque, alpha], -1))
        specular = {_SPECULAR: {"specularTexture": {"index": picture}}}
        store.use(_SPECULAR)
    normal = None if textures.normal is None else store.texture("normal", textures.normal)
    for part in parts:
        material = gltf.Material(
            name=part.name,
            pbrMetallicRoughness=gltf.PbrMetallicRoughness(
                baseColorTexture=gltf.TextureInfo(index=albedo),
                metallicRoughnessTexture=gltf.TextureInfo(index=packed),
                metallicFactor=0.0,
                roughnessFactor=1.0,
            ),
            alphaMode=gltf.OPAQUE,
            doubleSided=True,
            extensions=specular | ({} if part.ior is None else {_IOR: {"ior": part.ior}}),
        )
        if part.ior is not None:
            store.use(_IOR)
        if textures.occlusion is not None:
            material.occlusionTexture = gltf.OcclusionTextureInfo(index=packed)
        if normal is not None:
            material.normalTexture = gltf.NormalMaterialTexture(index=normal)
        store.document.materials.append(material)


def _add_skeleton(store: _Store, avatar: GltfAvatar) -> None:
    """Node 0 is the mesh, node 1 + j is joint j; both the mesh and the root joint stand in the scene."""
    document, skin = store.document, avatar.skin
    offsets, turns = skin.local()
    document.nodes.append(gltf.Node(name=avatar.name, mesh=0, skin=0))
    for joint, name in enumerate(skin.names):
        children = [1 + child for child, above in enumerate(skin.parents) if above == joint]
        node = gltf.Node(name=name, translation=_float32(offsets[joint]).tolist(), children=children)
        if skin.rotations is not None:
            node.rotation = _float32(turns[joint]).tolist()
        document.nodes.append(node)
    inverse = np.tile(np.eye(4), (len(skin.names), 1, 1))  # column-major
    if skin.rotations is not None:
        inverse[:, :3, :3] = Rotation.from_quat(skin.rotations).as_matrix()  # inverse and transpose: itself
    inverse[:, 3, :3] = -np.einsum("jk,jkl->jl", skin.positions, inverse[:, :3, :3])
    document.skins.append(
        gltf.Skin(
            joints=[1 + joint for joint in range(len(skin.names))],
            skeleton=1 + skin.parents.index(-1),
            inverseBindMatrices=store.accessor(_float32(inverse)),
        )
    )
    roots = [1 + joint for joint, parent in enumerate(skin.parents) if parent < 0]
    document.scenes.append(gltf.Scene(name=avatar.scene, nodes=[0, *roots]))
    document.scene = 0


def _add_vrm(store: _Store, avatar: GltfAvatar, vrm: Vrm) -> None:
    nodes = {name: 1 + joint for joint, name in enumerate(avatar.skin.names)}
    morphs = {name: index for index, name in enumerate(avatar.morphs)}
    added = vrm_extension(vrm, name=avatar.name, mesh_node=0, nodes=nodes, morphs=morphs)
    store.document.extensions = {VRM: added}
    store.use(VRM)


def _add_animation(store: _Store, animation: Animation, skin: Skin, morphs: bool) -> None:
    times = (np.arange(len(animation.rotations)) / animation.fps).astype(np.float32)
    clock = store.accessor(times, bounds=True)
    root = 1 + animation.first
    tracks = [(root + i, "rotation", continuous(turns)) for i, turns in enumerate(animation.rotations.swapaxes(0, 1))]
    tracks.append((root, "translation", _float32(skin.local()[0][animation.first] + animation.translation)))
    if morphs:
        tracks.append((0, "weights", _float32(animation.morph_weights).reshape(-1)))
    motion = gltf.Animation(name=animation.name)
    for node, path, values in tracks:
        motion.samplers.append(gltf.AnimationSampler(input=clock, output=store.accessor(values)))
        target = gltf.AnimationChannelTarget(node=node, path=path)
        motion.channels.append(gltf.AnimationChannel(sampler=len(motion.samplers) - 1, target=target))
    store.document.animations.append(motion)


def continuous(quaternions: Float[np.ndarray, "T 4"]) -> Float[np.ndarray, "T 4"]:
    """Unit quaternions, each with the sign that is nearer to the one before, so that players take the short way."""
    unit = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    flips = np.where((unit[1:] * unit[:-1]).sum(1) < 0, -1.0, 1.0)
    unit[1:] *= np.cumprod(flips)[:, None]
    return _float32(unit)


def unit_normals(vectors: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """Unit vectors; +z where there is none, because glTF wants every normal to be unit."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return _float32(np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), [0.0, 0.0, 1.0]))


def _float32(values: Shaped[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return np.ascontiguousarray(values, dtype=np.float32)
