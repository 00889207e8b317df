"""The avatar: everything that is fitted, and how it is posed."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flare_cli.avatar.deformer import Corrections, Deformer
from flare_cli.avatar.light import new_light
from flare_cli.avatar.material import MaterialField
from flare_cli.avatar.mesh import CanonicalMesh, Topology
from flare_cli.avatar.spec import AvatarSpec, MaterialSpec
from flare_cli.avatar.visibility import Eyeball, PosedVisibility, softened
from flare_cli.head.arkit import ARKIT_NAMES, JAW_OPEN
from flare_cli.head.eyeballs import eyeball
from flare_cli.head.hanging_hair import HANGING_HAIR
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import blend_transforms, joint_transforms, pose_features, pose_vertices, shaped_joints
from flare_cli.render.geometry import vertex_normals
from flare_cli.render.light.sphere import harmonics
from flare_cli.render.light.visibility import trace_visibility

# Room around the head in the cube on which materials live, as a part of its longest side: more than the jitter of
# positions (0.01) in the smoothness term reaches. Not tuned.
MARGIN = 0.15
# Names of what an avatar may know of its recording, and how many numbers each has a vertex (`confidence.Shown`).
SHOWN = {"confidence": 1, "squarest": 1, "coverings": 2}
# Of the light along the normal up to which a vertex is inside, or below hair that hangs.
COVERED = 0.5
# Metres, a deviation: one and a half rows of the surface that hair hangs as.
STRANDS = 0.015
# Before the names of the parts of hair that hangs, which belongs to the head of this avatar alone.
HAIR = "hanging_hair_"
# Of ARKit's `jawOpen`: where visibility is traced beside the moments of a track.
MOUTH_OPEN = (0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Posed:
    """The mesh in B poses: world positions in metres, unit vertex normals, and what vertices see of the light.

    `visibility` are nine harmonics (`trace_visibility`); None where everything sees all.
    """

    vertices: Float[Tensor, "B V 3"]
    normals: Float[Tensor, "B V 3"]
    visibility: Float[Tensor, "B V 9"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """B moments of a performance, worked out as far as the head model alone decides: factors, joints, translation.

    Nothing here is fitted, so a fit works it out once for all frames and indexes it for each batch.
    """

    factors: Float[Tensor, "B K"]
    transforms: Float[Tensor, "B J 3 4"]
    translation: Float[Tensor, "B 3"]

    def __getitem__(self, index: slice | Tensor) -> Motion:
        return replace(
            self,
            factors=self.factors[index],
            transforms=self.transforms[index],
            translation=self.translation[index],
        )

    @staticmethod
    def joined(*parts: Motion) -> Motion:
        """One after another."""
        return Motion(
            factors=torch.cat([part.factors for part in parts]),
            transforms=torch.cat([part.transforms for part in parts]),
            translation=torch.cat([part.translation for part in parts]),
        )

    def head_rotation(self) -> Float[Tensor, "B 3 3"]:
        """How the head is turned in the world: the neck joint's rotation."""
        return self.transforms[:, Joint.NECK, :, :3]

    def turned(self, rotation: Float[Tensor, "B 3 3"]) -> Motion:
        """The same motion after the whole world is turned about its origin."""
        translation = (rotation @ self.translation[..., None])[..., 0]
        return replace(self, transforms=rotation[:, None] @ self.transforms, translation=translation)


@dataclass(frozen=True, slots=True)
class _VertexConstants:
    """What a fit does not change at the vertices of one topology; `skin` is 1 on bare skin, 0 elsewhere."""

    topology: Topology
    template: Float[Tensor, "V 3"]
    canonical: Float[Tensor, "V 3"]
    skin: Float[Tensor, "V 1"]


