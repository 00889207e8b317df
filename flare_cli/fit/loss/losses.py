"""The loss terms of a fit, each a small function of what was drawn (docs/method.md lists their sources and weights)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.deformer import Corrections
from flare_cli.avatar.material import Material
from flare_cli.avatar.picture import Picture
from flare_cli.config.schema import LossSettings
from flare_cli.data.celebamask import EYE_WHITE, FIBRES
from flare_cli.fit.frames import Pictures
from flare_cli.fit.loss.perceptual import PerceptualDistance
from flare_cli.fit.loss.photometric import photometric_loss
from flare_cli.fit.loss.skin_terms import label_table, skin_terms
from flare_cli.fit.schedule import Ramps
from flare_cli.render.colour import linear_from_srgb, tone_mapped
from flare_cli.render.geometry import mesh_edges, normal_consistency, twin_half_edges, uniform_laplacian
from flare_cli.render.noise import normal_noise, uniform_noise
from flare_cli.render.raster.fragments import Pixels

Mean = Callable[[Tensor], Tensor]
# Regions whose free offsets are held back. With weight 100 and a smoother mesh normals were 8.3 instead of 12.8 degrees
# off (docs/experiments.md, "Light that learns").
DELICATE = ("eyelids", "eyes", "eye_sockets", "lips", "inner_mouth", "teeth", "tongue")
POSITION_JITTER = 0.01  # standard deviation along each axis of the material cube, as published (docs/method.md)
# Change of albedo from which the robust loss grows linearly instead of squared. Where it was taken from is not noted.
ROBUST_SCALE = 0.1
# Linear albedo of the white of an eye (the benchmark's people have 0.55, the demo's 0.70), and how much more its bright
# pixels count: at 256 x 256 it is four pixels wide, most of which show lashes or lids too. With power 7 the level of
# five lights was found within 0.2 stops, evenly weighed within 0.4 (docs/experiments.md, "The whites of the eyes").
EYE_WHITE_ALBEDO, EYE_WHITE_POWER = 0.55, 7


@dataclass(frozen=True, slots=True)
class MeshGraph:
    """Which vertices and which faces of a mesh are neighbours."""

    faces: Int[Tensor, "F 3"]
    edges: Int[Tensor, "N 2"]
    twins: Int[Tensor, "F 3"]


def mesh_graph(faces: Int[Tensor, "F 3"]) -> MeshGraph:
    """Find the neighbours. They stay the same until the mesh is subdivided."""
    return MeshGraph(faces, mesh_edges(faces), twin_half_edges(faces))


@dataclass(frozen=True, slots=True)
class LossInputs:
    """Everything a loss may look at in one step. `seed` (int32) is that of its random numbers."""

    avatar: Avatar
    corrections: Corrections
    picture: Picture
    target: Pictures
    graph: MeshGraph
    ramps: Ramps
    seed: Int[Tensor, "1"]


def loss_terms(inputs: LossInputs, weights: LossSettings, perceptual: PerceptualDistance | None) -> dict[str, Tensor]:
    """The weighted terms by name; terms of weight 0 are not computed. Their sum is the loss."""
    avatar, corrections, picture, target = inputs.avatar, inputs.corrections, inputs.picture, inputs.target
    graph, ramps, mean = inputs.graph, inputs.ramps, picture.surface.pixels.mean
    smoother = weights.after_subdivision if avatar.mesh.subdivisions else 1.0
    colour, mask = photometric_loss(picture.image, target.image, target.mask, target.label)

    @functools.cache
    def skin() -> tuple[Tensor, Tensor, Tensor]:
        return skin_terms(picture.material, picture.surface.pixels, target.label)

    terms: dict[str, tuple[float, Callable[[], Tensor]]] = {
        "colour": (weights.colour, lambda: colour),
        "mask": (weights.mask, lambda: mask),
        "laplacian": (weights.laplacian * smoother, lambda: laplacian_term(inputs, weights.laplacian_of)),
        "delicate": (weights.delicate, lambda: held_offsets(avatar, DELICATE)),
        "face": (weights.face, lambda: held_offsets(avatar, ("face",))),
        "ears": (weights.ears, lambda: held_offsets(avatar, ("ears",))),
        "normal": (
            weights.normal * smoother,
            lambda: normal_consistency(avatar.neutral_vertices(), graph.faces, graph.twins),
        ),
        "prior_weights": (weights.prior_weights, lambda: ramps.prior * weights_prior(inputs)),
        "prior_expression": (
            weights.prior_expression,
            lambda: ramps.prior * direction_prior(corrections, corrections.expression),
        ),
        "prior_pose": (weights.prior_pose, lambda: ramps.prior * direction_prior(corrections, corrections.pose)),
        "albedo_smoothness": (
            weights.albedo_smoothness,
            lambda: ramps.smoothness * albedo_smoothness(inputs, weights.albedo_samples),
        ),
        "white_light": (weights.white_light, lambda: white_light(picture.shaded.diffuse, mean)),
        "light_level": (
            weights.light_level,
            lambda: light_level(
                picture.shaded.diffuse,
                mean,
                usual_level(picture, target) ** weights.level_by_eyes if weights.level_by_eyes > 0 else None,
            ),
        ),
        "albedo_even": (weights.albedo_even, lambda: skin()[0]),
        "roughness_skin": (weights.roughness_skin, lambda: skin()[1]),
        "specular_skin": (weights.specular_skin, lambda: skin()[2]),
        "fibre_gloss": (
            weights.fibre_gloss,
            lambda: fibre_gloss(picture.material, picture.surface.pixels, target.label),
        ),
    }
    if perceptual is not None:
        terms["perceptual"] = (weights.perceptual, lambda: ramps.perceptual * perceptual_term(inputs, perceptual))
    return {name: weight * term() for name, (weight, term) in terms.items() if weight > 0}


def perceptual_term(inputs: LossInputs, distance: PerceptualDistance) -> Float[Tensor, ""]:
    """Distance of the features of tone-mapped pictures, both times the mask."""
    predicted = tone_mapped(inputs.picture.colour * inputs.target.coverage())
    return distance(predicted, tone_mapped(inputs.target.radiance()))


def laplacian_term(inputs: LossInputs, of: str) -> Float[Tensor, ""]:
    """Mean squared norm of the uniform Laplacian (metres x 4, the published unit) of the mesh or of its offsets."""
    values = inputs.avatar.neutral_vertices() if of == "vertices" else inputs.avatar.mesh.offsets
    return (4 * uniform_laplacian(values, inputs.graph.edges)).square().sum(-1).mean()


def held_offsets(avatar: Avatar, regions: tuple[str, ...]) -> Float[Tensor, ""]:
    """Squared offsets (metres x 4) of some of the head's regions, mean over their vertices.

    The track places lids, lips and eyes well; free offsets there break blinks and lips that the head model closes. A
    whole face is smoother and nearer to the truth than offsets make it (docs/experiments.md).
    """
    held = avatar.region_mask(regions)
    return ((4 * avatar.mesh.offsets).square() * held).sum() / held.sum().clamp(min=1)


def weights_prior(inputs: LossInputs) -> Float[Tensor, ""]:
    """Squared distance of skinning weights to the head model's, per vertex."""
    return (inputs.avatar.skinning_weights(inputs.corrections) - inputs.avatar.head.weights).square().sum(-1).mean()


