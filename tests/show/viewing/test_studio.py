import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.data.image import write_png
from flare_cli.drive.drivers import load_driver
from flare_cli.drive.presets import PRESETS
from flare_cli.drive.transfer import transfer
from flare_cli.errors import FlareError
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.light.environment import prefilter
from flare_cli.show.filming.backgrounds import BLUR_ROUGHNESS, EnvironmentBehind
from flare_cli.show.filming.lighting import Lighting, environments
from flare_cli.show.filming.performance import Performance, driven_performance
from flare_cli.show.track_pictures import comparison_sheet, draw_track, sheet, to_bytes
from flare_cli.show.viewing.moments import gaze_weights
from flare_cli.show.viewing.studio import RECORDING, Studio, camera_of, frame_at
from flare_cli.show.viewing.view import OWN_LIGHT, View, read_view
from flare_cli.subject.track import Track

SIZE = 48
RECORDED = View(height=SIZE, width=SIZE, driver=RECORDING, light=OWN_LIGHT, background="black")


def at(track: Track, frame: int) -> float:
    """A time at which that frame is shown."""
    return (frame + 0.5) / track.fps


def weights_of(**named: float) -> tuple[float, ...]:
    return tuple(named.get(name, 0.0) for name in ARKIT_NAMES)


def levels_apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other).max())


def test_the_camera_shows_points_where_a_browsers_camera_does(track: Track):
    view = View(height=300, width=400, eye=(0.4, 0.2, 0.9), target=(0.05, -0.1, 0.02), fov=31.0)
    points = np.random.default_rng(0).normal(size=(50, 3)) * 0.15

    # three.js: `lookAt` with +y up, and `PerspectiveCamera(fov, aspect)`, to normalised device coordinates with y up.
    eye, target = np.array(view.eye), np.array(view.target)
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    seen = (points - eye) @ np.stack([right, np.cross(back, right), back]).T
    top = math.tan(math.radians(view.fov) / 2)
    x, y = seen[:, 0] / -seen[:, 2] / (top * view.width / view.height), seen[:, 1] / -seen[:, 2] / top
    expected = np.stack([(x + 1) / 2 * view.width, (1 - y) / 2 * view.height], 1)

    camera = camera_of(view, track.camera, view.height, view.width)
    ours = camera.project(torch.from_numpy(points).float()[None])[0].numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-2)


def test_a_recorded_frame_is_drawn_as_eval_and_animate_draw_it(studio: Studio, avatar: Avatar, track: Track):
    (drawn,) = draw_track(avatar, track[2:3], choose_rasterizer())
    look = studio.look(replace(RECORDED, time=at(track, 2)))
    assert look.frame == 2
    assert levels_apart(look.picture, to_bytes(drawn.picture.colour)[0]) <= 1


def test_modes_are_the_columns_of_a_preview(studio: Studio, avatar: Avatar, toy_frames, track: Track):
    frames = replace(toy_frames, track=track)[torch.tensor([1])]
    expected = comparison_sheet(avatar, frames, choose_rasterizer())
    looks = [
        studio.look(replace(RECORDED, time=at(track, 1), mode=mode)).picture
        for mode in ("picture", "albedo", "light", "roughness", "normal")
    ]
    recorded = to_bytes(frames.pictures.radiance())[0]
    assert levels_apart(sheet([[recorded, *looks]]), expected) <= 1


def test_a_map_lights_as_relight_does(studio: Studio, avatar: Avatar, track: Track):
    lighting = Lighting(envmaps=(Path("sunset"),), rotate_degrees=70.0)
    (environment,) = environments(lighting)
    picture = environment.picture * 2.0**0.5
    (drawn,) = draw_track(
        avatar,
        track[:1],
        choose_rasterizer(),
        light=avatar.light.of_environment(picture).rotate(environment.yaw),
        background=EnvironmentBehind(prefilter(picture).rotate(environment.yaw)),
    )
    view = replace(RECORDED, light="sunset", rotate=70.0, exposure=0.5, background="envmap")
    assert levels_apart(studio.look(view).picture, to_bytes(drawn.picture.colour)[0]) <= 1
    assert levels_apart(studio.look(replace(view, rotate=0.0)).picture, to_bytes(drawn.picture.colour)[0]) > 30


def test_a_colour_behind_does_not_follow_the_exposure(studio: Studio):
    dark, bright = (studio.look(replace(RECORDED, background="grey", exposure=stops)).picture for stops in (-1.0, 1.0))
    assert (dark[0, 0] == 128).all()
    assert (bright[0, 0] == 128).all()
    assert bright.mean() > dark.mean() + 5


