import cv2
import numpy as np
import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.errors import EnvmapError
from flare_cli.show.envmaps import bundled_envmaps
from flare_cli.show.viewing import lights
from flare_cli.show.viewing.lights import Lights
from flare_cli.show.viewing.view import OWN_LIGHT


def hdr(height: int = 8, width: int = 16, value: float = 1.0) -> bytes:
    done, data = cv2.imencode(".hdr", np.full((height, width, 3), value, np.float32))
    assert done
    return data.tobytes()


def test_all_bundled_maps_are_offered_and_the_recordings_own_light():
    names = Lights().names()
    assert names[:2] == [OWN_LIGHT, "studio"]
    assert set(names) == {OWN_LIGHT, *bundled_envmaps()}


def test_a_map_that_was_given_lights(avatar: Avatar):
    kept = Lights()
    name = kept.add("my room.hdr", hdr(64, 128, 40.0))
    assert kept.names()[-1] == name == "my room.hdr"
    samples = kept.lit(avatar, name, 0.0).light.samples()
    torch.testing.assert_close(samples.radiance, torch.ones_like(samples.radiance), atol=0.02, rtol=0)  # mean is 1


def test_names_are_plain_and_no_two_are_the_same():
    kept = Lights()
    assert kept.add("../../<b>.hdr", hdr()) == ".._.._<b>.hdr".replace("<", "_").replace(">", "_")
    assert kept.add("studio", hdr()) == "studio'"
    assert kept.add("studio", hdr()) == "studio''"
    assert len(kept.add("x" * 500, hdr())) <= 60


@pytest.mark.parametrize(
    "data",
    [b"", b"\x89PNG\r\n\x1a\n", b"#?RADIANCE\n", hdr()[:60], hdr(8, 8), b"\x76\x2f\x31\x01" + bytes(100)],
    ids=["nothing", "png", "no size", "cut off", "square", "exr"],
)
def test_what_is_no_map_is_refused(data: bytes):
    kept = Lights()
    before = kept.names()
    with pytest.raises(EnvmapError):
        kept.add("a", data)
    assert kept.names() == before


def test_a_map_that_says_it_is_huge_is_refused_before_room_is_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lights, "parse_radiance", lambda *_: pytest.fail("it was read"))
    bomb = b"#?RADIANCE\n-Y 4 +X 8\nFORMAT=32-bit_rle_rgbe\n\n-Y 20000 +X 40000\n" + bytes(100)
    with pytest.raises(EnvmapError, match="40000 x 20000"):
        Lights().add("bomb", bomb)


def test_there_is_an_end_to_giving(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lights, "MOST_UPLOADS", 2)
    kept = Lights()
    for _ in range(2):
        kept.add("a", hdr())
    with pytest.raises(EnvmapError, match="2 maps"):
        kept.add("a", hdr())


def test_few_are_kept_ready_and_the_others_made_again(avatar: Avatar, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lights, "KEPT", 2)
    kept = Lights()
    names = [kept.add(str(i), hdr(value=1.0 + i)) for i in range(4)]
    for name in (*names, *names):
        assert kept.lit(avatar, name, 0.0).environment is not None
    assert len(kept._ready) == 2
