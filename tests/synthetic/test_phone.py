"""The phone's camera: noise that grows with the light as a sensor's does, and a real video file."""

import numpy as np
import pytest

from flare_cli.data.video import VideoReader, video_info
from flare_cli.synthetic.phone import MIDDLE_GREY, READ_SHARE, sensor_noise, write_phone_video


@pytest.mark.parametrize("level", [0.0, MIDDLE_GREY, 1.0])
def test_noise_is_unbiased_and_its_variance_linear_in_the_light(level):
    radiance = np.full((200, 200, 3), level)
    noisy = sensor_noise(radiance, 0.01, np.random.default_rng(0))
    variance = 0.01**2 * (READ_SHARE + (1 - READ_SHARE) * level / MIDDLE_GREY)
    assert noisy.mean() == pytest.approx(level, abs=1e-3)
    assert noisy.var() == pytest.approx(variance, rel=0.03)


def test_a_film_comes_back_as_its_video_shows_it(tmp_path):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    pictures = [np.broadcast_to((ramp[:, None, None] + 5 * i) // 2, (64, 64, 3)).copy() for i in range(3)]
    write_phone_video(tmp_path / "v.mp4", pictures, fps=12, crf=10)
    shown = [frame.rgb for frame in VideoReader(tmp_path / "v.mp4")]
    assert len(shown) == 3
    for picture, back in zip(pictures, shown, strict=True):
        assert np.abs(picture.astype(int) - back).mean() < 3
    info = video_info(tmp_path / "v.mp4")
    assert (info.width, info.height, info.fps) == (64, 64, 12)
