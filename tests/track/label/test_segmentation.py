"""Labels and fit masks on a drawn person: every region is where it was drawn."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from flare_cli.data.celebamask import Label
from flare_cli.track.face.landmarks import FACE_OVAL
from flare_cli.track.label.matte import guide_of
from flare_cli.track.label.projected_head import REGION_NAMES, ProjectedHead
from flare_cli.track.label.segmentation import (
    BINS,
    OUTLINES,
    FrameView,
    _blurred,
    _distance,
    fit_mask,
    label_image,
    learn_colours,
)

SIZE = 256
SKIN_COLOUR, HAIR_COLOUR, CLOTH_COLOUR, WALL = (205, 150, 120), (60, 40, 25), (40, 60, 140), (200, 210, 200)
MIDDLE, RADII = (128, 110), (38, 52)
# The subject's left is on the right of the picture.
BOXES = {
    Label.BROW_LEFT: ((138, 86), (156, 90)),
    Label.EYE_LEFT: ((138, 96), (154, 102)),
    Label.EYE_RIGHT: ((102, 96), (118, 102)),
    Label.LIP_UPPER: ((116, 134), (140, 137)),
    Label.LIP_LOWER: ((116, 141), (140, 146)),
    Label.MOUTH: ((118, 137), (138, 141)),
}


@pytest.fixture(scope="module")
def view() -> FrameView:
    rgb = np.full((SIZE, SIZE, 3), WALL, np.uint8)
    matte, regions = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)

    def region(name):
        return 1 + REGION_NAMES.index(name)

    def draw(colour: tuple[int, int, int], name: str | None, shape, *arguments) -> None:
        shape(rgb, *arguments, colour, -1)
        shape(matte, *arguments, 255, -1)
        if name is not None:
            shape(regions, *arguments, region(name), -1)

    draw(CLOTH_COLOUR, None, cv2.rectangle, (10, 190), (246, 255))
    draw(CLOTH_COLOUR, "skin", cv2.rectangle, (70, 190), (186, 215))
    draw(SKIN_COLOUR, "neck", cv2.rectangle, (104, 140), (152, 190))
    draw(HAIR_COLOUR, None, cv2.ellipse, (128, 88), (52, 62), 0, 0, 360)
    cv2.ellipse(regions, (128, 95), (42, 60), 0, 0, 360, region("scalp"), -1)
    draw(SKIN_COLOUR, "ears", cv2.rectangle, (80, 95), (92, 118))
    draw(SKIN_COLOUR, "ears", cv2.rectangle, (164, 95), (176, 118))
    draw(SKIN_COLOUR, "face", cv2.ellipse, MIDDLE, RADII, 0, 0, 360)
    head = ProjectedHead(
        triangle=regions.astype(np.int32) - 1,
        regions=regions,
        shading=regions,
        rim=np.array([[70.0, 190], [186, 190], [128, 215]]),
    )
    share = matte.astype(np.float32) / 255
    return FrameView(rgb=rgb, guide=guide_of(rgb), matte=share, head=head, points=_points())


def _points() -> np.ndarray:
    points = np.tile(np.array(MIDDLE, float), (478, 1))
    angles = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)  # clockwise from the forehead
    points[list(FACE_OVAL), 0] = MIDDLE[0] + RADII[0] * np.sin(angles)
    points[list(FACE_OVAL), 1] = MIDDLE[1] - RADII[1] * np.cos(angles)
    points[334], points[105] = (147, 86), (109, 86)
    for name, (low, high) in BOXES.items():
        outline = OUTLINES[name]
        turn = np.linspace(0, 2 * np.pi, len(outline), endpoint=False)
        centre, half = (np.array(low) + high) / 2, (np.array(high) - low) / 2
        points[list(outline)] = centre + half * np.stack([-np.cos(turn), -np.sin(turn)], 1)
    return points


@pytest.fixture(scope="module")
def labels(view) -> np.ndarray:
    return label_image(view, learn_colours([view]))


@pytest.mark.parametrize(
    ("place", "label"),
    [
        ((128, 115), Label.SKIN),
        ((110, 125), Label.SKIN),
        ((128, 40), Label.HAIR),
        ((85, 70), Label.HAIR),
        ((128, 175), Label.NECK),
        ((128, 205), Label.CLOTH),
        ((40, 230), Label.CLOTH),
        ((170, 108), Label.EAR_LEFT),
        ((85, 108), Label.EAR_RIGHT),
        ((146, 99), Label.EYE_LEFT),
        ((110, 99), Label.EYE_RIGHT),
        ((20, 20), 0),
    ],
)
def test_each_place_has_the_label_that_was_drawn(labels, place, label):
    x, y = place
    assert labels[y, x] == label


def test_nothing_is_labelled_outside_the_person(view, labels):
    assert (labels[view.matte < 0.5] == 0).all()
    assert (labels[view.matte >= 0.5] > 0).all()


def test_specks_on_cloth_stay_cloth(view):
    speckled = view.rgb.copy()
    speckled[200:250:10, 30:226:12] = SKIN_COLOUR
    marked = replace(view, rgb=speckled, guide=guide_of(speckled))
    labels = label_image(marked, learn_colours([marked]))
    assert (labels[220:, 20:236] == Label.CLOTH).mean() > 0.99


def test_counts_of_colours_are_blurred_as_scipy_does():
    counts = np.random.default_rng(0).random((BINS, BINS, BINS))
    assert np.allclose(_blurred(counts.ravel()).reshape(counts.shape), gaussian_filter(counts, 0.8), atol=1e-12)


def test_distances_near_a_region_are_those_in_the_whole_picture():
    region = np.zeros((60, 80), bool)
    region[20:25, 10:14] = region[30, 40:44] = True
    whole = cv2.distanceTransform((~region).view(np.uint8), cv2.DIST_L2, 5)
    near = _distance(region, 9.0)
    assert np.array_equal(near[whole <= 9], whole[whole <= 9])
    assert np.isinf(near[50]).all()
    assert np.isinf(_distance(np.zeros_like(region), 9.0)).all()


def _with_long_hair(view: FrameView, coat: tuple[int, int, int]) -> FrameView:
    """Locks on both sides of the neck, down to the chest, over a coat."""
    rgb, matte = view.rgb.copy(), view.matte.copy()
    rgb[190:] = np.where(view.matte[190:, :, None] > 0, coat, rgb[190:])
    for left in (78, 154):
        rgb[90:230, left : left + 24], matte[90:230, left : left + 24] = HAIR_COLOUR, 1
    rgb[95:118, 80:92] = rgb[95:118, 164:176] = HAIR_COLOUR
    return replace(view, rgb=rgb, guide=guide_of(rgb), matte=matte)


def test_hair_that_hangs_past_the_jaw_is_hair_and_in_the_mask(view):
    long = _with_long_hair(view, CLOTH_COLOUR)
    labels = label_image(long, learn_colours([long]))
    mask = fit_mask(long, labels)
    for x in (90, 166):
        assert (labels[165:225, x] == Label.HAIR).all()
        assert (mask[165:225, x] > 0.95).all()
    for x in (40, 128, 216):
        assert (labels[200:250, x] == Label.CLOTH).all()
        assert (mask[225:250, x] < 0.05).all()


def test_a_coat_in_the_colour_of_the_hair_is_cloth(view):
    dark = _with_long_hair(view, HAIR_COLOUR)
    labels = label_image(dark, learn_colours([dark]))
    assert (labels[235:, 12:244] == Label.CLOTH).mean() > 0.99
    assert (labels[195:, 20:60] == Label.CLOTH).mean() > 0.99


def _with(view: FrameView, colour: tuple[int, int, int], *boxes: tuple[int, int, int, int]) -> FrameView:
    """Boxes (left, top, right, bottom) of one colour before the person."""
    rgb, matte = view.rgb.copy(), view.matte.copy()
    for left, top, right, bottom in boxes:
        rgb[top:bottom, left:right], matte[top:bottom, left:right] = colour, 1
    return replace(view, rgb=rgb, guide=guide_of(rgb), matte=matte)


def test_hair_that_is_darker_below_and_covers_nearly_all_cloth_is_hair(view):
    """Of the colour below the hair above shows 3 %, and nothing but the collar shows cloth."""
    wide = _with(view, HAIR_COLOUR, (50, 90, 104, 150), (152, 90, 206, 150))
    shade = ((50, 150, 104, 215), (10, 180, 104, 215), (152, 150, 206, 215), (152, 180, 246, 215), (112, 28, 144, 40))
    wide = _with(wide, (25, 15, 10), *shade)
    wide.matte[215:] = 0
    labels = label_image(wide, learn_colours([wide]))
    for left in (52, 156):
        assert (labels[150:215, left : left + 46] == Label.HAIR).mean() > 0.99
    assert (labels[165:185, 108:148] == Label.NECK).all()
    assert (labels[200:215, 108:148] == Label.CLOTH).all()


def test_a_strand_before_the_neck_is_hair(view):
    strand = _with(view, HAIR_COLOUR, (148, 90, 176, 225))
    labels = label_image(strand, learn_colours([strand]))
    assert (labels[165:220, 151:174] == Label.HAIR).all()
    assert (labels[165:185, 108:144] == Label.NECK).all()


def test_a_collar_in_the_colour_of_hair_that_does_not_hang_is_cloth(view):
    collar = _with(view, HAIR_COLOUR, (86, 160, 104, 200), (152, 160, 170, 200))
    labels = label_image(collar, learn_colours([collar]))
    for left in (88, 154):
        assert (labels[164:198, left : left + 14] == Label.CLOTH).mean() > 0.95


def test_an_earring_before_hair_is_in_the_mask(view):
    long = _with(_with_long_hair(view, CLOTH_COLOUR), (255, 220, 0), (162, 152, 168, 158))
    labels = label_image(long, learn_colours([long]))
    assert (labels[154:157, 164:167] != Label.HAIR).all()
    assert (fit_mask(long, labels)[154:157, 164:167] > 0.95).all()


def test_the_mask_keeps_head_and_hair_and_leaves_the_torso_out(view, labels):
    mask = fit_mask(view, labels)
    assert mask[40, 128] > 0.95  # hair above the model
    assert mask[110, 128] > 0.95
    assert mask[205, 128] > 0.95  # collar on the model
    assert mask[235, 128] < 0.05  # chest below it
    assert mask[235, 30] < 0.05
    assert mask[205, 30] < 0.05  # shoulder beside it


def test_the_mask_never_exceeds_the_matte(view, labels):
    assert (fit_mask(view, labels) <= view.matte + 1e-6).all()


def test_another_person_is_left_out(view, labels):
    matte = view.matte.copy()
    matte[60:120, 225:250] = 1
    assert fit_mask(replace(view, matte=matte), labels)[90, 240] < 0.05
