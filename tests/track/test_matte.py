"""The person matte and the filter that refines it."""

import cv2
import numpy as np

from flare_cli.track.matte import PersonMatte, guided_filter, refined, steadied


def test_the_filter_keeps_what_is_linear_in_the_guide():
    guide = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    guide = np.repeat(np.repeat(guide[::8, ::8], 8, 0), 8, 1)  # even on 2 x 2 blocks, as the filter works at half size
    value = (guide @ np.array([0.2, -0.5, 0.4], np.float32) + 0.3)[..., None]
    out = guided_filter(guide, value, radius=4, epsilon=1e-4)
    np.testing.assert_allclose(out[8:-8, 8:-8], value[8:-8, 8:-8], atol=0.05)


def test_the_filter_keeps_a_constant():
    guide = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    out = guided_filter(guide, np.full((32, 32, 2), 0.37, np.float32), radius=4, epsilon=1e-3)
    np.testing.assert_allclose(out, 0.37, atol=1e-4)


def test_a_coarse_edge_moves_to_the_pictures_edge():
    picture = np.full((512, 512, 3), 30, np.uint8)
    picture[:, 240:] = 220
    coarse = np.tile(np.clip((np.arange(256) - 118) / 6, 0, 1).astype(np.float32), (256, 1))  # passes 1/2 at 242.5
    matte = refined(coarse, picture)
    truth = (picture[..., 0] > 100).astype(np.float32)
    assert (np.diff(matte, axis=1).argmax(1) == 239).all()
    assert np.abs(matte - truth).sum() < 0.7 * np.abs(cv2.resize(coarse, (512, 512)) - truth).sum()


def test_a_flash_of_one_frame_is_damped():
    quiet, flash = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert steadied(quiet, flash, quiet).max() < 0.2
    np.testing.assert_allclose(steadied(flash, flash, flash), 1)


def test_the_person_is_found(astronaut):
    matte = refined(PersonMatte()(astronaut).astype(np.float32) / 255, astronaut)
    assert matte[120, 225] > 0.9  # nose
    assert matte[400, 200] > 0.9  # suit
    assert matte[60, 350] < 0.1  # wall
