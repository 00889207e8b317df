"""Find MediaPipe's 478 face points on the open head: render it, run FaceMesh on the pictures, lift what it finds.

    pip install mitsuba==3.9.1 mediapipe==0.10.21 trimesh rtree
    python tools/open_head/embed_mediapipe.py

Writes mediapipe_embedding.npz beside this file, which tools/build_open_head.py reads. Eight people in five views each,
with parted lips: on closed ones nobody can tell which lip a point is on, and it has to follow the right one.
Run it again when the triangles change; moving vertices moves the points along.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import mediapipe
import mitsuba as mi
import numpy as np
import torch
import trimesh
from iris import complete_irises
from scipy.optimize import linear_sum_assignment

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from flare_cli.head.arkit import ARKIT_NAMES  # noqa: E402
from flare_cli.head.joints import Joint  # noqa: E402
from flare_cli.head.model import HeadModel  # noqa: E402
from flare_cli.head.open_head import load_open_head  # noqa: E402
from flare_cli.head.skinning import pose_vertices  # noqa: E402

mi.set_variant("scalar_rgb")

PEOPLE, SIZE, SAMPLES = 8, 512, 16
VIEWS = ((0, 0), (-22, 0), (22, 0), (0, 12), (0, -12))  # degrees of yaw and pitch of the camera
TARGET, DISTANCE, FIELD_OF_VIEW = (0, -0.02, 0.03), 0.95, 17
SKIN, LIPS, BROWS, SCALP = (0.56, 0.33, 0.24), (0.42, 0.12, 0.12), (0.10, 0.06, 0.04), (0.16, 0.11, 0.08)
WHITE, IRIS, PUPIL = (0.85, 0.83, 0.81), (0.20, 0.13, 0.07), (0.01, 0.01, 0.01)
PARTED = 0.3  # of jawOpen
# Points on the lips: outer, second, third and inner row of each, without the corners that both share.
UPPER_LIP = (
    *(185, 40, 39, 37, 0, 267, 269, 270, 409, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(183, 42, 41, 38, 12, 268, 271, 272, 407, 191, 80, 81, 82, 13, 312, 311, 310, 415),
)
LOWER_LIP = (
    *(146, 91, 181, 84, 17, 314, 405, 321, 375, 77, 90, 180, 85, 16, 315, 404, 320, 307),
    *(96, 89, 179, 86, 15, 316, 403, 319, 325, 95, 88, 178, 87, 14, 317, 402, 318, 324),
)
GRAZING = 0.25  # cosine below which a hit is not trusted
NEAR = 0.008  # metres around the median in which hits are averaged
FEWEST_HITS = 4


def main() -> None:
    head = load_open_head()
    faces, template = head.faces.numpy(), head.template.double().numpy()
    hits: list[list[np.ndarray]] = [[] for _ in range(478)]
    front = None
    rng = np.random.default_rng(1)
    with mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.3
    ) as face_mesh:
        for person in range(PEOPLE):
            shape = np.zeros(100) if person == 0 else rng.normal(0, 0.7, 100) * (np.arange(100) < 40)
            vertices = _parted(head, torch.tensor(shape).float())
            for yaw, pitch in VIEWS:
                points = _collect(head, vertices, template, np.radians(yaw), np.radians(pitch), face_mesh, hits)
                front = points if front is None else front
    assert front is not None, "FaceMesh finds the mean face from the front"
    hits = _pooled(hits, _partners(front))

    surfaces = _surfaces(head)
    face, barycentric = np.full(478, -1), np.zeros((478, 3))
    spread = np.full(478, 0.05)
    for i, hits_of_point in enumerate(hits):
        if len(hits_of_point) < FEWEST_HITS:
            continue
        points, trust = np.array(hits_of_point)[:, :3], np.array(hits_of_point)[:, 3] ** 2
        median = np.median(points, 0)
        distance = np.linalg.norm(points - median, axis=1)
        near = distance < NEAR
        position = np.average(points[near], axis=0, weights=trust[near]) if near.any() else median
        face[i], barycentric[i] = _closest(template, faces, surfaces[_surface(i)], position)
        spread[i] = distance.mean()
    eyes = surfaces["eyes"]
    local = np.where(np.isin(face, eyes), np.searchsorted(eyes, face.clip(0)), -1)
    completed, barycentric, spread = complete_irises(local, barycentric, spread, template, faces[eyes])
    face = np.where((face < 0) & (completed >= 0), eyes[completed.clip(0)], face)
    np.savez_compressed(
        HERE / "mediapipe_embedding.npz",
        face=face.astype(np.int32),
        barycentric=barycentric.astype(np.float32),
        spread=spread.astype(np.float32),
        faces_sha256=hashlib.sha256(faces.astype("<i4").tobytes()).hexdigest(),
    )
    print(f"{(face >= 0).sum()} of 478 embedded; spread: median {np.median(spread) * 1e3:.1f} mm")


def _collect(head: HeadModel, vertices, template, yaw, pitch, face_mesh, hits) -> np.ndarray | None:
    """Run FaceMesh on one view, append (x, y, z on the template, cosine) of every trustworthy hit, return (x, y)s."""
    toward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    picture, position, face_index = _render(head, vertices, np.array(TARGET) + DISTANCE * toward)
    result = face_mesh.process(picture)
    if not result.multi_face_landmarks:
        return None
    landmarks = result.multi_face_landmarks[0].landmark
    faces, surfaces = head.faces.numpy(), _surfaces(head)
    for i, point in enumerate(landmarks):
        row, column = int(point.y * SIZE), int(point.x * SIZE)
        if not (0 <= row < SIZE and 0 <= column < SIZE) or not position[row, column].any():
            continue
        corners = faces[face_index[row, column]]
        a, b, c = vertices[corners]
        normal = np.cross(b - a, c - a)
        cosine = normal @ toward / (np.linalg.norm(normal) + 1e-12)
        if cosine < GRAZING or face_index[row, column] not in surfaces["eyes" if i >= 468 else "skin"]:
            continue
        bary = trimesh.triangles.points_to_barycentric([[a, b, c]], [position[row, column]])[0].clip(0, 1)
        hits[i].append(np.append(bary / bary.sum() @ template[corners], cosine))
    return np.array([(point.x, point.y) for point in landmarks])


def _partners(front: np.ndarray) -> np.ndarray:
    """Which point is which one's mirror image, from a picture of the symmetric mean face."""
    mirrored = np.stack([2 * front[:, 0].mean() - front[:, 0], front[:, 1]], 1)
    cost = np.linalg.norm(mirrored[:, None] - front[None], axis=2) ** 2
    return linear_sum_assignment(cost)[1]


