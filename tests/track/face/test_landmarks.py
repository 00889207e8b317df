"""Faces and landmarks on one portrait, and on the same portrait moved, turned, mirrored and made small."""

import cv2
import numpy as np
import pytest

from flare_cli.errors import BackendError
from flare_cli.track.face import litert_network as network
from flare_cli.track.face.detector import FaceDetector, ssd_anchors
from flare_cli.track.face.landmarks import LEFT_IRIS, LEFT_LIDS, RIGHT_IRIS, RIGHT_LIDS, EyeFinder, FaceFollower

# Read off the enlarged picture by eye (x, y).
PUPILS, NOSE_TIP, CHIN = ((204.0, 101.5), (246.5, 103.0)), (223.0, 127.0), (225.0, 178.0)
MOUTH_CORNERS = ((203.0, 140.0), (247.0, 138.0))


def points_in(rgb: np.ndarray, follow: FaceFollower | None = None) -> np.ndarray:
    """The 478 points of the followed face."""
    face = (follow or FaceFollower())(rgb)
    assert face is not None
    return EyeFinder()(rgb, face)


@pytest.fixture(scope="module")
def points(astronaut) -> np.ndarray:
    return points_in(astronaut)


def test_anchors_are_896_cell_centres_of_two_grids():
    anchors = ssd_anchors()
    assert anchors.shape == (896, 2)
    np.testing.assert_allclose(anchors[[0, 1, 2, 511]], [[1 / 32] * 2, [1 / 32] * 2, [3 / 32, 1 / 32], [31 / 32] * 2])
    np.testing.assert_allclose(anchors[[512, 517, 895]], [[1 / 16] * 2, [1 / 16] * 2, [15 / 16] * 2])


def test_the_face_is_where_it_is(astronaut):
    ((face,),) = FaceDetector().search(astronaut, tiles=False)
    np.testing.assert_allclose(face.eyes, PUPILS, atol=6)
    assert face.box[0] < PUPILS[0][0] < PUPILS[1][0] < face.box[2]
    assert face.box[1] < NOSE_TIP[1] < face.box[3]


def test_landmarks_are_where_the_features_are(points):
    np.testing.assert_allclose(points[[RIGHT_IRIS, LEFT_IRIS], :2], PUPILS, atol=1.5)
    np.testing.assert_allclose(points[[4, 152, 61, 291], :2], [NOSE_TIP, CHIN, *MOUTH_CORNERS], atol=5)


def test_the_irises_lie_between_the_lids(points):
    for iris, lids in ((RIGHT_IRIS, RIGHT_LIDS), (LEFT_IRIS, LEFT_LIDS)):
        low, high = points[list(lids[:16]), :2].min(0), points[list(lids[:16]), :2].max(0)
        assert (points[iris, :2] > low).all()
        assert (points[iris, :2] < high).all()


def test_iris_points_run_the_same_way_round_in_the_picture(points):
    # Of the four rim points the first is to the right of the middle on the right eye, and again on the left eye.
    for iris in (RIGHT_IRIS, LEFT_IRIS):
        assert points[iris + 1, 0] > points[iris, 0] > points[iris + 3, 0]
        assert points[iris + 2, 1] < points[iris, 1] < points[iris + 4, 1]


def test_a_mirrored_picture_gives_mirrored_points(astronaut, points):
    new_points = points_in(np.ascontiguousarray(astronaut[:, ::-1]))
    width = astronaut.shape[1]
    for here, there in zip((*RIGHT_LIDS[:16], RIGHT_IRIS), (*LEFT_LIDS[:16], LEFT_IRIS), strict=True):
        expected = [width - points[here, 0], points[here, 1]]
        np.testing.assert_allclose(new_points[there, :2], expected, atol=2.5)


@pytest.mark.parametrize("degrees", [-25, 25])
def test_a_turned_picture_gives_turned_points(astronaut, points, degrees):
    matrix = cv2.getRotationMatrix2D((226, 120), degrees, 1.0)
    new_points = points_in(cv2.warpAffine(astronaut, matrix, (512, 512)))
    expected = points[:468, :2] @ matrix[:, :2].T + matrix[:, 2]
    assert np.linalg.norm(new_points[:468, :2] - expected, axis=-1).mean() < 2.0


def test_a_moved_face_is_followed_without_a_new_detection(astronaut, points):
    follow = FaceFollower()
    for shift in range(0, 24, 4):
        new_points = points_in(np.roll(astronaut, shift, 1), follow)
    assert np.linalg.norm(new_points[:, :2] - points[:, :2] - (20, 0), axis=-1).mean() < 1.5


def test_a_small_face_in_a_large_picture_is_found_in_tiles(astronaut, points):
    canvas = np.full((1080, 1920, 3), 90, np.uint8)
    canvas[700:956, 1500:1756] = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    assert not any(FaceDetector().search(canvas, tiles=False))
    new_points = points_in(canvas)
    assert np.linalg.norm(new_points[:, :2] - points[:, :2] / 2 - (1500, 700), axis=-1).mean() < 2


def test_nobody_is_found_in_noise():
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    assert FaceFollower()(noise) is None


def test_a_lost_face_is_found_again(astronaut, points):
    follow = FaceFollower()
    follow(astronaut)
    assert follow(np.full_like(astronaut, 90)) is None
    new_points = points_in(astronaut, follow)
    assert np.linalg.norm(new_points[:, :2] - points[:, :2], axis=-1).mean() < 1.0


def test_the_same_person_is_followed_when_there_are_two(astronaut):
    head = astronaut[0:200, 130:320]
    large, small = cv2.resize(head, None, fx=1.5, fy=1.5), head
    frames = []
    for second in (False, True, True):
        canvas = np.full((400, 640, 3), 90, np.uint8)
        canvas[50 : 50 + small.shape[0], 20 : 20 + small.shape[1]] = small
        if second:
            canvas[50 : 50 + large.shape[0], 320 : 320 + large.shape[1]] = large
        frames.append(canvas)
    follow = FaceFollower()
    for frame in frames:
        assert points_in(frame, follow)[:, 0].max() < 220


def test_a_damaged_network_is_refused(monkeypatch):
    monkeypatch.setitem(network.SHA256, "face_landmark", "0" * 64)
    with pytest.raises(BackendError, match="damaged"):
        network.Network("face_landmark")
