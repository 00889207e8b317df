"""From what an importer read to a track: static cameras, the head moves, coefficients as long as the head has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.datasets.sequences import ImportedSequences, ImportedVideo
from flare_cli.errors import SubjectError
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import shaped_joints
from flare_cli.render.camera import OPENCV_FROM_OPENGL, Cameras
from flare_cli.subject.folder import Subject
from flare_cli.subject.track import Track

# How far a camera's rotation times its transpose may be from the identity: float32 files are off by 1e-6.
MOST_SKEW = 1e-2


def place(sequences: ImportedSequences, head: HeadModel, *, folder: Path, fps: float) -> Subject:
    """The subject in our conventions, without its pictures.

    Each video gets one static camera; where the data set moves the camera instead of the head, the motion goes into the
    head's root, so that a light that stood still in the room stands still in our world. Raises `SubjectError` where the
    coefficients are not this head's.
    """
    check_edition(sequences, head)
    for video in sequences.videos:
        _check_cameras(video, f"{sequences.folder}, {video.name}")
    shape = _fitted(sequences.shape[None], head.n_shape, f"{sequences.folder}: shape")[0]
    fixed = [_fixed_camera(video, head_fixed=sequences.head_fixed) for video in sequences.videos]
    expressions = [
        _fitted(v.expression, head.n_expression, f"{sequences.folder}, {v.name}: expression") for v in sequences.videos
    ]
    moved = [
        _head_motion(video, camera, _root_joints(head, shape, expression), root_centred=sequences.root_centred)
        for video, camera, expression in zip(sequences.videos, fixed, expressions, strict=True)
    ]
    counts = [len(v.sources) for v in sequences.videos]
    numbers = frame_numbers(sequences)
    several = len(sequences.videos) > 1
    track = Track(
        head=head.name,
        frames=torch.tensor(numbers),
        shape=_float32(shape),
        expression=_float32(np.concatenate(expressions)),
        pose=_float32(np.concatenate([pose for pose, _ in moved])),
        translation=_float32(np.concatenate([translation for _, translation in moved])),
        camera=Cameras(
            intrinsics=_float32(np.stack([v.intrinsics for v in sequences.videos])),
            camera_from_world=_float32(np.stack(fixed)),
            height=sequences.height,
            width=sequences.width,
        ),
        fps=fps,
        video=torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)) if several else None,
    )
    held_out = np.concatenate([v.held_out for v in sequences.videos])
    return Subject(
        folder=folder,
        track=track,
        videos=tuple(v.name for v in sequences.videos) if several else (),
        held_out=tuple(int(n) for n in np.array(numbers)[held_out]) if sequences.split else None,
    )


def _float32(values: Float[np.ndarray, "*N"]) -> Float[Tensor, "*N"]:
    return torch.from_numpy(np.asarray(values, np.float32))


def frame_numbers(sequences: ImportedSequences) -> list[int]:
    """Picture numbers in the subject: one video that counts from 1 keeps its own; others are counted through."""
    names = [source.name for video in sequences.videos for source in video.sources]
    named = [int(name) if name.isdecimal() else 0 for name in names]
    if len(sequences.videos) == 1 and min(named) >= 1 and len(set(named)) == len(named):
        return named
    return list(range(1, len(names) + 1))


def check_edition(sequences: ImportedSequences, head: HeadModel) -> None:
    """Raise `SubjectError` if the coefficients belong to another head: editions have different bases."""
    if head.name not in sequences.heads:
        raise SubjectError(
            f"{sequences.folder} ({sequences.format}) holds coefficients of {' or '.join(sequences.heads)}, not of"
            f" {head.name}: the editions' bases differ and must not be mixed",
            hint=f"use --head {sequences.heads[0]} (`flare head add` tells how to get it)",
        )


def _check_cameras(video: ImportedVideo, where: str) -> None:
    """Raise `SubjectError` where a camera turns points by something that is no rotation, or has no focal length."""
    rotation = video.camera_from_world[:, :, :3]
    skew = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
    mirrored = np.linalg.det(rotation) < 0
    if skew.max() > MOST_SKEW or mirrored.any():
        i = int(skew.argmax()) if skew.max() > MOST_SKEW else int(mirrored.argmax())
        what = "mirrors" if mirrored[i] else "scales or shears"
        raise SubjectError(
            f"{where}: the camera of frame {video.sources[i].name} {what} the world instead of turning it",
            hint="check that the data set is of the format it is read as (--format)",
        )
    if video.intrinsics[:2].min() <= 0:
        raise SubjectError(
            f"{where}: the focal length is {video.intrinsics[0]:.3g}, {video.intrinsics[1]:.3g} pixels",
            hint="check the intrinsics of the data set",
        )


def _fitted(values: Float[np.ndarray, "N C"], count: int, what: str) -> Float[np.ndarray, "N count"]:
    """Coefficients padded with zeros to what the head has. Those beyond it can't be dropped: the face would change."""
    if values.shape[1] > count and np.abs(values[:, count:]).max() > 0:
        raise SubjectError(
            f"{what} has {values.shape[1]} coefficients, the head has {count}",
            hint="add the head model with all its components (`flare head add`)",
        )
    fitted = np.zeros((len(values), count))
    kept = min(count, values.shape[1])
    fitted[:, :kept] = values[:, :kept]
    return fitted


