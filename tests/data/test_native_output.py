"""Nothing but our own words reaches the terminal: each case is a process, whose stderr C libraries write to."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from flare_cli.data.image import decoded

NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


def stderr_of(*arguments: object) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "OPENCV_LOG_LEVEL"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False).stderr


def stderr_of_flare(*arguments: object) -> list[str]:
    return [line for line in stderr_of("-m", "flare_cli.cli.main", *arguments).splitlines() if line]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def encoded(suffix: str, picture: np.ndarray) -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()


def test_a_network_loads_in_silence():
    assert stderr_of("-c", "from flare_cli.track.face.litert_network import Network; Network('face_landmark')") == ""


def test_warp_starts_in_silence():
    assert stderr_of("-c", "import flare_cli.render.launch") == ""


WHOLE = encoded(".png", NOISE)
PICTURES = {
    "cut": WHOLE[: len(WHOLE) // 2],
    "wrong byte": WHOLE[:200] + bytes([WHOLE[200] ^ 255]) + WHOLE[201:],
    "wrong header": WHOLE[:18] + b"\xff" + WHOLE[19:],
    "wrong profile": WHOLE[:33] + png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"none")) + WHOLE[33:],
    "no end": WHOLE[:-12],
    "only the first bytes": WHOLE[:10],
}
READ = """
import sys
import flare_cli.cli.main
from pathlib import Path
from flare_cli.cli.console import show_error
from flare_cli.data.image import read_rgb
from flare_cli.errors import FlareError
for name in sys.argv[1:]:
    try:
        read_rgb(Path(name))
    except FlareError as error:
        print(error.message, file=sys.stderr)
"""


def test_of_a_wrong_picture_only_our_message_is_seen(tmp_path: Path):
    paths = [tmp_path / f"{name}.png" for name in PICTURES]
    for path, data in zip(paths, PICTURES.values(), strict=True):
        path.write_bytes(data)
    unreadable = {"cut", "wrong byte", "wrong header", "only the first bytes"}
    lines = stderr_of("-c", READ, *paths).splitlines()
    assert {f"{path} is not a picture" for path in paths if path.stem in unreadable} <= set(lines)
    assert all(line.endswith("is not a picture") for line in lines), lines


def test_of_a_damaged_envmap_only_our_message_is_seen(tmp_path: Path):
    whole = encoded(".hdr", np.full((16, 32, 3), 0.5, np.float32) + NOISE[:16, :32])
    (tmp_path / "cut.hdr").write_bytes(whole[: len(whole) // 2])
    lines = stderr_of_flare("relight", tmp_path, "--envmap", tmp_path / "cut.hdr", "--device", "cpu")
    assert lines[0].startswith("error: ")
    assert not [line for line in lines if "OpenCV(" in line or "[ERROR" in line]


def test_of_a_damaged_video_only_our_message_is_seen(tmp_path: Path):
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 500)
    lines = stderr_of_flare("preprocess", tmp_path / "cut.mp4", "-o", tmp_path / "me")
    assert lines[0].startswith("error: ")
    assert len([line for line in lines if line.startswith(("error: ", "hint: "))]) == 2


MIXED = """
import os, sys
from threading import Thread
from flare_cli.data.native_output import without_lines
print("before", file=sys.stderr)
with without_lines(b"INFO: Created"):
    sys.stderr.write("progress 3/8")
    sys.stderr.flush()
    os.write(2, b"INFO: Created a delegate\\n")
    Thread(target=os.write, args=(2, b"of a thread\\n")).start()
    with without_lines(b"libpng warning"):
        os.write(2, b"libpng warning: x\\nof the library\\n")
    raise ValueError("of ours")
"""


def test_everything_else_is_seen_and_in_order():
    text = stderr_of("-c", MIXED)
    assert "INFO" not in text
    assert "libpng" not in text
    places = [
        text.index(part) for part in ("before", "progress 3/8", "of the library", "Traceback", "ValueError: of ours")
    ]
    assert places == sorted(places)
    assert "of a thread" in text


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_picture_that_is_all_right_is_read_as_opencv_reads_it(suffix: str, tmp_path: Path):
    data = encoded(suffix, NOISE)
    np.testing.assert_array_equal(decoded(data, cv2.IMREAD_COLOR), cv2.imdecode(np.frombuffer(data, np.uint8), 1))