def _pooled(hits: list[list[np.ndarray]], partners: np.ndarray) -> list[list[np.ndarray]]:
    """Every point's hits together with the mirrored ones of its partner: the embedding becomes symmetric."""
    flip = np.array([-1, 1, 1, 1])
    mirrored = [[hit * flip for hit in hits[partner]] for partner in partners]
    return [own_hits + mirrored_hits for own_hits, mirrored_hits in zip(hits, mirrored, strict=True)]


def _surfaces(head: HeadModel) -> dict[str, np.ndarray]:
    """Faces on which points may lie."""
    faces, regions = head.faces.numpy(), head.regions
    masks = (regions["skin"], regions["eyes"], regions["inner_mouth"] | regions["eye_sockets"])
    skin, eyes, hidden = (mask.numpy()[faces].all(1) for mask in masks)
    skin &= ~hidden
    jaw = head.weights.numpy()[faces, Joint.JAW].mean(1)
    return {
        "skin": np.flatnonzero(skin),
        "upper lip": np.flatnonzero(skin & (jaw < 0.5)),
        "lower lip": np.flatnonzero(skin & (jaw > 0.5)),
        "eyes": np.flatnonzero(eyes),
    }


def _surface(landmark: int) -> str:
    if landmark >= 468:
        return "eyes"
    return "upper lip" if landmark in UPPER_LIP else "lower lip" if landmark in LOWER_LIP else "skin"


def _parted(head: HeadModel, shape: torch.Tensor) -> np.ndarray:
    """A person with the mouth a little open."""
    pose = PARTED * head.arkit.pose[ARKIT_NAMES.index("jawOpen")]
    none = torch.zeros(1, head.n_expression)
    return (
        pose_vertices(head, shape=shape, expression=none, pose=pose[None], translation=torch.zeros(1, 3))[0]
        .double()
        .numpy()
    )


