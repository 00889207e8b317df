"""The loss terms of a fit, each a small function of what was drawn (docs/method.md lists their sources and weights)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.deformer import Corrections
from flare_cli.avatar.picture import Picture
from flare_cli.config.schema import LossSettings
from flare_cli.fit.frames import Frames
from flare_cli.fit.perceptual import PerceptualDistance
from flare_cli.render.colour import tone_mapped
from flare_cli.render.geometry import adjacent_faces, face_normals, mesh_edges, uniform_laplacian

ROUGHNESS_ON_SKIN = (0.5, 0.1)
SPECULAR_ON_SKIN = (0.3753, 0.1655)
DELICATE = ("eyelids", "eyes", "eye_sockets", "lips", "inner_mouth", "teeth", "tongue")
POSITION_JITTER = 0.01
SMOOTHNESS_RAMP, PERCEPTUAL_RAMP = 500, 600  # steps, method.md


@dataclass(frozen=True, slots=True)
class MeshGraph:
    """Who is whose neighbour in a mesh."""

    faces: Int[Tensor, "F 3"]
    edges: Int[Tensor, "N 2"]
    face_pairs: Int[Tensor, "M 2"]


def mesh_graph(faces: Int[Tensor, "F 3"]) -> MeshGraph:
    """Find the neighbours once per topology."""
    return MeshGraph(faces, mesh_edges(faces), adjacent_faces(faces))


@dataclass(frozen=True, slots=True)
class Step:
    """Everything a loss may look at in one step."""

    avatar: Avatar
    corrections: Corrections
    picture: Picture
    target: Frames
    graph: MeshGraph
    step: int
    generator: torch.Generator


def loss_terms(at: Step, weights: LossSettings, perceptual: PerceptualDistance | None) -> dict[str, Tensor]:
    """The weighted terms by name; terms of weight 0 are not computed. Their sum is the loss."""
    smoother = weights.after_subdivision if at.avatar.mesh.subdivisions else 1.0
    prior = 0.5 if at.step >= weights.prior_halved_at else 1.0
    radiance, coverage = at.target.radiance(), at.target.coverage()
    predicted = tone_mapped(at.picture.colour * coverage)
    wanted = tone_mapped(radiance)
    terms: dict[str, tuple[float, object]] = {
        "colour": (weights.colour, lambda: (predicted - wanted).abs().mean()),
        "mask": (weights.mask, lambda: (at.picture.coverage - coverage).square().mean()),
        "laplacian": (weights.laplacian * smoother, lambda: laplacian_term(at, weights.laplacian_of)),
        "delicate": (weights.delicate, lambda: delicate_offsets(at.avatar)),
        "normal": (weights.normal * smoother, lambda: normal_consistency(at.graph, at.avatar.neutral_vertices())),
        "prior_weights": (weights.prior_weights * prior, lambda: weights_prior(at)),
        "prior_expression": (weights.prior_expression * prior, lambda: direction_prior(at.corrections.expression_dirs)),
        "prior_pose": (weights.prior_pose * prior, lambda: direction_prior(at.corrections.pose_dirs)),
        "albedo_smoothness": (
            weights.albedo_smoothness * min(1.0, at.step / SMOOTHNESS_RAMP),
            lambda: albedo_smoothness(at, weights.albedo_samples),
        ),
        "white_light": (weights.white_light, lambda: white_light(at.picture.shaded.diffuse)),
        "light_level": (weights.light_level, lambda: light_level(at.picture.shaded.diffuse)),
        "albedo_even": (
            weights.albedo_even,
            lambda: albedo_evenness(at.picture.material.albedo, at.picture.surface.skin),
        ),
        "roughness_skin": (
            weights.roughness_skin,
            lambda: hinge_on_skin(at.picture.material.roughness, at.picture.surface.skin, ROUGHNESS_ON_SKIN),
        ),
        "specular_skin": (
            weights.specular_skin,
            lambda: hinge_on_skin(at.picture.material.specular, at.picture.surface.skin, SPECULAR_ON_SKIN),
        ),
    }
    if perceptual is not None:
        ramp = min(1.0, PERCEPTUAL_RAMP / (at.step + 1))
        terms["perceptual"] = (weights.perceptual * ramp, lambda: perceptual(predicted, wanted))
    return {name: weight * term() for name, (weight, term) in terms.items() if weight > 0}  # type: ignore[operator]


def laplacian_term(at: Step, of: str) -> Float[Tensor, ""]:
    """Mean squared norm of the uniform Laplacian (metres x 4, the published unit) of the mesh or of its offsets."""
    values = at.avatar.neutral_vertices() if of == "vertices" else at.avatar.mesh.offsets
    return (4 * uniform_laplacian(values[None], at.graph.edges)).square().sum(-1).mean()


def delicate_offsets(avatar: Avatar) -> Float[Tensor, ""]:
    """Squared offsets (metres x 4) of lids, lips, eyes and the inside of the mouth, mean over those vertices.

    The track places them well; free offsets there break blinks and lips that the head model closes.
    """
    delicate = avatar.region_mask(DELICATE)
    return ((4 * avatar.mesh.offsets).square() * delicate).sum() / delicate.sum()


def normal_consistency(graph: MeshGraph, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, ""]:
    """Mean of (1 - cos)² between the normals of faces that share an edge."""
    normals = face_normals(vertices[None], graph.faces)[0]
    first, second = (normals.index_select(0, graph.face_pairs[:, i]) for i in (0, 1))
    return (1 - (first * second).sum(-1)).square().mean()


def weights_prior(at: Step) -> Float[Tensor, ""]:
    """Squared distance of skinning weights to the head model's, per vertex."""
    return (at.avatar.skinning_weights(at.corrections) - at.avatar.head.weights).square().sum(-1).mean()


