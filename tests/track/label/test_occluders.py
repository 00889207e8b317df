"""What passes before a drawn person is found; what the person does by itself is not."""

import cv2
import numpy as np
import pytest

from flare_cli.data.celebamask import Label
from flare_cli.track.label.matte import guide_of
from flare_cli.track.label.occluders import UsualLook, learn_look, occluded, of_frame
from flare_cli.track.label.projected_head import REGION_NAMES, ProjectedFrame, ProjectedHead
from flare_cli.track.label.segmentation import FrameView

SIZE, FRAMES = 160, 12
SKIN, HAIR, LIPS, WHITE, WALL = (205, 150, 120), (60, 40, 25), (180, 90, 90), (235, 230, 225), (90, 110, 160)
TRIANGLE = 4  # pixels of the drawn head's "triangles", which are squares here
TRIANGLES = (SIZE // TRIANGLE) ** 2
MIDDLE = (80, 85)


def frame(shift: int = 0, *, gain: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, ProjectedFrame]:
    """Picture, matte and drawn head of a face 80 pixels high, some pixels farther to the right."""
    rgb, regions = np.full((SIZE, SIZE, 3), WALL, np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    matte = np.zeros((SIZE, SIZE), np.uint8)

    def draw(colour, name, middle, radii) -> None:
        for canvas, value in ((rgb, colour), (matte, 255), (regions, 1 + REGION_NAMES.index(name))):
            cv2.ellipse(canvas, middle, radii, 0, 0, 360, value, -1)

    draw(HAIR, "scalp", (80, 70), (40, 48))
    draw(SKIN, "face", MIDDLE, (30, 40))
    for x in (66, 94):
        draw(WHITE, "eyes", (x, 75), (6, 3))
    draw(LIPS, "lips", (80, 105), (12, 4))
    across, down = np.meshgrid(np.arange(SIZE) // TRIANGLE, np.arange(SIZE) // TRIANGLE)
    triangle = np.where(regions > 0, down * (SIZE // TRIANGLE) + across, -1).astype(np.int32)
    rgb, matte, regions, triangle = (np.roll(picture, shift, 1) for picture in (rgb, matte, regions, triangle))
    noise = np.random.default_rng(seed).normal(0, 2, rgb.shape)
    points = np.tile(np.array(MIDDLE, float), (478, 1))
    points[10], points[152] = (80, 45), (80, 125)
    head = ProjectedHead(triangle=triangle, regions=regions, shading=regions, rim=np.full((3, 2), SIZE - 1.0))
    return (
        np.clip(rgb * gain + noise, 0, 255).astype(np.uint8),
        matte,
        ProjectedFrame(number=seed, head=head, points=points + np.array([shift, 0])),
    )


@pytest.fixture(scope="module")
def look() -> UsualLook:
    examples = []
    for i in range(FRAMES):
        rgb, matte, drawn = frame(i % 5 - 2, gain=1 - 0.01 * i, seed=i)
        if i == 3:
            cv2.circle(rgb, (70, 100), 14, (30, 30, 35), -1)
        examples.append(of_frame(rgb, matte, drawn, TRIANGLES))
    return learn_look(examples)


def found(look: UsualLook, rgb: np.ndarray, matte: np.ndarray, drawn: ProjectedFrame) -> np.ndarray:
    view = FrameView(rgb=rgb, guide=guide_of(rgb), matte=matte / np.float32(255), head=drawn.head, points=drawn.points)
    dark = rgb.max(-1) < 90
    return occluded(view, np.where(matte == 0, 0, np.where(dark, Label.HAIR, Label.SKIN)).astype(np.uint8), look)


def disc(middle: tuple[int, int], radius: int) -> np.ndarray:
    return cv2.circle(np.zeros((SIZE, SIZE), np.uint8), middle, radius, 1, -1).view(bool)


@pytest.mark.parametrize("colour", [(30, 30, 35), (150, 85, 60), (60, 90, 150)], ids=["microphone", "hand", "cup"])
def test_what_passes_before_the_face_is_found_and_little_else(look, colour):
    rgb, matte, drawn = frame(1, seed=50)
    thing = disc((86, 102), 15)
    rgb[thing] = colour
    hidden = found(look, rgb, matte, drawn)
    assert hidden[thing].mean() > 0.97
    assert hidden[~disc((86, 102), 26)].sum() == 0


def test_a_person_where_none_ever_is_counts_as_before_the_head(look):
    rgb, matte, drawn = frame(0, seed=51)
    arm = np.zeros_like(matte, bool)
    arm[60:100, 133:150] = True
    rgb[arm], matte[arm] = (150, 85, 60), 255
    hidden = found(look, rgb, matte, drawn)
    assert hidden[arm].mean() > 0.9
    assert hidden[:, :125].sum() == 0


def dimmer(rgb: np.ndarray, drawn: ProjectedFrame) -> None:
    """The shadow of something that stands in the light: 1.3 stops."""
    rgb[:, :75] = 255 * ((rgb[:, :75] / 255) ** 2.2 * 0.4) ** (1 / 2.2)


def shining(rgb: np.ndarray, drawn: ProjectedFrame) -> None:
    rgb[disc((80, 58), 5)] = 255


def blinking(rgb: np.ndarray, drawn: ProjectedFrame) -> None:
    rgb[70:80, 58:102] = SKIN


def yawning(rgb: np.ndarray, drawn: ProjectedFrame) -> None:
    mouth = disc((80, 108), 10)
    rgb[mouth], drawn.head.regions[mouth] = (40, 10, 10), 1 + REGION_NAMES.index("inner_mouth")


def hanging(rgb: np.ndarray, drawn: ProjectedFrame) -> None:
    """A lock of hair over the forehead and a cheek."""
    rgb[40:110, 56:68] = HAIR


def brighter(rgb: np.ndarray, drawn: ProjectedFrame) -> None:
    """Another exposure: half a stop."""
    rgb[:] = np.minimum(255, 255 * ((rgb / 255) ** 2.2 * 1.4) ** (1 / 2.2))


@pytest.mark.parametrize("change", [dimmer, shining, blinking, yawning, hanging, brighter])
def test_what_a_face_does_by_itself_is_not_before_it(look, change):
    rgb, matte, drawn = frame(-1, seed=52)
    change(rgb, drawn)
    assert not found(look, rgb, matte, drawn).any()


def test_what_is_always_there_is_usual():
    examples = []
    for i in range(FRAMES):
        rgb, matte, drawn = frame(i % 5 - 2, seed=i)
        rgb[100:108, 70:90] = (20, 20, 20)
        examples.append(of_frame(rgb, matte, drawn, TRIANGLES))
    rgb, matte, drawn = frame(0, seed=53)
    rgb[100:108, 70:90] = (20, 20, 20)
    assert not found(learn_look(examples), rgb, matte, drawn).any()