def _closest(vertices, faces, chosen, place) -> tuple[int, np.ndarray]:
    mesh = trimesh.Trimesh(vertices, faces[chosen], process=False)
    point, _, face = trimesh.proximity.closest_point(mesh, place[None])
    corners = vertices[mesh.faces[face]]
    bary = trimesh.triangles.points_to_barycentric(corners, point)[0].clip(0, 1)
    return int(chosen[face[0]]), bary / bary.sum()


def _render(head: HeadModel, vertices, eye) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture (uint8), positions (metres) and face indices as the camera at `eye` sees them."""
    points, colours, faces = vertices, _colours(head), head.faces.numpy()
    both = np.hstack([points, colours])
    for _ in range(2):  # midpoint subdivision for smooth shading: children 4k..4k+3 come from face k
        both, faces = trimesh.remesh.subdivide(both, faces)
    points, colours = both[:, :3], both[:, 3:]
    mesh = trimesh.Trimesh(points, faces, process=False)
    shape = mi.Mesh("head", len(points), len(faces), has_vertex_normals=True, props=_material())
    shape.add_attribute("vertex_color", 3, [0] * (3 * len(points)))
    parameters = mi.traverse(shape)
    parameters["vertex_positions"] = np.float32(points).ravel()
    parameters["vertex_normals"] = np.float32(mesh.vertex_normals).ravel()
    parameters["faces"] = np.uint32(faces).ravel()
    parameters["vertex_color"] = np.float32(colours).ravel()
    parameters.update()
    scene = mi.load_dict(
        {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": 4, "hide_emitters": True},
            "head": shape,
            "sky": {"type": "constant", "radiance": 0.55},
            "key": {"type": "directional", "direction": [-0.5, -0.6, -1.0], "irradiance": 1.6},
        }
    )
    colour = np.array(mi.render(scene, sensor=_camera(eye, "rgba", "gaussian"), spp=SAMPLES))
    alpha = colour[..., 3:].clip(0, 1)
    picture = ((colour[..., :3] + 1 - alpha).clip(0, 1) ** (1 / 2.2) * 255).astype(np.uint8)
    probe = mi.load_dict({"type": "aov", "aovs": "position:position,face:prim_index"})
    seen = np.array(mi.render(scene, sensor=_camera(eye, "rgb", "box"), integrator=probe, spp=1))
    return picture, seen[..., :3], seen[..., 3].astype(int) // 16


def _material() -> mi.Properties:
    properties = mi.Properties()
    colour = {"type": "mesh_attribute", "name": "vertex_color"}
    skin = {"type": "principled", "base_color": colour, "roughness": 0.45, "specular": 0.4}
    properties["bsdf"] = mi.load_dict({"type": "twosided", "skin": skin})
    return properties


def _camera(eye, pixel_format: str, reconstruction: str) -> mi.Sensor:
    looking = mi.ScalarTransform4f().look_at(origin=list(eye), target=list(TARGET), up=[0, 1, 0])
    film = {"type": "hdrfilm", "width": SIZE, "height": SIZE, "rfilter": {"type": reconstruction}}
    film["pixel_format"] = pixel_format
    return mi.load_dict({"type": "perspective", "fov": FIELD_OF_VIEW, "to_world": looking, "film": film})


def _colours(head: HeadModel) -> np.ndarray:
    """Enough make-up for a face detector: lips, brows, hair and eyes."""
    colours = np.tile(SKIN, (len(head.template), 1)).astype(float)
    for region, colour in (("scalp", SCALP), ("lips", LIPS), ("brows", BROWS), ("eyes", WHITE)):
        colours[head.regions[region].numpy()] = colour
    for joint in head.joints[3:]:
        offset = (head.template - joint).double().numpy()
        near = head.regions["eyes"].numpy() & (np.linalg.norm(offset, axis=1) < 0.02)
        angle = np.degrees(np.arccos(offset[:, 2] / np.linalg.norm(offset, axis=1).clip(1e-9)))
        colours[near & (angle < 26)] = IRIS
        colours[near & (angle < 11)] = PUPIL
    return colours


if __name__ == "__main__":
    main()
