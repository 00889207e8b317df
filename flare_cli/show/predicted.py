"""What somebody predicts for the frames of a truth, whoever it is: an avatar, the tracked template, another program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.maps import SurfaceMaps
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices
from flare_cli.render.camera import Cameras
from flare_cli.render.geometry import vertex_normals
from flare_cli.render.light.samples import SummedLight
from flare_cli.render.light.shading import Light, facing_normal_and_view
from flare_cli.render.light.turned import TurnedLight
from flare_cli.render.raster.fragments import foreground, scatter
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.show.track_pictures import CPU_BATCH, draw_track
from flare_cli.show.true_lights import TrueLights
from flare_cli.subject.track import Track
from flare_cli.subject.truth import Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Pictures from another camera: linear radiance over black, and coverage."""

    colour: Float[Tensor, "M H W 3"]
    coverage: Float[Tensor, "M H W"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A surface in every frame: camera axes, metres. The first `n_head` vertices are the head model's own."""

    vertices: Float[Tensor, "N V 3"]
    faces: Int[Tensor, "F 3"]
    n_head: int
    head_faces: Int[Tensor, "G 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Pictures of N frames, and what they are of; None where nothing is said.

    `colour` and `relit` are linear radiance over black. Normals, `light` and `mesh` are in camera axes.
    """

    coverage: Float[Tensor, "N H W"]
    colour: Float[Tensor, "N H W 3"] | None = None
    albedo: Float[Tensor, "N H W 3"] | None = None
    roughness: Float[Tensor, "N H W"] | None = None
    normal: Float[Tensor, "N H W 3"] | None = None
    depth: Float[Tensor, "N H W"] | None = None
    relit: Mapping[str, Float[Tensor, "N H W 3"]] = field(default_factory=dict)
    views: Mapping[str, View] = field(default_factory=dict)
    light: Light | None = None
    mesh: Mesh | None = None

    @classmethod
    def of_maps(cls, maps: SurfaceMaps) -> Prediction:
        """Of a surface alone."""
        return cls(
            coverage=maps.coverage,
            albedo=maps.albedo,
            roughness=maps.roughness,
            normal=maps.normal,
            depth=maps.depth,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AvatarPrediction:
    """What an avatar predicts, the maps that it was drawn from, and camera and light in the avatar's own world."""

    prediction: Prediction
    maps: SurfaceMaps
    camera: Cameras
    light: Light | SummedLight


def predicted_maps(
    avatar: Avatar, track: Track, rasterizer: Rasterizer
) -> tuple[SurfaceMaps, Float[Tensor, "N H W 3"]]:
    """An avatar's maps in the frames of `track`, filmed by one camera, and the pictures under its own light."""
    rotation = track.camera.camera_from_world[0, :, :3].to(avatar.device)
    maps: list[SurfaceMaps] = []
    colour: list[Float[Tensor, "B H W 3"]] = []
    for drawn in draw_track(avatar, track, rasterizer):
        picture = drawn.picture
        material, surface = picture.material, picture.surface
        maps.append(
            SurfaceMaps(
                coverage=picture.coverage[..., 0],
                albedo=picture.buffer(material.albedo),
                roughness=picture.buffer(material.roughness)[..., 0],
                specular=picture.buffer(material.specular)[..., 0],
                f0=picture.buffer(surface.f0)[..., 0],
                normal=picture.buffer(surface.normal) @ rotation.T,
                depth=surface.fragments.depth,
                visibility=None if surface.visibility is None else picture.buffer(surface.visibility),
            )
        )
        colour.append(picture.colour)
    return SurfaceMaps.joined(maps), torch.cat(colour)


def predicted_by_avatar(
    avatar: Avatar, track: Track, rasterizer: Rasterizer, truth: Truth, lights: TrueLights
) -> AvatarPrediction:
    """Everything that an avatar says of the frames of `truth`, which are those of `track`; `lights` in its world."""
    maps, recorded = predicted_maps(avatar, track, rasterizer)
    camera = track.camera[:1].to(avatar.device)
    rotation = camera.camera_from_world[0, :, :3]
    relit = {name: _drawn(avatar, track, rasterizer, light)[0] for name, light in lights.relit.items()}
    scale = scale_of_depth(maps.depth, truth)
    depth = float(truth.maps.depth[truth.inside].median())
    views: dict[str, View] = {}
    for name, view in truth.views.items():
        moved = camera_moved_alike(camera, truth.camera, view.camera, scale, depth)
        colour, coverage = _drawn(avatar, track[view.frames].with_camera(moved), rasterizer, avatar.light)
        views[name] = View(colour=colour, coverage=coverage)
    prediction = replace(
        Prediction.of_maps(maps),
        colour=recorded,
        relit=relit,
        views=views,
        light=TurnedLight(avatar.light, rotation.T),
        mesh=_mesh(avatar, track, camera),
    )
    return AvatarPrediction(prediction=prediction, maps=maps, camera=camera, light=avatar.light)


def _drawn(
    avatar: Avatar, track: Track, rasterizer: Rasterizer, light: Light | SummedLight
) -> tuple[Float[Tensor, "N H W 3"], Float[Tensor, "N H W"]]:
    images = [drawn.picture.image for drawn in draw_track(avatar, track, rasterizer, light=light)]
    image = torch.cat(images)
    return image[..., :3], image[..., 3]


def scale_of_depth(depth: Float[Tensor, "N H W"], truth: Truth) -> float:
    """How much larger the world of a prediction is: the median ratio of depths where both show the head."""
    shared = truth.inside & (depth > 0)
    return float((depth[shared] / truth.maps.depth[shared]).median()) if shared.any() else 1.0


def camera_moved_alike(own: Cameras, true: Cameras, true_view: Cameras, scale: float, depth: float) -> Cameras:
    """The camera that is to `own` what `true_view` is to `true`, for a head that `own` sees `scale` times as deep.

    The motion is the same rigid one, about the same place of the head: what `true` sees at `depth` (metres) on its
    axis. A head of the same size in both pictures is as much larger as `scale` times the ratio of the focal lengths
    says; the rest of `scale` is that a longer lens is farther away, in every view alike. The lens changes by the same
    ratio in both worlds, and the centre by the same shift in units of the focal length. Each argument is one camera,
    `true` and `true_view` make pictures of the size of `own`.
    """
    turn = true_view.camera_from_world[0, :, :3] @ true.camera_from_world[0, :, :3].T
    shift = true_view.camera_from_world[0, :, 3] - turn @ true.camera_from_world[0, :, 3]
    size = scale * float(true.intrinsics[0, 0] / own.intrinsics[0, 0])
    farther = shift.new_tensor([0.0, 0.0, (scale - size) * depth])
    seen = turn @ own.camera_from_world[0]
    seen = torch.cat([seen[:, :3], (seen[:, 3] + size * shift + farther - turn @ farther)[:, None]], 1)
    zoom = true_view.intrinsics[:, :2] / true.intrinsics[:, :2]
    focal = own.intrinsics[:, :2] * zoom
    centre = true_view.intrinsics[:, 2:] + (own.intrinsics[:, 2:] - true.intrinsics[:, 2:]) * zoom
    return Cameras(
        intrinsics=torch.cat([focal, centre], 1),
        camera_from_world=seen[None],
        height=true_view.height,
        width=true_view.width,
    )


def _mesh(avatar: Avatar, track: Track, camera: Cameras) -> Mesh:
    track = track.to(avatar.device)
    with torch.no_grad():
        posed = avatar.posed(expression=track.expression, pose=track.pose, translation=track.translation)
    seen = camera.camera_from_world[0]
    return Mesh(
        vertices=posed.vertices @ seen[:, :3].T + seen[:, 3],
        faces=avatar.mesh.topology.faces,
        n_head=len(avatar.head.template),
        head_faces=avatar.head.faces,
    )


def predicted_by_truth(truth: Truth) -> Prediction:
    """The truth itself as somebody's prediction: what scores as perfect, and what is shown of it."""
    mesh = truth.mesh
    return replace(
        Prediction.of_maps(truth.maps),
        colour=truth.picture.radiance,
        relit={name: relit.radiance for name, relit in truth.relit.items()},
        views={
            name: View(colour=view.picture.radiance, coverage=view.picture.coverage)
            for name, view in truth.views.items()
        },
        light=truth.light,
        mesh=None
        if mesh is None
        else Mesh(vertices=mesh.vertices, faces=mesh.faces, n_head=mesh.vertices.shape[1], head_faces=mesh.faces),
    )


def predicted_by_template(head: HeadModel, track: Track, rasterizer: Rasterizer) -> Prediction:
    """The tracked head model itself, without anything that was fitted: its silhouette, normals, depth and vertices."""
    camera = track.camera[:1]
    rotation, shift = camera.camera_from_world[0].split([3, 1], 1)
    world = pose_vertices(
        head, shape=track.shape, expression=track.expression, pose=track.pose, translation=track.translation
    )
    normals = vertex_normals(world, head.faces)
    projections = track.cameras().projections()
    clip = projections.clip(world)
    size = (camera.height, camera.width)
    buffers: list[Float[Tensor, "B H W 5"]] = []
    for part in torch.arange(len(track)).split(CPU_BATCH):
        fragments = rasterizer.rasterize(clip[part], head.faces, *size)
        pixels = foreground(fragments)
        surface = rasterizer.interpolate(torch.cat([world, normals], 2)[part], head.faces, fragments, pixels)
        normal, _ = facing_normal_and_view(surface, projections.centres[part], pixels.batch)
        depth = fragments.depth.flatten()[pixels.index][:, None]
        values = torch.cat([torch.ones_like(depth), normal @ rotation.T, depth], 1)
        buffers.append(scatter(values, pixels, (len(part), *size), 0.0))
    coverage, normal, depth = torch.cat(buffers).split([1, 3, 1], -1)
    mesh = Mesh(
        vertices=world @ rotation.T + shift[:, 0],
        faces=head.faces,
        n_head=len(head.template),
        head_faces=head.faces,
    )
    return Prediction(coverage=coverage[..., 0], normal=normal, depth=depth[..., 0], mesh=mesh)