def direction_prior(difference: Float[Tensor, "V 3 K"]) -> Float[Tensor, ""]:
    """Squared size of the corrections in the published unit: metres x 4, directions x 10."""
    return (40 * difference).square().mean()


def albedo_smoothness(at: Step, fraction: float) -> Float[Tensor, ""]:
    """Change of albedo under a small jitter of position, under a robust loss (adaptive robust loss, alpha = 1)."""
    canonical, albedo = at.picture.surface.canonical.detach(), at.picture.material.albedo
    if fraction < 1:
        n = max(1, int(fraction * len(canonical)))
        chosen = torch.randint(len(canonical), (n,), generator=at.generator).to(canonical.device)
        canonical, albedo = canonical[chosen], albedo.index_select(0, chosen)
    jitter = torch.randn(canonical.shape, generator=at.generator).to(canonical.device)
    other = at.avatar.material(canonical + POSITION_JITTER * jitter).albedo
    return ((albedo - other).square() / 0.1**2 + 1).sqrt().sub(1).mean()


def albedo_evenness(albedo: Float[Tensor, "P 3"], skin: Float[Tensor, "P 1"]) -> Float[Tensor, ""]:
    """L1 distance of skin albedo to its mean over the skin: what can be light should be light, not paint.

    A sparse prior (as Barron and Malik's parsimony, SIRFS 2015): moles and lips may differ, smooth shading may not.
    """
    mean = (albedo * skin).sum(0) / skin.sum().clamp(min=1)
    return ((albedo - mean).abs() * skin).sum() / (3 * skin.sum().clamp(min=1))


def white_light(diffuse: Float[Tensor, "P 3"]) -> Float[Tensor, ""]:
    """L1 distance of the diffuse light to its own grey."""
    return (diffuse - diffuse.mean(-1, keepdim=True)).abs().mean()


def light_level(diffuse: Float[Tensor, "P 3"]) -> Float[Tensor, ""]:
    """Squared log of the mean diffuse light: sets the one free factor between light and albedo."""
    return diffuse.mean().log().square()


def hinge_on_skin(
    values: Float[Tensor, "P 1"], skin: Float[Tensor, "P 1"], normal: tuple[float, float]
) -> Float[Tensor, ""]:
    """Zero within two standard deviations of the mean, linear outside; skin only."""
    mean, deviation = normal
    outside = ((values - mean).abs() - 2 * deviation).clamp(min=0)
    return (outside * skin).sum() / skin.sum().clamp(min=1)
