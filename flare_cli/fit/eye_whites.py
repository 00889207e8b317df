"""Where the whites of the eyes are seen. Their colour is known, so they tell light from skin, as a grey card would."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flare_cli.data.celebamask import EYE_WHITE, Label
from flare_cli.fit.frames import Frames
from flare_cli.head.eyeballs import eyeball
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices
from flare_cli.render.raster.fragments import foreground, scatter
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.subject.track import Track

AT_ONCE = 8  # frames that are drawn at a time
# An iris of 11.8 mm takes 25 degrees of its ball on each side; and some more, for gazes are not found exactly.
BESIDE_IRIS = math.radians(30)


@torch.no_grad()
def with_eye_whites(frames: Frames, head: HeadModel, rasterizer: Rasterizer) -> Frames:
    """The same frames, labelled EYE_WHITE where an eye is labelled and the tracked head shows its ball beside the iris.

    `head` and `rasterizer` are on the device that draws. Heads without eyeballs find nothing.
    """
    label = frames.pictures.label.clone()
    for start in range(0, len(frames), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        white = _beside_iris(frames.track[part].to(head.template.device), head, rasterizer).to(label.device)
        eye = (label[part] == Label.EYE_LEFT) | (label[part] == Label.EYE_RIGHT)
        label[part] = torch.where(eye & white, EYE_WHITE, label[part])
    return replace(frames, pictures=replace(frames.pictures, label=label))


def _beside_iris(track: Track, head: HeadModel, rasterizer: Rasterizer) -> Bool[Tensor, "B H W"]:
    """Where an eyeball's white is before all else of the tracked head."""
    world = pose_vertices(
        head, shape=track.shape, expression=track.expression, pose=track.pose, translation=track.translation
    )
    cameras = track.cameras()
    fragments = rasterizer.rasterize(cameras.projections().clip(world), head.faces, cameras.height, cameras.width)
    pixels = foreground(fragments)
    white = rasterizer.interpolate(_white_vertices(head, track.shape)[None], head.faces, fragments, pixels)
    return scatter(white, pixels, (len(track), cameras.height, cameras.width), 0.0)[..., 0] > 0.5


def _white_vertices(head: HeadModel, shape: Float[Tensor, " S"]) -> Float[Tensor, "V 1"]:
    """1 on the balls beside the iris, 0 elsewhere."""
    places = head.template + head.shape_dirs @ shape
    joints = head.joints + head.joint_shape_dirs @ shape
    white = torch.zeros_like(places[:, :1])
    for joint in (Joint.EYE_LEFT, Joint.EYE_RIGHT):
        vertices, directions = eyeball(joint, head.weights, places, joints)
        white[vertices[directions[:, 2] < math.cos(BESIDE_IRIS)]] = 1
    return white