def test_sliders_move_the_face_as_animate_does(
    studio: Studio, avatar: Avatar, own: Performance, track: Track, tmp_path: Path
):
    weights = {"jawOpen": 0.6, "mouthSmileLeft": 0.8, "eyeBlinkRight": 1.0, "eyeLookUpLeft": 0.5}
    frame = dict(zip(ARKIT_NAMES, weights_of(**weights), strict=True))
    (tmp_path / "face.json").write_text(json.dumps({"fps": 30, "frames": [frame]}))
    driver = load_driver(tmp_path / "face.json", avatar.head, cache=tmp_path)
    moved = transfer(driver, track, absolute=False)
    (drawn,) = draw_track(avatar, moved, choose_rasterizer())
    look = studio.look(replace(RECORDED, driver="", weights=weights_of(**weights)))
    assert levels_apart(look.picture, to_bytes(drawn.picture.colour)[0]) <= 1
    assert levels_apart(look.picture, studio.look(replace(RECORDED, driver="")).picture) > 30


def test_the_head_turns_as_a_capture_turns_it(studio: Studio, avatar: Avatar, track: Track, tmp_path: Path):
    header = ["Timecode", "BlendShapeCount", *ARKIT_NAMES, "HeadYaw", "HeadPitch", "HeadRoll"]
    angles = [math.radians(degrees) for degrees in (30.0, -10.0, 5.0)]  # yaw, pitch, roll
    row = ["00:00:00:00.0", "52", *["0"] * 52, *map(str, angles)]
    (tmp_path / "head.csv").write_text("\n".join(",".join(line) for line in (header, row)))
    driver = load_driver(tmp_path / "head.csv", avatar.head, cache=tmp_path)
    (drawn,) = draw_track(avatar, transfer(driver, track, absolute=False), choose_rasterizer())
    look = studio.look(replace(RECORDED, driver="", turn=(-10.0, 30.0, 5.0)))
    assert levels_apart(look.picture, to_bytes(drawn.picture.colour)[0]) <= 1


def test_presets_play_as_animate_plays_them(avatar: Avatar, own: Performance, track: Track, tmp_path: Path):
    moved = {
        name: transfer(load_driver(Path(name), avatar.head, cache=tmp_path), track, absolute=False) for name in PRESETS
    }
    studio = Studio(
        avatar, choose_rasterizer(), own, {name: driven_performance(one, None) for name, one in moved.items()}
    )
    assert set(studio.performances()) == {RECORDING, *PRESETS}
    for name, frame in (("talk", 40), ("turntable", 20)):
        (drawn,) = draw_track(avatar, moved[name][frame : frame + 1], choose_rasterizer())
        look = studio.look(replace(RECORDED, driver=name, time=at(moved[name], frame)))
        assert look.frame == frame
        assert levels_apart(look.picture, to_bytes(drawn.picture.colour)[0]) <= 1


def test_gaze_turns_both_eyes_by_the_angle(open_head: HeadModel):
    for yaw, pitch in ((0.2, 0.1), (-0.15, -0.12)):
        weights = gaze_weights(open_head.arkit, yaw, pitch)
        turned = torch.einsum("k,kjc->jc", weights, open_head.arkit.pose)
        for eye in (Joint.EYE_LEFT, Joint.EYE_RIGHT):
            # Axis-angle about +y turns what looks along +z to +x, the subject's left; about +x it looks down.
            assert turned[eye, 1] == pytest.approx(yaw, rel=0.05)
            assert turned[eye, 0] == pytest.approx(pitch, rel=0.05)
        assert int((weights > 0).sum()) == 4


def test_wires_lie_on_the_edges_that_are_seen(studio: Studio, avatar: Avatar, track: Track):
    near = replace(RECORDED, height=384, width=384, eye=(0.0, 0.05, 0.9), target=(0.0, 0.05, 0.0), fov=8.0)
    wires = studio.look(replace(near, mode="wireframe")).picture[..., 0].astype(float)
    posed = avatar.posed(expression=track.expression[:1], pose=track.pose[:1], translation=track.translation[:1])
    camera = camera_of(near, track.camera, 384, 384)
    corners = posed.vertices[0][avatar.mesh.topology.faces]
    on, off = [], []
    for pixels in camera.project(corners.flatten(0, 1)[None])[0].unflatten(0, (-1, 3)):
        along = pixels.roll(-1, 0) - pixels
        area = float(along[0, 0] * along[1, 1] - along[0, 1] * along[1, 0])
        is_thin = abs(area) < 8 * float(along.norm(dim=1).max())
        if area > 0 or is_thin or pixels.min() < 1 or pixels.max() > 383:  # y points down: what faces us is clockwise
            continue
        middle, centre = (0.5 * (pixels[0] + pixels[1])), pixels.mean(0)
        on.append(wires[int(middle[1]), int(middle[0])])
        off.append(wires[int(centre[1]), int(centre[0])])
    assert len(on) > 20
    assert np.median(on) > np.median(off) + 80


