"""What an avatar has to be better than, what could be reached, and which of its maps costs how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from flare_cli.avatar.maps import SurfaceMaps, shade_maps
from flare_cli.data.celebamask import BARE_SKIN
from flare_cli.errors import SubjectError
from flare_cli.fit.frames import Frames
from flare_cli.head.model import HeadModel
from flare_cli.render.camera import Cameras
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.show.predicted import AvatarPrediction, Prediction, View, predicted_by_template
from flare_cli.show.true_lights import TrueLights
from flare_cli.subject.truth import Truth

Replacement: TypeAlias = Callable[[SurfaceMaps, SurfaceMaps], SurfaceMaps]


def nothing_done(head: HeadModel, frames: Frames, rasterizer: Rasterizer, truth: Truth) -> Prediction:
    """Without a fit: the tracked template, its albedo the mean colour of skin, and the recorded picture for all others.

    The picture is the relit one under every light, and the view from every camera. `frames` are those of `truth`.
    """
    template = predicted_by_template(head, frames.track, rasterizer)
    recorded, mask = frames.pictures.radiance(), frames.pictures.coverage()[..., 0]
    return replace(
        template,
        coverage=mask,
        albedo=mean_skin_colour(frames).expand_as(recorded),
        colour=recorded,
        relit=dict.fromkeys(truth.relit, recorded),
        views={
            name: View(colour=recorded[view.frames], coverage=mask[view.frames]) for name, view in truth.views.items()
        },
    )


def mean_skin_colour(frames: Frames) -> Float[Tensor, "3"]:
    """Mean linear colour of the recorded skin. Raises `SubjectError` where no pixel is labelled as skin."""
    pictures = frames.pictures
    skin = torch.isin(pictures.label, torch.tensor(BARE_SKIN, dtype=torch.uint8, device=pictures.label.device))
    if not skin.any():
        raise SubjectError("no pixel of the scored frames is labelled as skin", hint="run `flare preprocess` again")
    return pictures.radiance()[skin].mean(0)


def perfect_maps(truth: Truth, lights: TrueLights) -> Prediction:
    """The true surface through our shading model, under the true `lights`: what no fit of this model can pass."""
    return replace(
        Prediction.of_maps(truth.maps),
        colour=shade_maps(truth.maps, lights.recording, truth.camera),
        relit=_relit(truth.maps, lights, truth.camera),
        light=truth.light,
    )


def attributed(avatar: AvatarPrediction, truth: Truth, lights: TrueLights) -> dict[str, Prediction]:
    """Pictures made of the avatar's maps, all its own at first, and then with one of them replaced by the true one.

    By shading maps without antialiasing, so they compare with "own maps" and not with the avatar's own drawing.
    `lights` are the true ones in the avatar's world.
    """
    rows: dict[str, Prediction] = {}
    for name, replaced in REPLACEMENTS.items():
        maps = replaced(avatar.maps, truth.maps)
        rows[name] = Prediction(
            coverage=maps.coverage,
            colour=shade_maps(maps, avatar.light, avatar.camera),
            relit=_relit(maps, lights, avatar.camera),
        )
    recorded = shade_maps(avatar.maps, lights.recording, avatar.camera)
    rows[TRUE_LIGHT] = replace(rows[OWN], colour=recorded, relit={})
    return rows


def _relit(maps: SurfaceMaps, lights: TrueLights, camera: Cameras) -> Mapping[str, Float[Tensor, "N H W 3"]]:
    return {name: shade_maps(maps, light, camera) for name, light in lights.relit.items()}


def _own(own: SurfaceMaps, true: SurfaceMaps) -> SurfaceMaps:
    return own


def _true_normals(own: SurfaceMaps, true: SurfaceMaps) -> SurfaceMaps:
    known = (true.normal != 0).any(-1, keepdim=True)
    return replace(own, normal=torch.where(known, true.normal, own.normal))


def _true_albedo(own: SurfaceMaps, true: SurfaceMaps) -> SurfaceMaps:
    return replace(own, albedo=torch.where((true.coverage > 0)[..., None], true.albedo, own.albedo))


def _true_gloss(own: SurfaceMaps, true: SurfaceMaps) -> SurfaceMaps:
    known = true.coverage > 0
    return replace(
        own,
        roughness=torch.where(known, true.roughness, own.roughness),
        specular=torch.where(known, true.specular, own.specular),
        f0=torch.where(known, true.f0, own.f0),
    )


def _true_silhouette(own: SurfaceMaps, true: SurfaceMaps) -> SurfaceMaps:
    """The true coverage; where the avatar shows nothing there, its nearest pixel."""
    nearest = torch.stack([nearest_seen(normal) for normal in own.normal])
    filled: dict[str, Tensor] = {}
    for field in fields(SurfaceMaps):
        values: Tensor | None = getattr(own, field.name)
        if values is not None:
            filled[field.name] = values.flatten(1, 2).gather(1, _like(nearest, values)).view_as(values)
    return replace(SurfaceMaps(**filled), coverage=true.coverage)


def _like(index: Int[Tensor, "N P"], values: Tensor) -> Int[Tensor, "N P *C"]:
    return index if values.dim() == 3 else index[..., None].expand(-1, -1, values.shape[-1])


def nearest_seen(surface: Float[Tensor, "H W C"]) -> Int[Tensor, " P"]:
    """For each pixel the flat index of the nearest that shows a surface, where not all is 0: itself where it does."""
    empty = (surface == 0).all(-1).cpu().numpy()
    if empty.all():
        return torch.arange(empty.size, device=surface.device)
    places: Any = distance_transform_edt(empty, return_distances=False, return_indices=True)
    row, column = places
    return torch.from_numpy(row.astype(np.int64) * empty.shape[1] + column).flatten().to(surface.device)


OWN, TRUE_LIGHT = "own maps", "true light"
REPLACEMENTS: Mapping[str, Replacement] = {
    OWN: _own,
    "true normals": _true_normals,
    "true albedo": _true_albedo,
    "true gloss": _true_gloss,
    "true silhouette": _true_silhouette,
}
