"""Named vertex masks: from MakeHuman's own UV masks, from parts, and from the facial landmarks."""

from __future__ import annotations

import numpy as np
from PIL import Image
from rig import Rig
from skimage.measure import points_in_poly
from topology import HeadMesh

# MediaPipe's landmark numbers around the subject's right brow and the nose.
RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
NOSE = (168, 193, 188, 174, 217, 126, 129, 98, 97, 2, 326, 327, 358, 355, 437, 399, 412, 417)
CAVITY_COLOURS, SOCKET_COLOURS = [(112, 172, 255)], [(253, 249, 16), (249, 108, 136)]


def regions(mesh: HeadMesh, rig: Rig, landmark_face: np.ndarray, landmark_bary: np.ndarray) -> dict[str, np.ndarray]:
    skin = mesh.mask("skin")
    masks = {n: _uv_mask(mesh, n) for n in ("face", "lips", "ears", "eyelids", "inside-mouth")}
    cavity, sockets = _segment(mesh, CAVITY_COLOURS), _segment(mesh, SOCKET_COLOURS)
    inner_mouth = (cavity | masks["inside-mouth"]) & skin
    inner = inner_mouth | sockets
    neck = skin & (rig.weights[:, 0] > 0.10)
    ears = masks["ears"] & ~inner
    face = masks["face"] & ~inner & ~neck
    scalp = skin & ~inner & ~neck & ~ears & ~masks["face"] & (mesh.rest[:, 1] > rig.joints[1, 1] - 0.035)
    points = np.einsum("nk,nkc->nc", landmark_bary, mesh.rest[mesh.faces[landmark_face]])
    named = {
        "skin": skin,
        "face": face,
        "lips": masks["lips"] & ~inner_mouth,
        "eyes": mesh.mask(*mesh.eyes),
        "brows": face & _inside(mesh, points[list(RIGHT_BROW)], grow=(1.0, 1.3)),
        "nose": face & _inside(mesh, points[list(NOSE)], grow=(1.05, 1.05)),
        "scalp": scalp,
        "ears": ears,
        "neck": neck,
        "inner_mouth": inner_mouth,
        "teeth": mesh.mask("upper_teeth", "lower_teeth"),
        "tongue": mesh.mask("tongue"),
        "eyelids": masks["eyelids"] & ~sockets,
        "eye_sockets": sockets,
        "boundary": _boundary(mesh),
    }
    return {name: mask | mask[mesh.mirror] for name, mask in named.items()}


def _body_uv(mesh: HeadMesh) -> np.ndarray:
    uv = np.zeros((len(mesh.data.vertices), 2))
    uv[mesh.data.quads.ravel()] = mesh.data.uvs[mesh.data.quad_uvs.ravel()]
    return uv[mesh.source]


def _sampled(mesh: HeadMesh, picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    uv = _body_uv(mesh)
    rows = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return picture[rows, np.clip((uv[:, 0] * width).astype(int), 0, width - 1)]


def _uv_mask(mesh: HeadMesh, name: str) -> np.ndarray:
    with Image.open(mesh.data.root / f"mpfb2/textures/mpfb_{name}.jpg") as image:
        picture = np.asarray(image.convert("L"))
    return _on_skin(mesh, _sampled(mesh, picture) > 127)


def _segment(mesh: HeadMesh, colours: list[tuple[int, int, int]]) -> np.ndarray:
    with Image.open(mesh.data.root / "segmentation/body_parts_segmentation.png") as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    samples = _sampled(mesh, picture)
    return _on_skin(mesh, np.any([np.abs(samples - c).sum(1) < 24 for c in colours], 0))


def _on_skin(mesh: HeadMesh, of_source: np.ndarray) -> np.ndarray:
    mask = np.zeros(len(mesh.rest), bool)
    mask[: len(mesh.source)] = of_source
    return mask & mesh.mask("skin")


def _inside(mesh: HeadMesh, outline: np.ndarray, *, grow: tuple[float, float]) -> np.ndarray:
    """Vertices that stand in front of the face inside an outline seen from the front."""
    centre = outline[:, :2].mean(0)
    grown = centre + (outline[:, :2] - centre) * np.array(grow)
    return points_in_poly(mesh.rest[:, :2], grown) & (mesh.rest[:, 2] > outline[:, 2].min() - 0.01)


def _boundary(mesh: HeadMesh) -> np.ndarray:
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), 1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    mask = np.zeros(len(mesh.rest), bool)
    mask[edges[count == 1].ravel()] = True
    return mask
