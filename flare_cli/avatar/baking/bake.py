"""Avatar -> what other programs read: neutral mesh, morph targets, skin, and textures on its UVs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.avatar.avatar import Avatar, Posed
from flare_cli.avatar.baking.detail import Detail, of_detail, places_in
from flare_cli.avatar.baking.normal_texture import bake_normals
from flare_cli.avatar.baking.profiles import Profile, naming, skin, vrm
from flare_cli.avatar.baking.texture import fill_gutters, rasterize_uv
from flare_cli.avatar.completion import Completion
from flare_cli.data.meshes.gltf import Animation, GltfAvatar, Part
from flare_cli.data.meshes.textured_mesh import PbrTextures, TexturedMesh
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.arkit_motion import ArkitMotion
from flare_cli.head.hanging_hair import HANGING_HAIR
from flare_cli.head.joints import Joint
from flare_cli.head.visemes import talking_shapes
from flare_cli.render.colour import srgb_from_linear
from flare_cli.render.light.samples import even_samples, sum_light
from flare_cli.render.light.shading import LEAST_ESCAPE

POSED_AT_ONCE = 8  # frames of a sequence
CHUNK = 1 << 16  # texels whose materials are evaluated at once: some 40 MB of features and hidden values

# Poses that show what is hidden at rest, and rays a vertex for what it sees of light: as the fit's default.
_REVEALING = (("jawOpen",), *((f"eyeLook{way}Left", f"eyeLook{way}Right") for way in ("Up", "Down", "In", "Out")))
RAYS = 256
# Materials beside skin, and the regions of the head that they are of.
_REGIONS = {
    "eyes": ("eyes",),
    "teeth": ("teeth",),
    "mouth": ("tongue", "inner_mouth"),
    "hair": ("scalp", "brows", HANGING_HAIR),
}


def bake_textures(
    avatar: Avatar, size: int, completion: Completion | None = None, *, occluded: bool = True
) -> PbrTextures:
    """Evaluate the material field at every texel that the mesh covers; gutters take the nearest covered texel.

    With a `completion` what was never seen is filled in. If `occluded`, an avatar drawn with shadows also gets the part
    of even light that arrives.
    """
    topology = avatar.mesh.topology
    texels, triangle, barycentric = rasterize_uv(topology.uv, topology.uv_faces, size)
    is_shadowed = occluded and avatar.visibility is not None
    even_light = _even_light(avatar) if is_shadowed else torch.ones_like(avatar.material_positions()[:, :2])
    surface = torch.cat([avatar.material_positions(), even_light], 1)
    if completion is not None:
        surface = torch.cat([surface, completion.at_vertices(avatar)], 1)
    baked = torch.zeros(size * size, 6, device=avatar.device)
    with torch.no_grad():
        for start in range(0, len(texels), CHUNK):
            chunk = slice(start, start + CHUNK)
            corners = surface[topology.faces[triangle[chunk]]]
            at = (corners * barycentric[chunk, :, None]).sum(1)
            arriving, openness = at[:, 3:4], at[:, 4:5]
            material = avatar.material(at[:, :3].contiguous())
            if completion is not None:
                material = completion.mixed(at[:, 5:], material, avatar)
            # As `shade` adds what bounces, but of the mean albedo: glTF has one number for all channels.
            lit = arriving / (1 - material.albedo.mean(1, keepdim=True) * (1 - openness)).clamp(min=LEAST_ESCAPE)
            baked[texels[chunk]] = torch.cat(
                [srgb_from_linear(material.albedo), material.roughness, material.specular, lit], 1
            )
    covered = torch.zeros(size * size, dtype=torch.bool, device=avatar.device)
    covered[texels] = True
    filled = fill_gutters(baked.reshape(size, size, 6).cpu().numpy(), covered.reshape(size, size).cpu().numpy())
    picture = (filled.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return PbrTextures(
        albedo=picture[..., :3],
        roughness=picture[..., 3],
        specular=picture[..., 4],
        occlusion=picture[..., 5] if is_shadowed else None,
    )


def bake_mesh(avatar: Avatar) -> TexturedMesh:
    """The avatar at rest: no expression, zero pose."""
    posed = posed_by_arkit(avatar, torch.zeros(1, len(ARKIT_NAMES), device=avatar.device))
    return _textured_mesh(avatar, posed)


@torch.no_grad()
def bake_sequence(
    avatar: Avatar, *, expression: Float[Tensor, "N E"], pose: Float[Tensor, "N J 3"], translation: Float[Tensor, "N 3"]
) -> Iterator[TexturedMesh]:
    """The avatar in every frame of a motion, in the world: with its own expressions and correctives, as it is drawn."""
    corrections, still = avatar.corrections(), bake_mesh(avatar)
    motion = avatar.motion(
        expression=expression.to(avatar.device), pose=pose.to(avatar.device), translation=translation.to(avatar.device)
    )
    for start in range(0, len(expression), POSED_AT_ONCE):
        posed = avatar.move(motion[start : start + POSED_AT_ONCE], corrections)
        for positions, normals in zip(posed.vertices.cpu().numpy(), posed.normals.cpu().numpy(), strict=True):
            yield replace(still, positions=positions, normals=normals)


def bake_rig(
    avatar: Avatar, name: str, textures: PbrTextures, profile: Profile = "arkit", detail: Detail = "full"
) -> GltfAvatar:
    """The avatar at rest with its skeleton and one morph target per ARKit expression, and those that `profile` adds.

    A morph holds all that its expression does, the jaw's and the eyes' rotations included: programs that know only
    blend shapes get the whole face from them. Turn the joints instead where a program has them, not both. The head is
    in its own place, or on the body that the profile puts below it.
    """
    names = naming(profile)
    shapes = {names.morph(unit): row for unit, row in zip(ARKIT_NAMES, torch.eye(len(ARKIT_NAMES)), strict=True)}
    if names.talks:
        shapes |= talking_shapes()
    weights = torch.stack([torch.zeros(len(ARKIT_NAMES)), *shapes.values()]).to(avatar.device)
    posed, fine, avatar = posed_by_arkit(avatar, weights), avatar.mesh.topology, of_detail(avatar, detail)
    if avatar.mesh.topology is not fine:
        fine_normals = posed.normals[0]
        same = places_in(fine, avatar.mesh.topology, len(avatar.head.template))
        posed = _with_normals(posed_by_arkit(avatar, weights), posed.normals[:, same])
        finer = bake_normals(fine, fine_normals, _textured_mesh(avatar, posed), len(textures.albedo))
        textures = replace(textures, normal=finer)
    with torch.no_grad():
        skinning = avatar.skinning_weights_at_vertices(avatar.corrections()).cpu().numpy()
    mesh, vertices, normals = _textured_mesh(avatar, posed), posed.vertices.cpu().numpy(), posed.normals.cpu().numpy()
    joints = avatar.joints().cpu().numpy()
    lift = names.lift(joints[Joint.ROOT])
    return GltfAvatar(
        name=name,
        mesh=replace(mesh, positions=mesh.positions + lift),
        textures=textures,
        parts=_parts(avatar),
        skin=skin(names, joints + lift, skinning),
        morphs={name: vertices[i] - vertices[0] for i, name in enumerate(shapes, 1)},
        morph_normals={name: normals[i] - normals[0] for i, name in enumerate(shapes, 1)},
        scene=names.scene,
        dense_morphs=names.dense,
        vrm=vrm(joints) if profile == "vrm" else None,
    )


def bake_animation(
    name: str, rig: GltfAvatar, motion: ArkitMotion, translation: Float[Tensor, "N 3"], fps: float
) -> Animation:
    """A performance as a clip for `rig`: ARKit's weights (the first morphs), and joints for what they don't do."""
    weights = np.zeros((len(motion.weights), len(rig.morphs)), np.float32)
    weights[:, : len(ARKIT_NAMES)] = motion.weights.numpy()
    turns = Rotation.from_rotvec(motion.pose.reshape(-1, 3).numpy()).as_quat()
    return Animation(
        name=name,
        fps=fps,
        rotations=turns.reshape(*motion.pose.shape[:2], 4),
        translation=translation.numpy(),
        morph_weights=weights,
        first=len(rig.skin.names) - motion.pose.shape[1],  # after the bones of a body
    )


def posed_by_arkit(avatar: Avatar, weights: Float[Tensor, "B 52"]) -> Posed:
    """The avatar in faces of these ARKit weights, its head at rest."""
    arkit = avatar.head.arkit
    with torch.no_grad():
        return avatar.posed(
            expression=weights @ arkit.expression,
            pose=torch.einsum("bk,kjc->bjc", weights, arkit.pose),
            translation=weights.new_zeros(len(weights), 3),
        )


@torch.no_grad()
def _even_light(avatar: Avatar) -> Float[Tensor, "V 2"]:
    """What arrives of white light from all around at each vertex in the neutral pose, traced: summed, and openness.

    What is hidden until the mouth opens or the eyes turn has the mean over such poses instead, weighted by this light:
    a texture can't follow them, and would show black teeth.
    """
    weights = torch.zeros(1 + len(_REVEALING), len(ARKIT_NAMES), device=avatar.device)
    for row, units in enumerate(_REVEALING, 1):
        weights[row, [ARKIT_NAMES.index(unit) for unit in units]] = 1
    posed = posed_by_arkit(avatar, weights)
    traced = avatar.traced_visibility(posed, RAYS)
    white, one = even_samples(RAYS).to(avatar.device), torch.ones_like(posed.normals[0, :, :1])
    lit: list[Tensor] = []
    for normal, visibility in zip(posed.normals, traced, strict=True):
        arriving, _, openness = sum_light(white, normal, normal, one, one, visibility)
        lit.append(torch.cat([arriving[:, :1], openness], 1))
    poses = torch.stack(lit)
    share = poses[..., :1].clamp(min=1e-6)
    revealed = (share * poses).sum(0) / share.sum(0)
    return torch.where(avatar.region_mask(("eyes", "teeth", "tongue", "inner_mouth")) > 0.5, revealed, poses[0])


def _parts(avatar: Avatar) -> tuple[Part, ...]:
    """Skin, and what else the head has: each face belongs to the first region that most of it lies in."""
    faces, f0 = avatar.mesh.topology.faces, avatar.spec.f0
    left = torch.ones(len(faces), dtype=torch.bool, device=faces.device)
    parts: list[Part] = []
    for name, regions in _REGIONS.items():
        inside = (avatar.region_mask(regions)[:, 0][faces].mean(1) > 0.5) & left
        left &= ~inside
        parts.append(_part(name, inside, f0.other))
    # Skin comes first: programs that look at one material look at that.
    return tuple(part for part in (_part("skin", left, f0.skin), *parts) if len(part.faces))


def _part(name: str, inside: Bool[Tensor, " F"], f0: float) -> Part:
    """The index of refraction whose reflectance at normal incidence, ((n - 1) / (n + 1))^2, is `f0`."""
    return Part(name=name, faces=torch.nonzero(inside)[:, 0].cpu().numpy(), ior=(1 + f0**0.5) / (1 - f0**0.5))


def _textured_mesh(avatar: Avatar, posed: Posed) -> TexturedMesh:
    topology = avatar.mesh.topology
    return TexturedMesh(
        positions=posed.vertices[0].cpu().numpy(),
        normals=posed.normals[0].cpu().numpy(),
        faces=topology.faces.cpu().numpy(),
        uv=topology.uv.cpu().numpy(),
        uv_faces=topology.uv_faces.cpu().numpy(),
    )


def _with_normals(posed: Posed, normals: Float[Tensor, "B N 3"]) -> Posed:
    """A mesh whose first vertices have these normals."""
    return Posed(posed.vertices, torch.cat([normals, posed.normals[:, normals.shape[1] :]], 1))
