"""Landmarks and regions of the open head, carried to another head that it was laid onto."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from flare_cli.head.flame.extras import FlameExtras, KnownPoints
from flare_cli.head.flame.holes import ClosedMesh
from flare_cli.head.flame.registration import Anchors, Registration, Target
from flare_cli.head.flame.surface import closest_points
from flare_cli.head.joints import Joint
from flare_cli.head.landmarks68 import MEDIAPIPE_OF_68, among_mediapipe
from flare_cli.head.model import HeadModel, LandmarkEmbedding

N_LANDMARKS, FIRST_IRIS, FIRST_LEFT_IRIS = 478, 468, 473
CONTOUR = 17  # of the 68, the jaw's points, which no two annotators put alike
UPPER, LOWER = 0.3, 0.7  # how far a lip's point follows the jaw (0..1): below, above
# FLAME's own masks (FLAME_masks.pkl) under our names.
MASKS = {
    "face": ("face",),
    "lips": ("lips",),
    "nose": ("nose",),
    "scalp": ("scalp",),
    "neck": ("neck", "boundary"),
    "ears": ("left_ear", "right_ear"),
}


def known_anchors(head: HeadModel, target: Target, extras: FlameExtras) -> Anchors | None:
    """Open-head landmarks whose places on the target the user's files give."""
    pairs: dict[int, np.ndarray] = {}
    if extras.landmarks68 is not None:
        places = _places(extras.landmarks68, target)
        for index, place in zip(extras.landmarks68.index.tolist(), places, strict=True):
            if index >= CONTOUR:
                pairs[MEDIAPIPE_OF_68[index]] = place
    if extras.mediapipe is not None:
        pairs |= dict(zip(extras.mediapipe.index.tolist(), _places(extras.mediapipe, target), strict=True))
    if not pairs:
        return None
    index = np.array(sorted(pairs))
    return Anchors(
        corners=head.faces.numpy()[head.landmarks.face.numpy()[index]],
        barycentric=head.landmarks.barycentric.double().numpy()[index],
        place=np.stack([pairs[k] for k in index.tolist()]),
    )


def _places(points: KnownPoints, target: Target) -> Float[np.ndarray, "N 3"]:
    return np.einsum("nk,nkc->nc", points.barycentric, target.vertices[target.faces[points.face]])


def transferred_landmarks(
    head: HeadModel, target: Target, registration: Registration, extras: FlameExtras
) -> LandmarkEmbedding:
    """MediaPipe's 478 points: those that the user's file gives, the others by the registration."""
    corners = head.faces.numpy()[head.landmarks.face.numpy()]
    blend = head.landmarks.barycentric.double().numpy()
    points = np.einsum("nk,nkc->nc", blend, registration.vertices[corners])
    follows = (head.weights.double().numpy()[corners, Joint.JAW] * blend).sum(1)
    near_lips = head.regions["lips"].numpy()[corners].any(1)
    face, barycentric, distance = np.zeros(N_LANDMARKS, np.int64), np.zeros((N_LANDMARKS, 3)), np.zeros(N_LANDMARKS)
    number = np.arange(N_LANDMARKS)
    jaw = target.jaw[target.faces].mean(1)
    groups = {
        "right eye": ((number >= FIRST_IRIS) & (number < FIRST_LEFT_IRIS), target.eyes[1]),
        "left eye": (number >= FIRST_LEFT_IRIS, target.eyes[0]),
        "upper lip": ((number < FIRST_IRIS) & near_lips & (follows < UPPER), target.skin & (jaw < 0.5)),
        "lower lip": ((number < FIRST_IRIS) & near_lips & (follows > LOWER), target.skin & (jaw > 0.5)),
    }
    rest = ~np.any([chosen for chosen, _ in groups.values()], axis=0)
    for chosen, surface in (*groups.values(), (rest, target.skin)):
        closest = target.closest(points[chosen], surface if surface.any() else target.skin)
        face[chosen], barycentric[chosen], distance[chosen] = closest.face, closest.barycentric, closest.distance
    if extras.mediapipe is not None:
        given = extras.mediapipe
        face[given.index], barycentric[given.index], distance[given.index] = given.face, given.barycentric, 0
    spread = np.hypot(head.landmarks.spread.double().numpy(), distance)
    return _embedding(face, barycentric, spread)


def transferred_68(landmarks: LandmarkEmbedding, extras: FlameExtras) -> LandmarkEmbedding:
    """The 68 points: those that the user's file gives, the others where MediaPipe's counterparts are."""
    ours, given = among_mediapipe(landmarks), extras.landmarks68
    if given is None:
        return ours
    face, barycentric = ours.face.numpy().copy(), ours.barycentric.double().numpy().copy()
    face[given.index], barycentric[given.index] = given.face, given.barycentric
    return _embedding(face, barycentric, ours.spread.double().numpy())


def _embedding(
    face: Int[np.ndarray, "N"], barycentric: Float[np.ndarray, "N 3"], spread: Float[np.ndarray, "N"]
) -> LandmarkEmbedding:
    return LandmarkEmbedding(
        face=torch.from_numpy(face),
        barycentric=torch.from_numpy(barycentric.astype(np.float32)),
        spread=torch.from_numpy(spread.astype(np.float32)),
    )


def transferred_regions(
    head: HeadModel, target: Target, registration: Registration, closed: ClosedMesh, extras: FlameExtras
) -> dict[str, Bool[np.ndarray, "W"]]:
    """The open head's regions by name. Parts that the target lacks (teeth, tongue) are empty."""
    n = len(target.vertices)
    sources = {name: mask.numpy() for name, mask in head.regions.items()}
    inside = sources["inner_mouth"] | sources["eye_sockets"]
    faces = head.faces.numpy()
    outer = faces[sources["skin"][faces].all(1) & ~inside[faces].any(1)]
    closest = closest_points(target.vertices, registration.vertices, outer)
    corners = outer[closest.face]
    eyes = np.zeros(n, bool)
    eyes[target.faces[target.eyes[0] | target.eyes[1]]] = True
    pockets = np.zeros(n, bool)
    pockets[closed.mouth] = pockets[closed.sockets] = True
    outside = ~eyes & ~pockets
    regions = {name: ((mask[corners] * closest.barycentric).sum(1) > 0.5) & outside for name, mask in sources.items()}
    for name in ("teeth", "tongue", "inner_mouth", "eye_sockets", "boundary"):
        regions[name] = np.zeros(n, bool)
    regions["inner_mouth"][closed.mouth] = True
    regions["eye_sockets"][closed.sockets] = True
    regions["boundary"][closed.neck] = True
    regions["skin"], regions["eyes"] = ~eyes, eyes
    for name, mask_names in MASKS.items():
        given = [extras.masks[s] for s in mask_names if extras.masks is not None and s in extras.masks]
        if given:
            regions[name] = np.zeros(n, bool)
            regions[name][np.concatenate(given)] = True
    return regions
