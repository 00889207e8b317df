"""The 68 facial points of iBUG / 300-W, and which of MediaPipe's 478 lies where each of them does."""

from __future__ import annotations

import torch

from flare_cli.head.model import LandmarkEmbedding

MEDIAPIPE_OF_68 = (
    *(127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356),  # jaw, right ear to left
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # lips, outer edge
    *(78, 82, 13, 312, 308, 317, 14, 87),  # lips, inner edge
)
"""Indices of MediaPipe's points in the order of the 68. The jaw's seventeen slide along the outline in both."""


def among_mediapipe(landmarks: LandmarkEmbedding) -> LandmarkEmbedding:
    """The 68 points, from where MediaPipe's are."""
    index = torch.tensor(MEDIAPIPE_OF_68, device=landmarks.face.device)
    return LandmarkEmbedding(
        face=landmarks.face[index], barycentric=landmarks.barycentric[index], spread=landmarks.spread[index]
    )