def direction_prior(corrections: Corrections, directions: Float[Tensor, "3 K D"]) -> Float[Tensor, ""]:
    """Squared size of the corrections in the published unit: metres x 4, directions x 10."""
    return 40**2 * corrections.mean_square(directions)


def albedo_smoothness(inputs: LossInputs, fraction: float) -> Float[Tensor, ""]:
    """Change of albedo under a small jitter of position, under a robust loss (Barron, CVPR 2019, with alpha = 1).

    Measured on a `fraction` of the pixels: a quarter costs no quality (docs/experiments.md, "from 60 ms to 9 ms").
    """
    surface, albedo = inputs.picture.surface, inputs.picture.material.albedo
    canonical, pixels, mean = surface.canonical.detach(), surface.pixels, surface.pixels.mean
    if fraction < 1:
        n = math.ceil(fraction * len(canonical))
        n_listed = len(canonical) if pixels.n_covered is None else pixels.n_covered.clamp(max=len(canonical))
        # One pixel out of each n-th of the list: less noise than n out of all, and neighbours stay neighbours.
        strata = torch.arange(n, device=canonical.device) + uniform_noise(inputs.seed, n)
        chosen = (strata * (n_listed / max(n, 1))).long().clamp(max=len(canonical) - 1)
        canonical, albedo, mean = canonical[chosen], albedo.index_select(0, chosen), torch.mean
    jitter = normal_noise(inputs.seed, len(canonical))
    jittered = inputs.avatar.material(canonical + POSITION_JITTER * jitter).albedo
    return mean(((albedo - jittered).square() / ROBUST_SCALE**2 + 1).sqrt() - 1)