def _fixed_camera(video: ImportedVideo, *, head_fixed: bool) -> Float[np.ndarray, "3 4"]:
    """Where the one static camera stands.

    In a head-fixed world any camera does: an upright frontal one keeps +y up in the picture.
    """
    if head_fixed:
        return np.concatenate([OPENCV_FROM_OPENGL, video.camera_from_world[:, :, 3].mean(0)[:, None]], 1)
    return video.camera_from_world[0]


def _root_joints(
    head: HeadModel, shape: Float[np.ndarray, "S"], expression: Float[np.ndarray, "N E"]
) -> Float[np.ndarray, "N 3"]:
    tensors = [_float32(values).to(head.template) for values in (shape, expression)]
    return shaped_joints(head, *tensors)[:, 0].double().cpu().numpy()


def _head_motion(
    video: ImportedVideo,
    fixed: Float[np.ndarray, "3 4"],
    root: Float[np.ndarray, "N 3"],
    *,
    root_centred: bool,
) -> tuple[Float[np.ndarray, "N 5 3"], Float[np.ndarray, "N 3"]]:
    """Pose and translation that make the fixed camera see what each frame's own camera saw.

    A posed point is x = A (y - J) + J + t with root rotation A about the root joint J. Frame i's camera sees R x + c,
    the fixed one F x' + f; so x' = G x + g with G = Fᵀ R and g = Fᵀ (c - f), that is, A' = G A and
    t' = G (J + t) + g - J.
    """
    translation = video.translation - root if root_centred else video.translation
    views = video.camera_from_world
    still = (views == fixed).all((1, 2))
    if still.all():  # nothing to turn: the numbers stay exactly what they were
        return video.pose, translation
    turn = fixed[:, :3].T @ views[:, :, :3]
    shift = (views[:, :, 3] - fixed[:, 3]) @ fixed[:, :3]
    pose = video.pose.copy()
    turned = ~np.isclose(turn, np.eye(3), rtol=0, atol=1e-12).all((1, 2))
    if turned.any():
        rotation = Rotation.from_matrix(turn[turned]) * Rotation.from_rotvec(pose[turned, Joint.ROOT])
        pose[turned, Joint.ROOT] = rotation.as_rotvec()
    carried = np.where(
        turned[:, None],
        np.einsum("nij,nj->ni", turn, root + translation) - root + shift,
        translation + shift,
    )
    return pose, np.where(still[:, None], translation, carried)
