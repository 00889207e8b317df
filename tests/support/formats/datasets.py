"""Every data set format with its writer, what an import makes of it, and ways to damage its files."""

import json
from pathlib import Path

import numpy as np
import torch
from support.formats.scene import Scene, project, toy_head
from support.formats.writers import (
    write_imavatar,
    write_insta,
    write_metrical_tracker,
    write_neural_head_avatars,
    write_spark,
    write_vhap,
)

from flare_cli.datasets.conventions import place
from flare_cli.datasets.formats import read_dataset
from flare_cli.head.skinning import pose_vertices
from flare_cli.subject.folder import Subject
from flare_cli.subject.track import Track

WRITERS = {
    "imavatar": (write_imavatar, "imavatar", False),
    "imavatar, legacy pixels": (lambda f, s: write_imavatar(f, s, legacy=True), "imavatar", False),
    "imavatar, moving camera": (lambda f, s: write_imavatar(f, s, moving_camera=True), "imavatar", False),
    "spark": (write_spark, "spark", False),
    "vhap": (write_vhap, "gaussian-avatars", False),
    "metrical-tracker": (write_metrical_tracker, "metrical-tracker", True),
    "insta": (write_insta, "insta", True),
    "insta, OpenGL": (lambda f, s: write_insta(f, s, opengl=True), "insta", True),
    "neural head avatars": (write_neural_head_avatars, "neural-head-avatars", False),
}
WITH_NECK = [name for name, (_, _, head_fixed) in WRITERS.items() if not head_fixed]


def imported(folder: Path, scene: Scene) -> Subject:
    sequences = read_dataset(folder)
    return place(sequences, toy_head(sequences.heads[0]), folder=folder / "out", fps=25)


def seen(track: Track, scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World and camera positions (metres) and pixels of all vertices in all frames."""
    vertices = pose_vertices(
        scene.head, shape=track.shape, expression=track.expression, pose=track.pose, translation=track.translation
    ).double()
    view = track.cameras().camera_from_world.double()
    in_camera = vertices @ view[:, :, :3].transpose(1, 2) + view[:, None, :, 3]
    return vertices.numpy(), in_camera.numpy(), project(in_camera.numpy(), track.camera.intrinsics[0].double().numpy())


def edit_json(path: Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def edit_npz(path: Path, **changes) -> None:
    arrays = dict(np.load(path))
    for name, change in changes.items():
        if change is None:
            del arrays[name]
        else:
            arrays[name] = change(arrays[name])
    np.savez(path, **arrays)


def edit_frame(folder: Path, change) -> None:
    path = folder / "checkpoint" / "00001.frame"
    value = torch.load(path, weights_only=False)
    change(value)
    torch.save(value, path)


PARAMS, TRACKED = "flame_params.json", "tracking_0/tracked_flame_params.npz"