@final
class Avatar(nn.Module):
    """A person: head model and shape (fixed), mesh, deformer, materials and light (fitted).

    `spec` says what the parts are built from; it follows them when they are divided or begun anew.
    """

    def __init__(self, head: HeadModel, shape: Float[Tensor, "S"], spec: AvatarSpec) -> None:
        super().__init__()
        device = head.template.device
        self.head, self.spec = head, spec
        self.shape: Tensor
        self.register_buffer("shape", shape.to(device))
        if head.hanging_hair is not None:
            for field in fields(head.hanging_hair):
                self.register_buffer(HAIR + field.name, getattr(head.hanging_hair, field.name))
        self.mesh = CanonicalMesh(head, spec.subdivisions)
        self.deformer = Deformer(
            width=spec.deformer.width,
            depth=spec.deformer.depth,
            n_expression=head.n_expression,
            n_pose=head.pose_dirs.shape[-1],
            n_joints=len(head.parents),
        ).to(device)
        self.restart_appearance(spec.material)
        self.visibility = _new_visibility(head, spec)
        # What the recording showed of the head's own vertices (`confidence.Shown`); None: it is not known.
        self.confidence: Tensor | None
        self.squarest: Tensor | None
        self.coverings: Tensor | None
        for name in SHOWN:
            self.register_buffer(name, None)
        self._template = head.template + head.shape_dirs @ self.shape
        self._directions = torch.cat([head.expression_dirs, head.pose_dirs], 2).flatten(0, 1)
        # The addend keeps the logarithm of a zero weight finite, and small enough for the network to raise. Not tuned.
        self._log_weights = torch.log(head.weights + 1e-5)
        self._canonical = self._canonical_positions()
        self._vertex_constants_cache: _VertexConstants | None = None

    @property
    def device(self) -> torch.device:
        """Where the avatar's tensors are."""
        return self.mesh.offsets.device

    def restart_appearance(self, material: MaterialSpec) -> None:
        """Begin new materials and a new light, as the published second stage does."""
        device = self.head.template.device
        self.material = MaterialField(material, device=device)
        self.light = new_light(self.spec.light, device)
        self.spec = replace(self.spec, material=material)

    def remember(
        self, *, confidence: Float[Tensor, "V0 1"], squarest: Float[Tensor, "V0 1"], coverings: Float[Tensor, "V0 2"]
    ) -> None:
        """Keep what the recording showed of the head's own vertices (`confidence.Shown`)."""
        self.confidence, self.squarest, self.coverings = confidence, squarest, coverings

    def with_mesh(self, mesh: CanonicalMesh) -> Avatar:
        """The same avatar, all else of it shared, with another mesh over the same head."""
        other = copy.copy(self)
        other._modules = {**self._modules, "mesh": mesh}
        return other

    def subdivide_mesh(self) -> None:
        """Divide every triangle in four and keep the surface."""
        self.mesh = self.mesh.subdivided(self.head)
        self.spec = self.spec.subdivided()

    def corrections(self) -> Corrections:
        """The deformer's corrections at the head model's own vertices. They are smooth: finer vertices interpolate."""
        return self.deformer(2 * self._canonical - 1)

    def skinning_weights(self, corrections: Corrections) -> Float[Tensor, "V0 J"]:
        """The head's weights times exp(correction), normalised: zero corrections give the head's weights back."""
        return (self._log_weights + corrections.log_weights).softmax(-1)

    def skinning_weights_at_vertices(self, corrections: Corrections) -> Float[Tensor, "V J"]:
        """Skinning weights of the (subdivided) mesh."""
        return self.mesh.topology.carried(self.skinning_weights(corrections))

    def joints(self) -> Float[Tensor, "J 3"]:
        """This person's joints at rest, without expression."""
        neutral = self.shape.new_zeros(1, self.head.n_expression)
        return shaped_joints(self.head, self.shape, neutral)[0]

    def motion(
        self, *, expression: Float[Tensor, "B E"], pose: Float[Tensor, "B J 3"], translation: Float[Tensor, "B 3"]
    ) -> Motion:
        """These parameters as this person's motion."""
        joints = shaped_joints(self.head, self.shape, expression)
        return Motion(
            factors=torch.cat([expression, pose_features(pose)], 1),
            transforms=joint_transforms(joints, pose, self.head.parents)[:, :, :3],
            translation=translation,
        )

    def move(self, motion: Motion, corrections: Corrections) -> Posed:
        """The mesh in this motion, in world space."""
        head_offsets = (motion.factors @ self._directions.T).unflatten(1, (-1, 3))
        base = self._template + head_offsets + corrections.offsets(motion.factors)
        rest = self.mesh.topology.carried(base) + self.mesh.offsets
        weights = self.skinning_weights_at_vertices(corrections)
        vertices = blend_transforms(rest, motion.transforms, weights) + motion.translation[:, None]
        visibility = None
        if self.visibility is not None:
            visibility = self.mesh.topology.carried(self.visibility(motion.factors, motion.head_rotation()))
        return Posed(vertices, vertex_normals(vertices, self.mesh.topology.faces), visibility)

    @torch.no_grad()
    def learn_visibility(self, motion: Motion, *, poses: int, rays: int) -> None:
        """Trace what the vertices see in `poses` moments of a track, and learn from them what they see in any.

        A track hardly ever opens the mouth as far as a driver may, so that is traced too.
        Nothing for an avatar without visibility. Changes buffers in place, which a captured step reads.
        """
        if self.visibility is None:
            return
        moves = self.head.expression_dirs.flatten(0, 1).norm(dim=0)
        opened = self._mouth_opened(motion)
        self.visibility.follow(torch.cat([motion.factors, opened.factors]), moves)
        track = motion[self.visibility.spread_out(motion.factors, poses)]
        chosen = Motion.joined(track, opened)
        corrections = self.corrections()
        # The head model's own vertices come first. Those between them interpolate: what they see changes little.
        own = slice(len(self.head.template))
        traced = [
            self.traced_visibility(self.move(chosen[i : i + 1], corrections), rays, own)
            for i in range(len(chosen.factors))
        ]
        self.visibility.learn(
            chosen.factors, chosen.head_rotation(), torch.cat(traced), self.eyeballs(chosen, len(self.head.template))
        )

    def eyeballs(self, motion: Motion, n: int) -> list[Eyeball]:
        """The parts of the first `n` vertices that turn with an eye, and where they look in the head's frame."""
        balls: list[Eyeball] = []
        carried, joints = self.mesh.topology.carried, self.joints()
        weights, places = carried(self.head.weights)[:n], carried(self._template)[:n]
        for joint in (Joint.EYE_LEFT, Joint.EYE_RIGHT):
            vertices, rest = eyeball(joint, weights, places, joints)
            turn = motion.head_rotation().transpose(1, 2) @ motion.transforms[:, joint, :, :3]
            balls.append(Eyeball(vertices, rest, rest @ turn.transpose(1, 2)))
        return balls

    def _mouth_opened(self, motion: Motion) -> Motion:
        """A track's mean expression, head upright, with ARKit's `jawOpen` at each of `MOUTH_OPEN`."""
        arkit, jaw = self.head.arkit, ARKIT_NAMES.index(JAW_OPEN)
        amount = self.shape.new_tensor(MOUTH_OPEN)[:, None]
        mean = motion.factors[:, : self.head.n_expression].mean(0)
        return self.motion(
            expression=mean + amount * arkit.expression[jaw],
            pose=amount[..., None] * arkit.pose[jaw],
            translation=self.shape.new_zeros(len(amount), 3),
        )

    def traced_visibility(self, posed: Posed, rays: int, which: slice | Tensor = slice(None)) -> Float[Tensor, "B N 9"]:
        """What these vertices see of the light in these very poses, by `rays` each.

        Where hair hangs over the head, or ends within it, either sees what it would without the other: what is inside
        would be black, and so would be what is next to it, and shows. Hair shares what its strands see nearby: where it
        turns into the head rows of vertices are now inside and now not, and it had stripes.
        """

        def traced(faces: Int[Tensor, "F 3"], which: slice | Tensor) -> Float[Tensor, "B N 9"]:
            return torch.stack(
                [
                    trace_visibility(vertices[which], normals[which], vertices, faces, rays)
                    for vertices, normals in zip(posed.vertices, posed.normals, strict=True)
                ]
            )

        faces = self.mesh.topology.faces
        visibility = traced(faces, which)
        if self.head.hanging_hair is None:
            return visibility
        hair = self.region_mask((HANGING_HAIR,))[:, 0] > 0
        index, is_hair = torch.arange(len(hair), device=hair.device)[which], hair[faces].any(1)
        alone = torch.empty_like(visibility)
        for kind in (False, True):
            same = hair[index] == kind
            alone[:, same] = traced(faces[is_hair == kind], index[same])
        upwards = (visibility * harmonics(posed.normals[:, which])).sum(-1, keepdim=True)
        visibility = torch.where(upwards < COVERED, alone, visibility)
        strands, places = hair[index], self.neutral_vertices()[index]
        visibility[:, strands] = softened(visibility[:, strands], places[strands], STRANDS)
        return visibility

    def posed(
        self,
        *,
        expression: Float[Tensor, "B E"],
        pose: Float[Tensor, "B J 3"],
        translation: Float[Tensor, "B 3"],
        corrections: Corrections | None = None,
    ) -> Posed:
        """The mesh with these parameters, in world space."""
        motion = self.motion(expression=expression, pose=pose, translation=translation)
        return self.move(motion, corrections or self.corrections())

    def neutral_vertices(self) -> Float[Tensor, "V 3"]:
        """The mesh at rest: the subject's shape and offsets, no expression, zero pose."""
        return self._vertex_constants().template + self.mesh.offsets

    def material_positions(self) -> Float[Tensor, "V 3"]:
        """Where each vertex looks up its material, in 0..1.

        The head's canonical pose without offsets: materials stick to the mesh while its geometry is still moving.
        """
        return self._vertex_constants().canonical

    def f0_at_vertices(self) -> Float[Tensor, "V 1"]:
        """Reflectance at normal incidence: one value on skin, another elsewhere."""
        f0, on_skin = self.spec.f0, self._vertex_constants().skin  # 0 on hair, eyes, teeth and inside the mouth
        return f0.skin * on_skin + f0.other * (1 - on_skin)

    def region_mask(self, names: tuple[str, ...]) -> Float[Tensor, "V 1"]:
        """1 in any of the head's regions `names`, 0 elsewhere; regions that this head does not have are empty."""
        regions = [self.head.regions[name] for name in names if name in self.head.regions]
        inside = (
            torch.stack(regions).any(0) if regions else torch.zeros_like(self.head.template[:, 0], dtype=torch.bool)
        )
        return self.mesh.topology.carried(inside.float()[:, None])

    def _vertex_constants(self) -> _VertexConstants:
        topology = self.mesh.topology
        if self._vertex_constants_cache is None or self._vertex_constants_cache.topology is not topology:
            regions = self.head.regions
            bare = regions["skin"] & ~regions["scalp"] & ~regions["brows"] & ~regions["inner_mouth"] & ~regions["eyes"]
            self._vertex_constants_cache = _VertexConstants(
                topology,
                topology.carried(self._template),
                topology.carried(self._canonical),
                topology.carried(bare.float()[:, None]),
            )
        return self._vertex_constants_cache

    def _canonical_positions(self) -> Float[Tensor, "V0 3"]:
        head = self.head
        pose = self._template.new_zeros(1, len(head.parents), 3)
        pose[0, Joint.JAW, 0] = self.spec.jaw_open
        positions = pose_vertices(
            head,
            shape=self.shape,
            expression=pose.new_zeros(1, head.n_expression),
            pose=pose,
            translation=pose.new_zeros(1, 3),
        )[0]
        low, high = positions.amin(0), positions.amax(0)
        side = (high - low).max() * (1 + MARGIN)
        return (positions - 0.5 * (low + high)) / side + 0.5


def _new_visibility(head: HeadModel, spec: AvatarSpec) -> PosedVisibility | None:
    if spec.light.visibility_factors == 0:
        return None
    return PosedVisibility(
        vertices=len(head.template),
        n_motion=head.n_expression + head.pose_dirs.shape[-1],
        factors=spec.light.visibility_factors,
        device=head.template.device,
    )
