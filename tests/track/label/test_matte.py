"""The person matte and the filter that refines it."""

import cv2
import numpy as np

from flare_cli.track.label.matte import PersonMatte, guide_of, guided_filter, refined, steadied


def test_the_filter_keeps_what_is_linear_in_the_guide():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    picture = np.repeat(
        np.repeat(picture[::8, ::8], 8, 0), 8, 1
    )  # even on 2 x 2 blocks, as the filter works at half size
    value = picture.astype(np.float32) / 255 @ np.array([0.2, -0.5, 0.4], np.float32) + 0.3
    (out,) = guided_filter(guide_of(picture), [value], radius=4, epsilon=1e-4)
    np.testing.assert_allclose(out[8:-8, 8:-8], value[8:-8, 8:-8], atol=0.05)


def test_the_filter_keeps_a_constant_and_sums():
    rng = np.random.default_rng(0)
    guide = guide_of(rng.integers(0, 256, (31, 33, 3), np.uint8))
    part = rng.random((31, 33), np.float32)
    constant, one, other = guided_filter(guide, [np.full_like(part, 0.37), part, 1 - part], radius=4, epsilon=1e-3)
    np.testing.assert_allclose(constant, 0.37, atol=1e-4)
    np.testing.assert_allclose(one + other, 1, atol=1e-4)


def test_a_coarse_edge_moves_to_the_pictures_edge():
    picture = np.full((512, 512, 3), 30, np.uint8)
    picture[:, 240:] = 220
    coarse = np.tile(np.clip((np.arange(256) - 118) / 6, 0, 1).astype(np.float32), (256, 1))  # passes 1/2 at 242.5
    matte = refined(coarse, guide_of(picture))
    truth = (picture[..., 0] > 100).astype(np.float32)
    assert (np.diff(matte, axis=1).argmax(1) == 239).all()
    assert np.abs(matte - truth).sum() < 0.7 * np.abs(cv2.resize(coarse, (512, 512)) - truth).sum()


def test_a_flash_of_one_frame_is_damped():
    quiet, flash = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert steadied(quiet, flash, quiet).max() < 0.2
    np.testing.assert_allclose(steadied(flash, flash, flash), 1)


def test_a_steadied_matte_is_half_the_median_and_half_the_mean():
    times = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    np.testing.assert_allclose(steadied(*times), (np.median(times, 0) + times.mean(0)) / 510, atol=1e-6)


def test_the_person_is_found(astronaut):
    matte = refined(PersonMatte()(astronaut).astype(np.float32) / 255, guide_of(astronaut))
    assert matte[120, 225] > 0.9  # nose
    assert matte[400, 200] > 0.9  # suit
    assert matte[60, 350] < 0.1  # wall
