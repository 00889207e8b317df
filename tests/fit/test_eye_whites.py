import math
from dataclasses import replace

import torch

from flare_cli.data.celebamask import EYE_WHITE, Label
from flare_cli.fit.eye_whites import BESIDE_IRIS, with_eye_whites
from flare_cli.fit.frames import Frames, Pictures
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices
from flare_cli.render.backend import choose_rasterizer

SIZE, GAZES = 512, (-0.4, 0.4)


def looking(head: HeadModel, frames: Frames) -> Frames:
    """A head whose left eye looks to both sides, everything labelled as that eye."""
    zero = torch.zeros
    pose = zero(len(GAZES), len(head.parents), 3)
    pose[:, Joint.EYE_LEFT, 1] = torch.tensor(GAZES)
    track = replace(
        frames.track,
        frames=torch.arange(len(GAZES)),
        expression=zero(len(GAZES), head.n_expression),
        pose=pose,
        translation=zero(len(GAZES), 3),
        shape=zero(head.n_shape),
        video=None,
    ).resized(SIZE, SIZE)
    shape = (len(GAZES), SIZE, SIZE)
    label = torch.full(shape, int(Label.EYE_LEFT), dtype=torch.uint8)
    image, mask = torch.zeros(*shape, 3, dtype=torch.uint8), torch.full(shape, 255, dtype=torch.uint8)
    return Frames(track=track, pictures=Pictures(image=image, mask=mask, label=label))


def test_whites_are_what_of_a_ball_lies_beside_its_iris(toy_frames, open_head):
    frames = looking(open_head, toy_frames)
    label = with_eye_whites(frames, open_head, choose_rasterizer()).pictures.label
    track, cameras = frames.track, frames.track.cameras()
    centre = open_head.joints[Joint.EYE_LEFT]
    ball = open_head.weights[:, Joint.EYE_LEFT] > 0.5
    world = pose_vertices(
        open_head, shape=track.shape, expression=track.expression, pose=track.pose, translation=track.translation
    )
    radius = float((open_head.template[ball] - centre).norm(dim=1).median())
    for i, gaze in enumerate(GAZES):
        # Points of a sphere about the joint: on the gaze's axis, and well beside it towards the nose and the temple.
        def seen(angle: float, i: int = i, gaze: float = gaze) -> int:
            towards = torch.tensor([math.sin(gaze + angle), 0.0, math.cos(gaze + angle)])
            x, y = cameras.project((centre + radius * towards).expand(len(GAZES), 1, 3))[i, 0].tolist()
            return int(label[i, int(y), int(x)])

        assert seen(0.0) == Label.EYE_LEFT
        assert seen(math.copysign(BESIDE_IRIS + 0.15, -gaze)) == EYE_WHITE
        white = torch.nonzero(label[i] == EYE_WHITE).float()
        # Nothing but the two balls, as far as they stick out of the lids: within a pixel of what is projected.
        balls = cameras.project(world)[i, open_head.regions["eyes"]]
        gap = torch.cdist(white.flip(1) + 0.5, balls).amin(1)
        assert gap.max() < 6  # pixels between vertices of a ball
        assert len(white) > 20


def test_only_what_is_labelled_as_an_eye_is_white(toy_frames, open_head):
    frames = looking(open_head, toy_frames)
    closed = replace(frames, pictures=replace(frames.pictures, label=torch.full_like(frames.pictures.label, 1)))
    assert torch.equal(with_eye_whites(closed, open_head, choose_rasterizer()).pictures.label, closed.pictures.label)
    assert (frames.pictures.label == Label.EYE_LEFT).all()  # what was given stays as it was
