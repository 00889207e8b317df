"""A small synthetic subject with all that a truth may hold, ray traced: seconds in place of a path tracer's hours."""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from flare_cli.data.hdr import save_hdr
from flare_cli.data.image import read_grey
from flare_cli.data.json_file import write_json
from flare_cli.head.skinning import rest_vertices, shaped_joints, skin
from flare_cli.render.camera import Cameras
from flare_cli.subject.folder import Subject
from flare_cli.synthetic.performance import Performance, perform
from flare_cli.synthetic.raytrace import trace_picture
from flare_cli.synthetic.recording import (
    Person,
    buffers_of,
    make_person,
    make_synthetic_subject,
    studio_camera,
    studio_light,
    write_buffers,
)

VIEWS = ((30, 0), (0, -20))


def lamp(x: float, y: float, z: float, *, rows: int = 16) -> np.ndarray:
    """A dim room with one large lamp in the direction (x, y, z)."""
    theta = (np.arange(rows) + 0.5)[:, None] / rows * np.pi
    phi = ((np.arange(2 * rows) + 0.5) / (2 * rows) - 0.5) * 2 * np.pi
    directions = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi, -np.sin(theta) * np.cos(phi)], -1)
    cosine = directions @ (np.array([x, y, z]) / np.linalg.norm([x, y, z]))
    return (0.15 + 4.0 * (cosine > 0.8)[..., None] * np.array([1.0, 0.9, 0.8])).astype(np.float32)


LIGHTS = {"left": lamp(1.0, 0.2, 0.5), "above": lamp(-0.3, 1.0, 0.6)}


def camera_file(camera: Cameras) -> dict:
    return {
        "camera_from_world": camera.camera_from_world[0].double().tolist(),
        "intrinsics": camera.intrinsics[0].double().tolist(),
        "size": [camera.height, camera.width],
    }


def control_vertices(person: Person, performance: Performance, i: int) -> np.ndarray:
    """The person's control mesh in frame `i`, world, metres."""
    one = slice(i, i + 1)
    expression, pose = performance.expression(person.head)[one], performance.pose(person.head)[one]
    rest = rest_vertices(person.head, person.shape, expression, pose) + person.added
    joints = shaped_joints(person.head, person.shape, expression)
    return (skin(rest, joints, pose, person.head.weights, person.head.parents)[0] + performance.translation[i]).numpy()


def make_subject_with_truth(
    folder: Path, *, frames: int = 15, size: int = 64, samples: int = 4, seed: int = 0
) -> Subject:
    """`make_synthetic_subject`, and for its held-out frames (the last fifth) other lights, other cameras, the mesh."""
    subject = make_synthetic_subject(folder, frames=frames, size=size, seed=seed, samples=samples)
    person, performance, front = make_person(seed), perform(frames, seed=seed), studio_camera(size)
    truth, light = folder / "truth", studio_light(seed)
    write_json(truth / "camera.json", camera_file(front))
    write_buffers(
        truth / "mesh.npz",
        {
            "faces": person.head.faces.int().numpy(),
            "labels": person.look.labels[: len(person.head.template)].astype(np.uint8),
        },
    )
    views = {f"{yaw}_{pitch}": studio_camera(size, yaw=yaw, pitch=pitch) for yaw, pitch in VIEWS}
    for name, envmap in LIGHTS.items():
        save_hdr(truth / "relit" / name / "light.hdr", envmap)
    for name, camera in views.items():
        write_json(truth / "views" / name / "camera.json", camera_file(camera))
    for i in range(performance.held_out, frames):
        trace = partial(trace_picture, person.posed(performance, i), samples=samples, seed=i)
        with np.load(truth / f"{i + 1}.npz") as stored:
            kept = {name: stored[name] for name in stored.files}
        specular = (kept["coverage"] > 0).astype(np.float16)
        vertices = control_vertices(person, performance, i)
        label = read_grey(subject.label_path(i + 1))
        write_buffers(truth / f"{i + 1}.npz", {**kept, "specular": specular, "vertices": vertices, "label": label})
        for name, envmap in LIGHTS.items():
            relit = trace(front, torch.from_numpy(envmap))
            write_buffers(truth / "relit" / name / f"{i + 1}.npz", {"radiance": relit.radiance.half().numpy()})
        for name, camera in views.items():
            if i % 2:
                seen = trace(camera, light)
                labels = {"label": seen.label.to(torch.uint8).numpy()}
                write_buffers(truth / "views" / name / f"{i + 1}.npz", {**buffers_of(seen), **labels})
    return subject