def labels_at(pixels: Pixels, labels: UInt8[Tensor, "B H W"]) -> UInt8[Tensor, " P"]:
    """The label of each pixel; 0 for the padding, which has the index behind the last one."""
    return torch.cat([labels.flatten(), labels.new_zeros(1)])[pixels.index]


def fibre_gloss(material: Material, pixels: Pixels, labels: UInt8[Tensor, "B H W"]) -> Float[Tensor, ""]:
    """Mean of 1 - roughness over the pixels labelled as hair, brows, cloth or hat; 0 where there are none.

    Each of them holds many strands, lit from many sides and in each other's shade: as one smooth surface with the gloss
    of a strand they would shine far too much in grazing light (docs/benchmark.md, "Attribution").
    """
    is_fibre = label_table(FIBRES, labels.device)[labels_at(pixels, labels).int()]
    return (is_fibre * (1 - material.roughness[:, 0])).sum() / is_fibre.sum().clamp(min=1)


def white_light(diffuse: Float[Tensor, "P 3"], mean: Mean = torch.mean) -> Float[Tensor, ""]:
    """L1 distance of the diffuse light to its own grey."""
    return mean((diffuse - diffuse.mean(-1, keepdim=True)).abs())


def light_level(
    diffuse: Float[Tensor, "P 3"], mean: Mean = torch.mean, usual: Float[Tensor, ""] | None = None
) -> Float[Tensor, ""]:
    """Squared log of the mean diffuse light over a `usual` one (1): pictures leave its share of the albedo open."""
    level = mean(diffuse)
    return (level if usual is None else level / usual).log().square()


@torch.no_grad()
def usual_level(picture: Picture, target: Pictures) -> Float[Tensor, ""]:
    """The mean diffuse light at which the whites of the eyes have the albedo of such; 1 where none are seen."""
    pixels, diffuse = picture.surface.pixels, picture.shaded.diffuse.mean(-1)
    image = target.image.flatten(0, 2)
    recorded = linear_from_srgb(image[pixels.index.clamp(max=len(image) - 1)].float() / 255).mean(-1)
    share = recorded**EYE_WHITE_POWER * (labels_at(pixels, target.label) == EYE_WHITE)
    share = share / share.sum().clamp(min=1e-20)
    is_seen = share.sum() > 0
    arrives = (share * recorded).sum() / EYE_WHITE_ALBEDO
    drawn = (share * diffuse).sum() / pixels.mean(picture.shaded.diffuse)
    return torch.where(is_seen, arrives / torch.where(is_seen, drawn, 1.0), 1.0)