def test_a_performance_starts_again_at_its_end(own: Performance, track: Track):
    n = len(track)
    assert [frame_at(own, at(track, i)) for i in range(2 * n)] == [*range(n), *range(n)]


def test_what_was_recorded_stands_to_the_left(avatar: Avatar, own: Performance, track: Track, tmp_path: Path):
    pictures = []
    for i in range(len(track)):
        write_png(tmp_path / f"{i}.png", np.full((96, 96, 3), 30 * i, np.uint8))
        pictures.append(tmp_path / f"{i}.png")
    studio = Studio(avatar, choose_rasterizer(), replace(own, pictures=tuple(pictures)), {})
    view = replace(RECORDED, width=2 * SIZE, time=at(track, 3), beside=True)
    look = studio.look(view).picture
    assert (look[:, :SIZE] == 90).all()
    alone = studio.look(replace(RECORDED, time=at(track, 3))).picture
    assert levels_apart(look[:, SIZE:], alone) == 0
    assert studio.beside() == [RECORDING]


def test_a_fit_that_went_on_is_drawn_anew(studio: Studio, avatar: Avatar):
    before = studio.look(RECORDED).picture
    avatar.mesh.offsets += 0.01
    assert levels_apart(studio.look(RECORDED).picture, before) == 0  # the mesh is kept while nobody says so
    studio.avatar_changed()
    assert levels_apart(studio.look(RECORDED).picture, before) > 30


@pytest.mark.parametrize(
    "change",
    [
        {"height": 5000}, {"height": 4.5}, {"mode": "x-ray"}, {"weights": [0.0] * 51}, {"weights": [2.0] + [0.0] * 51},
        {"eye": [0.0, 0.0]}, {"eye": [0.0, 0.0, 0.0]}, {"eye": [0.0, 0.0, math.nan]}, {"time": -1}, {"fov": 0},
        {"path": "/etc/passwd"}, {"exposure": math.inf}, {"driver": 3}, {"turn": "abc"},
    ],
    ids=str,
)  # fmt: skip
def test_a_view_that_is_none_is_refused(change: dict):
    with pytest.raises(FlareError):
        read_view(change)


def test_only_what_was_offered_is_played_or_lit_by(studio: Studio):
    for change in ({"driver": "/etc/passwd"}, {"light": "/etc/passwd"}, {"light": "../studio"}):
        with pytest.raises(FlareError, match=r"there is no"):
            studio.look(replace(RECORDED, **change))


def test_what_was_seen_is_green_what_was_not_red_and_what_is_not_known_grey(studio: Studio, avatar: Avatar):
    near = replace(RECORDED, height=64, width=64, eye=(0.0, 0.05, 0.9), target=(0.0, 0.05, 0.0), mode="confidence")

    def colour_of(confidence: torch.Tensor | None) -> list[int]:
        avatar.confidence = confidence
        red, green, blue = studio.look(near).picture[32, 32].tolist()
        return [red, green, blue]

    everywhere = torch.ones(len(avatar.head.template), 1)
    seen, unseen, unknown = (colour_of(c) for c in (everywhere, 0 * everywhere, None))
    assert seen[1] > 2 * seen[0]
    assert unseen[0] > 2 * unseen[1]
    assert len(set(unknown)) == 1


def test_a_blurred_background_is_seen_coarsely_and_looks_the_same(studio: Studio, track: Track):
    view = replace(RECORDED, height=256, width=320, eye=(0.3, 0.1, 0.9), fov=40.0, light="sunset", background="blur")
    environment = studio.lights.lit(studio._avatar, "sunset", 0.0).environment
    camera = camera_of(view, track.camera, view.height, view.width)
    expected = to_bytes(EnvironmentBehind(environment, BLUR_ROUGHNESS).behind(camera, slice(0, 1)))[0]
    seen = studio.look(view).picture
    empty = (studio.look(replace(view, mode="visibility")).picture == 0).all(-1)
    empty[:, 1:] &= empty[:, :-1]  # an antialiased outline lies outside too
    empty[:, :-1] &= empty[:, 1:]
    assert empty.mean() > 0.3
    assert np.abs(seen[empty].astype(int) - expected[empty]).mean() < 1
    assert np.ptp(expected[empty].astype(int), axis=0).min() > 20


def test_the_background_follows_camera_and_light(studio: Studio):
    view = replace(RECORDED, eye=(0.0, 0.0, 0.9), light="sunset", background="envmap")
    corner = studio.look(view).picture[:8, :8].astype(int)
    assert np.abs(studio.look(replace(view, weights=weights_of(jawOpen=1.0))).picture[:8, :8] - corner).max() == 0
    for change in ({"rotate": 90.0}, {"eye": (0.9, 0.0, 0.0)}, {"light": "overcast"}, {"fov": 90.0}):
        assert np.abs(studio.look(replace(view, **change)).picture[:8, :8] - corner).max() > 5
