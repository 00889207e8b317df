"""How close a prediction is to the truth: the one code path for avatars, honest rows and other people's predictions.

The protocol, in words and with its reasons, is docs/benchmark.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flare_cli.data.celebamask import FACE, Label
from flare_cli.head.flame.surface import IndexedSurface
from flare_cli.render.colour import srgb_from_linear
from flare_cli.render.light.shading import Light, mirrored
from flare_cli.score.buffers import (
    angle_degrees,
    channel_factors,
    hue_degrees,
    intersection_over_union,
    mean_error,
    psnr_inside,
    psnr_of_all,
    relief_error,
)
from flare_cli.score.metrics import ssim_over_white
from flare_cli.score.shape import surface_distance, vertex_distance
from flare_cli.show.predicted import Prediction, View, scale_of_depth
from flare_cli.subject.truth import COVERED, TruePicture, Truth

# Eyeballs are left out of a face's shape: most of one is hidden, and its vertices turn with the gaze.
SHAPED = tuple(label for label in FACE if label not in (Label.EYE_LEFT, Label.EYE_RIGHT))
MILLIMETRES = 1000.0  # in a metre
BALL_SIZE = 128  # pixels across the balls that show the lights
# Smooth enough to show where lamps are, and not so smooth that a pixel's shift decides.
MIRROR_ROUGHNESS = 0.2
# True vertices whose distance from a mesh of another topology is taken, and rounds of iterated closest points before.
SURFACE_POINTS, ROUNDS = 2000, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LightScore:
    """PSNR of sRGB pictures: as they are, and with one factor per channel for all of them."""

    psnr: float | None
    psnr_aligned: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelitScore(LightScore):
    """The same of the head, and aligned on the face alone."""

    psnr_face_aligned: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedScore(RelitScore):
    """The same under the recording's light; the squared error over all pixels of the picture; mean SSIM over white."""

    psnr_all_pixels: float
    ssim: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewScore:
    """From another camera: PSNR of the sRGB picture on the head, and overlap of the outlines."""

    psnr: float | None
    silhouette_iou: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalScore:
    """Mean angle to the true normals, and the part of the head on which there are predicted ones."""

    degrees: float | None
    degrees_face: float | None
    covered: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlbedoScore:
    """PSNR of linear albedo, raw and with one factor per channel for all frames; the hue that is then still wrong."""

    psnr: float | None
    psnr_aligned: float | None
    hue_degrees: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthScores:
    """What docs/benchmark.md lists: dB where it says PSNR, higher is better; degrees and millimetres, lower is better.

    None where a prediction says nothing or the subject has no such truth. Surfaces (normals, depth, albedo, roughness)
    are compared where both show the head; `covered` is the part of the head on which the prediction shows something.
    """

    covered: float
    silhouette_iou: float
    picture: RecordedScore | None
    normal: NormalScore | None
    depth_mm: float | None
    albedo: AlbedoScore | None
    roughness: float | None
    vertices_mm: float | None
    light_matte: LightScore | None
    light_mirror: LightScore | None
    relit: Mapping[str, RelitScore] = field(default_factory=dict)
    views: Mapping[str, ViewScore] = field(default_factory=dict)

    def numbers(self) -> dict[str, float]:
        """All that are there, by dotted names such as `relit.studio.psnr`."""
        return dict(_leaves(asdict(self)))


