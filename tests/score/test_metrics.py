import math

import numpy as np
import pytest

from flare_cli.score.metrics import lpips_or_reason, psnr, score_picture


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).random((40, 60, 3))


NO_CLOTHES = np.zeros((40, 60), bool)


def half_mask() -> np.ndarray:
    mask = np.zeros((40, 60))
    mask[:, :15] = 1
    return mask


def test_equal_pictures_score_best(picture):
    score = score_picture(picture, picture, drawn_mask=half_mask(), mask=half_mask(), clothes=NO_CLOTHES)
    assert score.mae == 0
    assert score.psnr_foreground == 100
    assert score.ssim == pytest.approx(1)
    assert score.silhouette_iou == 1


def test_psnr_of_a_constant_error_is_closed_form(picture):
    score = score_picture(
        picture * 0.5 + 0.1, picture * 0.5, drawn_mask=half_mask(), mask=half_mask(), clothes=NO_CLOTHES
    )
    assert score.psnr_foreground == pytest.approx(20)
    assert score.mae == pytest.approx(0.1)


def test_published_convention_is_higher_by_the_foreground_fraction(picture):
    score = score_picture(
        picture * 0.5 + 0.1, picture * 0.5, drawn_mask=half_mask(), mask=half_mask(), clothes=NO_CLOTHES
    )
    assert score.psnr_all_pixels - score.psnr_foreground == pytest.approx(-10 * math.log10(0.25))


def test_errors_outside_the_mask_do_not_count(picture):
    other = picture.copy()
    other[:, 20:] = 0
    assert (
        score_picture(other, picture, drawn_mask=half_mask(), mask=half_mask(), clothes=NO_CLOTHES).psnr_foreground
        == 100
    )


def test_silhouette_iou_of_shifted_boxes():
    drawn = np.zeros((40, 60))
    drawn[:, 5:20] = 1
    score = score_picture(
        np.zeros((40, 60, 3)), np.zeros((40, 60, 3)), drawn_mask=drawn, mask=half_mask(), clothes=NO_CLOTHES
    )
    assert score.silhouette_iou == pytest.approx(10 / 20)


def test_psnr_is_bounded():
    assert psnr(0) == 100
    assert psnr(1) == 0


def test_lpips_is_never_a_network_with_random_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    distance, reason = lpips_or_reason()
    assert distance is None
    assert "alexnet" in reason


def test_clothes_do_not_count_except_where_the_name_says_so(picture):
    other, clothes = picture.copy(), NO_CLOTHES.copy()
    other[30:], clothes[30:] = 0, True
    score = score_picture(other, picture, drawn_mask=half_mask(), mask=half_mask(), clothes=clothes)
    assert score.psnr_foreground == 100
    error = float(np.square(picture[30:, :15]).mean()) / 4
    assert score.psnr_with_clothes == pytest.approx(psnr(error))
