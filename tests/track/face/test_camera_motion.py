"""The camera's motion from pictures that were moved and enlarged by known amounts."""

import cv2
import numpy as np
import pytest

from flare_cli.track.face.camera_motion import CameraMotion

WIDTH, HEIGHT = 480, 270
FACE = np.array([[200.0, 90, 0], [280.0, 190, 0], [240.0, 140, 0]])
N = 12


def room(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (HEIGHT // 12, WIDTH // 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def followed(background: np.ndarray, moves: np.ndarray, *, walks: float = 0.0) -> np.ndarray:
    """The path of a camera whose background moves by rows of `moves` (pixels, pixels, scale), while a textured head and
    torso walk over it by so many pixels.
    """
    motion, path, person = CameraMotion(), [], room(1)
    for i, (right, down, scale) in enumerate(moves):
        matrix = np.array(
            [[scale, 0, WIDTH / 2 * (1 - scale) + right], [0, scale, HEIGHT / 2 * (1 - scale) + down]], np.float32
        )
        picture = cv2.warpAffine(background, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        shift = walks * i / len(moves)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.ellipse(mask, (round(240 + shift), 140), (45, 65), 0, 0, 360, 1, -1)
        cv2.rectangle(mask, (round(140 + shift), 210), (round(340 + shift), HEIGHT), 1, -1)
        moved = cv2.warpAffine(person, np.array([[1, 0, shift], [0, 1, 0.0]]), (WIDTH, HEIGHT))
        picture = np.where(mask[..., None] > 0, moved, picture)
        path.append(motion(picture, FACE + np.array([shift, 0, 0]), i / 6))
    return np.array(path)


def test_a_pan_and_a_zoom_are_measured():
    moves = np.stack([np.linspace(0, 24, N), np.linspace(0, -12, N), np.exp(np.linspace(0, 0.06, N))], 1)
    path = followed(room(), moves)
    assert path[-1] == pytest.approx([24 / WIDTH, -12 / WIDTH, 0.06], abs=0.003)


def test_a_person_who_moves_before_a_still_camera_moves_nothing():
    path = followed(room(), np.tile([0.0, 0, 1], (N, 1)), walks=30)
    assert np.isfinite(path).all()
    assert np.abs(path).max() < 0.002


def test_nothing_is_said_before_a_plain_wall():
    noise = np.random.default_rng(2).normal(0, 2, (HEIGHT, WIDTH, 3))
    wall = np.clip(150 + noise, 0, 255).astype(np.uint8)
    assert np.isnan(followed(wall, np.tile([0.0, 0, 1], (N, 1)))).all()


def test_moments_that_are_not_looked_at_are_unknown_and_a_new_shot_begins_anew():
    motion, picture = CameraMotion(), room()
    assert motion(picture, FACE, 0.0).tolist() == [0, 0, 0]
    assert np.isnan(motion(picture, FACE, 0.05)).all()
    motion(np.roll(picture, 6, 1), FACE, 0.2)
    motion.forget()
    assert motion(picture, FACE, 0.25).tolist() == [0, 0, 0]
