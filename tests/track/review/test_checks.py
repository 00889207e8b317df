"""What a recording lacks, from tracks of known turns, faces of known gaps, and exposure of known steps."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from flare_cli.track.review.checks import Check, camera_reach, check_recording, drift, flicker, weak_first
from flare_cli.track.review.frame_pixels import FramePixels
from flare_cli.track.review.recording import Recording, measure_recording, view_angles

N = 200
SHARP = FramePixels(
    blur=1.0,
    luminance=0.2,
    white=0.0,
    black=0.0,
    teeth=0.01,
    unsure_edge=0.02,
    cut=0.0,
    covered=0.0,
    tint=0.0,
    mixed=0.0,
)


def poses(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """The root turns; the neck turns back and forth by a part of it, so that both together are the angles given."""
    whole = Rotation.from_euler("YX", np.stack([yaw, pitch], 1), degrees=True)
    neck = Rotation.from_rotvec(0.3 * whole.as_rotvec())
    pose = np.zeros((len(yaw), 5, 3))
    pose[:, 0], pose[:, 1] = (whole * neck.inv()).as_rotvec(), neck.as_rotvec()
    return pose


def test_the_camera_sees_the_side_that_the_head_turns_away():
    # A head that turns to its left (about +y, from +z to +x) shows its right side; one that bows shows the crown.
    yaw, pitch = view_angles(
        poses(np.array([0.0, 30.0, -20.0, 0.0]), np.array([0.0, 0.0, 0.0, 15.0])),
        np.zeros((4, 3)),
        np.array([0, 0, 0.8]),
    )
    np.testing.assert_allclose(yaw, [0, -30, 20, 0], atol=1e-6)
    np.testing.assert_allclose(pitch, [0, 0, 0, 15], atol=1e-6)


def test_a_head_beside_the_axis_is_seen_from_the_side_without_turning():
    yaw, _ = view_angles(np.zeros((1, 5, 3)), np.array([[0.8, 0.0, 0.0]]), np.array([0.0, 0.0, 0.8]))
    assert yaw[0] == pytest.approx(-45)


def good() -> Recording:
    """A recording that lacks nothing: turns by 30 degrees, nods by 15, opens mouth and closes eyes."""
    phase = np.linspace(0, 2 * np.pi, N)
    points = np.zeros((N, 478, 3))
    points[:, 10, 1], points[:, 152, 1] = 100, 350
    points[:, 33, 0], points[:, 133, 0], points[:, 362, 0], points[:, 263, 0] = 100, 130, 170, 200
    points[:, 14, 1] = 20 * np.sin(phase) ** 2
    points[:, [159, 386], 1] = np.where(np.arange(N) % 50 < 4, 1.0, 10.0)[:, None]
    return measure_recording(
        read=N,
        pose=poses(30 * np.sin(phase), 15 * np.cos(phase)),
        translation=np.zeros((N, 3)),
        camera_centre=np.array([0.0, 0.0, 0.8]),
        points=points,
        scale=1.0,
        background=np.zeros((N, 3)),
        error=np.full(N, 0.01),
        pixels=[SHARP] * N,
    )


def with_pixels(**values: object) -> Recording:
    recording = good()
    return replace(recording, pixels=recording.pixels | {k: np.broadcast_to(v, N) for k, v in values.items()})


def verdicts(recording: Recording) -> dict[str, str]:
    return {check.name: check.verdict for check in weak_first(check_recording(recording))}


def test_a_good_recording_is_not_scolded():
    assert verdicts(good()) == {}
    assert all(check.advice == "" for check in check_recording(good()))


def test_coloured_and_mixed_light_are_told():
    assert verdicts(with_pixels(tint=0.5)) == {"light's colour": "limited"}
    assert verdicts(with_pixels(mixed=2.0)) == {"mixed light": "poor"}
    one_side_only = with_pixels(mixed=np.nan)
    assert "mixed light" not in {check.name for check in check_recording(one_side_only)}


def test_a_camera_that_moves_is_told_by_what_is_behind():
    path = np.zeros((N, 3))
    path[:, 0] = np.linspace(-0.03, 0.03, N)
    assert camera_reach(path) == pytest.approx(0.06)
    assert verdicts(replace(good(), background=path)) == {"still camera": "limited"}
    path[:, 2] = np.linspace(0, 0.1, N)  # a tenth larger: the sides move by half of that
    assert verdicts(replace(good(), background=path)) == {"still camera": "poor"}
    path[5:] = np.nan
    assert verdicts(replace(good(), background=path)) == {}
    path[4] = np.nan  # hardly known
    assert "still camera" not in {check.name for check in check_recording(replace(good(), background=path))}


def test_things_before_the_face_are_told_by_how_often():
    assert verdicts(with_pixels(covered=(np.arange(N) % 5 == 0) * 0.5)) == {"uncovered": "limited"}
    assert verdicts(with_pixels(covered=(np.arange(N) % 3 == 0) * 0.5)) == {"uncovered": "poor"}


def test_measures_are_ratios_of_the_face():
    recording = good()
    assert recording.mouth.max() == pytest.approx(0.2, rel=0.01)
    assert recording.eyes.min() == pytest.approx(1 / 30)
    assert recording.face_height[0] == 250
    assert recording.pixels["blur"][0] == pytest.approx(1 / 250)


@pytest.mark.parametrize(
    ("recording", "told"),
    [
        (replace(good(), yaw=np.linspace(-30, 12, N)), {"left side": "limited"}),
        (replace(good(), yaw=np.linspace(-3, 30, N)), {"right side": "limited"}),
        (
            replace(good(), yaw=np.linspace(-3, 3, N)),
            {"turning": "poor", "left side": "limited", "right side": "limited"},
        ),
        (replace(good(), pitch=np.linspace(-3, 3, N)), {"nodding": "limited"}),
        (replace(good(), mouth=np.full(N, 0.02)), {"mouth": "poor"}),
        (replace(good(), eyes=np.full(N, 0.3)), {"blinks": "limited"}),
        (replace(good(), face_height=np.full(N, 90.0)), {"face size": "poor"}),
        (replace(good(), error=np.full(N, 0.05)), {"tracking": "limited"}),
        (replace(good(), read=2 * N), {"usable": "poor"}),
        (with_pixels(teeth=0.0), {"teeth": "limited"}),
        (with_pixels(blur=0.03), {"sharpness": "poor"}),
        (with_pixels(blur=np.where(np.arange(N) % 5, 0.004, 0.009)), {"motion blur": "limited"}),
        (with_pixels(luminance=0.01), {"brightness": "poor"}),
        (with_pixels(white=0.02), {"overexposed": "limited"}),
        (with_pixels(black=0.3), {"underexposed": "poor"}),
        (with_pixels(luminance=0.2 * 2.0 ** (0.1 * (-1.0) ** np.arange(N))), {"flicker": "poor"}),
        (with_pixels(luminance=np.geomspace(0.1, 0.2, N)), {"steady exposure": "limited"}),
        (with_pixels(unsure_edge=0.2), {"outline": "poor"}),
        (with_pixels(cut=0.03), {"matte": "limited"}),
    ],
)
def test_what_is_lacking_is_told_and_nothing_else(recording: Recording, told: dict[str, str]):
    assert verdicts(recording) == told


def test_few_frames_are_told():
    recording = good()
    few = slice(0, N, 5)
    short = Recording(
        read=N // 5,
        **{name: getattr(recording, name)[few] for name in ("yaw", "pitch", "mouth", "eyes", "face_height", "error")},
        background=recording.background[few],
        pixels={name: values[few] for name, values in recording.pixels.items()},
    )
    assert verdicts(short) == {"frames": "poor"}


def test_advice_comes_with_what_is_not_good_and_the_worst_comes_first():
    weak = weak_first(check_recording(replace(good(), yaw=np.zeros(N))))
    assert [check.verdict for check in weak] == ["poor", "limited", "limited"]
    assert all(isinstance(check, Check) and check.advice for check in weak)


def test_noise_of_exposure_is_its_deviation_and_a_steady_change_is_none():
    noise = np.random.default_rng(0).normal(0, 0.1, 10_000)
    assert flicker(2.0**noise) == pytest.approx(0.1, rel=0.05)
    assert flicker(np.geomspace(0.1, 0.4, 100)) == pytest.approx(0, abs=1e-9)


def test_two_exposures_are_as_far_apart_as_their_factor():
    assert drift(np.repeat([0.1, 0.8], 50)) == pytest.approx(3)