def _leaves(tree: Mapping[str, object], before: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{before}{name}.")
        elif isinstance(value, float):
            found.append((before + name, value))
    return found


def score_against_truth(truth: Truth, prediction: Prediction) -> TruthScores:
    """Score everything that `prediction` says."""
    covered = prediction.coverage > COVERED
    depth = prediction.depth
    matte, mirror = _score_light(truth.light, prediction.light, truth.picture.radiance.device)
    return TruthScores(
        covered=_part(covered, truth.inside),
        silhouette_iou=intersection_over_union(covered & truth.picture.counted(), truth.inside),
        picture=_score_recorded(truth, prediction.colour),
        normal=_score_normals(truth, prediction.normal),
        depth_mm=None
        if depth is None
        else _millimetres(relief_error(depth, truth.maps.depth, truth.inside & (depth > 0))),
        albedo=_score_albedo(truth, prediction.albedo, covered),
        roughness=None
        if prediction.roughness is None
        else mean_error(prediction.roughness, truth.maps.roughness, truth.inside & covered),
        vertices_mm=_score_mesh(truth, prediction),
        light_matte=matte,
        light_mirror=mirror,
        relit={
            name: score_relit(drawn, truth.relit[name].radiance, truth)
            for name, drawn in prediction.relit.items()
            if name in truth.relit
        },
        views={
            name: _score_view(view, truth.views[name].picture)
            for name, view in prediction.views.items()
            if name in truth.views
        },
    )


def _part(shown: Bool[Tensor, "N H W"], inside: Bool[Tensor, "N H W"]) -> float:
    return float((shown & inside).sum() / inside.sum().clamp(min=1))


def display(linear: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """What a camera shows of linear radiance: sRGB in 0..1."""
    return srgb_from_linear(linear.clamp(0, 1))


def aligned(
    drawn: Float[Tensor, "*batch 3"], true: Float[Tensor, "*batch 3"], inside: Bool[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3"]:
    """Linear radiance times one factor per channel, found at the true pixels that the camera does not clip."""
    return drawn * channel_factors(drawn, true, inside & (true < 1).all(-1))


def score_relit(drawn: Float[Tensor, "N H W 3"], true: Float[Tensor, "N H W 3"], truth: Truth) -> RelitScore:
    """Linear radiance of the truth's frames."""
    drawn, true, face = drawn[truth.inside], true[truth.inside], truth.face[truth.inside]
    everywhere = torch.ones_like(face)
    shown, after = display(true), display(aligned(drawn, true, everywhere))
    return RelitScore(
        psnr=psnr_inside(display(drawn), shown, everywhere),
        psnr_aligned=psnr_inside(after, shown, everywhere),
        psnr_face_aligned=psnr_inside(after, shown, face),
    )


def _score_recorded(truth: Truth, colour: Float[Tensor, "N H W 3"] | None) -> RecordedScore | None:
    if colour is None:
        return None
    radiance = truth.picture.radiance
    relit = score_relit(colour, radiance, truth)
    drawn, true = display(colour), display(radiance)
    inside = truth.inside.cpu().numpy()
    with ThreadPoolExecutor() as pool:
        similar = list(pool.map(ssim_over_white, drawn.cpu().numpy(), true.cpu().numpy(), inside.astype(np.float32)))
    return RecordedScore(
        psnr=relit.psnr,
        psnr_aligned=relit.psnr_aligned,
        psnr_face_aligned=relit.psnr_face_aligned,
        psnr_all_pixels=psnr_of_all(drawn, true, truth.inside),
        ssim=float(np.mean(similar)),
    )


def _score_normals(truth: Truth, normal: Float[Tensor, "N H W 3"] | None) -> NormalScore | None:
    if normal is None:
        return None
    seen = (normal != 0).any(-1) & (truth.maps.normal != 0).any(-1)
    return NormalScore(
        degrees=angle_degrees(normal, truth.maps.normal, truth.inside & seen),
        degrees_face=angle_degrees(normal, truth.maps.normal, truth.face & seen),
        covered=_part(seen, truth.inside),
    )


def _score_albedo(
    truth: Truth, albedo: Float[Tensor, "N H W 3"] | None, covered: Bool[Tensor, "N H W"]
) -> AlbedoScore | None:
    if albedo is None:
        return None
    true, inside = truth.maps.albedo, truth.inside & covered
    after = albedo * channel_factors(albedo, true, inside)
    return AlbedoScore(
        psnr=psnr_inside(albedo, true, inside),
        psnr_aligned=psnr_inside(after, true, inside),
        hue_degrees=hue_degrees(after, true, inside),
    )


def _score_view(view: View, true: TruePicture) -> ViewScore:
    inside = true.head()
    return ViewScore(
        psnr=psnr_inside(display(view.colour), display(true.radiance), inside),
        silhouette_iou=intersection_over_union((view.coverage > COVERED) & true.counted(), inside),
    )


def _score_light(true: Light, light: Light | None, device: torch.device) -> tuple[LightScore | None, LightScore | None]:
    """On a white matte ball, and on a mirror ball of MIRROR_ROUGHNESS, both seen from afar along the camera's axis."""
    if light is None:
        return None, None
    scores: list[LightScore] = []
    for drawn, wanted in zip(light_on_balls(light, device), light_on_balls(true, device), strict=True):
        everywhere = torch.ones(len(wanted), dtype=torch.bool, device=wanted.device)
        shown, after = display(wanted), display(aligned(drawn, wanted, everywhere))
        scores.append(
            LightScore(
                psnr=psnr_inside(display(drawn), shown, everywhere),
                psnr_aligned=psnr_inside(after, shown, everywhere),
            )
        )
    return scores[0], scores[1]


def light_on_balls(light: Light, device: torch.device) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]]:
    """Radiance of the matte and of the mirror ball, at the pixels of their discs (`ball_normals`)."""
    normal, _ = ball_normals(device)
    view = normal.new_tensor([0.0, 0.0, -1.0]).expand_as(normal).contiguous()
    with torch.no_grad():
        return light.diffuse(normal), light.specular(
            mirrored(normal, view), torch.full_like(normal[:, :1], MIRROR_ROUGHNESS)
        )


def ball_normals(device: torch.device) -> tuple[Float[Tensor, "P 3"], Bool[Tensor, "size size"]]:
    """Unit normals in camera axes of the half of a ball that the camera sees, and the pixels of its disc."""
    place = (torch.arange(BALL_SIZE, device=device) + 0.5) / BALL_SIZE * 2 - 1
    y, x = torch.meshgrid(place, place, indexing="ij")
    disc = x.square() + y.square() < 1
    normal = torch.stack([x, y, -(1 - x.square() - y.square()).clamp(min=0).sqrt()], -1)[disc]
    return normal, disc


def _score_mesh(truth: Truth, prediction: Prediction) -> float | None:
    """Millimetres between faces: vertex to vertex in a topology that both share, else true vertex to drawn surface."""
    true, mesh = truth.mesh, prediction.mesh
    if true is None or mesh is None:
        return None
    face = np.isin(true.labels.cpu().numpy(), SHAPED)
    if not face.any():
        return None
    wanted = true.vertices.double().cpu().numpy()[:, face]
    drawn = mesh.vertices.double().cpu().numpy()
    if mesh.n_head == len(face) and torch.equal(mesh.head_faces.long(), true.faces.long()):
        corresponding = drawn[:, : mesh.n_head][:, face]
        return MILLIMETRES * float(np.mean([vertex_distance(d, t) for d, t in zip(corresponding, wanted, strict=True)]))
    chosen = np.linspace(0, wanted.shape[1] - 1, min(SURFACE_POINTS, wanted.shape[1])).astype(int)
    faces = mesh.faces.cpu().numpy()
    scale = 1.0 if prediction.depth is None else scale_of_depth(prediction.depth, truth)

    def distance(frame: int) -> float:
        surface = IndexedSurface(drawn[frame], faces)
        edges = surface.corners[:, 1:] - surface.corners[:, :1]
        normals = np.cross(edges[:, 0], edges[:, 1])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)

        def closest(points: Float[np.ndarray, "N 3"]) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "N 3"]]:
            found = surface.closest(points)
            return found.place, normals[found.face]

        return surface_distance(wanted[frame][chosen], closest, scale=scale, rounds=ROUNDS)

    with ThreadPoolExecutor() as pool:
        return MILLIMETRES * float(np.mean(list(pool.map(distance, range(len(wanted))))))


def _millimetres(metres: float | None) -> float | None:
    return None if metres is None else MILLIMETRES * metres
