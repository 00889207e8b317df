"""Video in and out through the ffmpeg program that imageio-ffmpeg brings: frames stream, never all in memory."""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import IO, final

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from jaxtyping import UInt8

from flare_cli.data.atomic import replace_whole
from flare_cli.errors import VideoError

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")  # that we write
ALPHA_SUFFIXES = (".mov", ".webm")  # of these, those whose pictures may be transparent
# ffmpeg turns pictures by their rotation tag before our filters; the scale makes pixels square.
SQUARE_PIXELS = "scale=iw*sar:ih,setsar=1"
HINT_OTHER_FILE = "check the path, or try another file: mp4, mov, webm, mkv and avi with a picture stream all work"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a video says about itself. Width and height are as shown: turned, with square pixels."""

    path: Path
    width: int
    height: int
    fps: float
    duration: float | None

    @property
    def expected_frames(self) -> int | None:
        """About how many frames there should be; only reading tells how many there are."""
        return None if self.duration is None else max(1, round(self.duration * self.fps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """The sound of a video, from `start` seconds on."""

    path: Path
    start: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFrame:
    """One picture of a video. `index` counts from 0 in the file; `time` is its own time stamp in seconds."""

    index: int
    time: float
    rgb: UInt8[np.ndarray, "H W 3"]


def _url(path: Path) -> str:
    """A file as ffmpeg takes it whatever its name is: else a colon ends a protocol, and a dash begins an option."""
    return f"file:{path}"


def _input(path: Path) -> list[str]:
    """What makes `path` ffmpeg's input, and keeps a playlist that is called a video from opening connections."""
    return ["-protocol_whitelist", "file", "-i", _url(path)]


def video_info(path: Path) -> VideoInfo:
    """Decode the first picture of `path` and say what the video is. Raises `VideoError` if there is none."""
    if not path.is_file():
        raise VideoError(f"{path} does not exist or is not a file", hint="check the path of the video")
    command = [get_ffmpeg_exe(), "-hide_banner", "-nostdin", *_input(path), "-map", "0:v:0", "-frames:v", "1"]
    command += ["-vf", f"{SQUARE_PIXELS},showinfo=checksum=0", "-f", "null", "-"]
    log = subprocess.run(command, capture_output=True, check=False).stderr.decode("utf-8", "replace")
    size = re.search(r"showinfo.*? s:(\d+)x(\d+)", log)
    if size is None:
        raise VideoError(f"{path} is not a video that can be read: {_reason(log)}", hint=HINT_OTHER_FILE)
    rate = re.search(r"Video:.*?([\d.]+)(k?) fps", log) or re.search(r"Video:.*?([\d.]+)(k?) tbr", log)
    length = re.search(r"Duration: (\d+):(\d+):([\d.]+)", log)
    return VideoInfo(
        path=path,
        width=int(size[1]),
        height=int(size[2]),
        fps=float(rate[1]) * (1000 if rate[2] else 1) if rate else 25.0,
        duration=int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3]) if length else None,
    )


@final
class VideoReader:
    """The frames of a video, one after another.

    `fps` drops frames down to about that rate (it never repeats one); `max_frames` stops early. Iterating a second time
    reads the file again. After a whole pass `warning` says what was wrong with the file, or is None.
    """

    def __init__(self, path: Path, *, fps: float | None = None, max_frames: int | None = None) -> None:
        self.info = video_info(path)
        self.fps = fps
        self.max_frames = max_frames
        self.warning: str | None = None

    @property
    def expected_frames(self) -> int | None:
        """About how many frames a pass gives."""
        count = self.info.expected_frames
        if count is not None and self.fps is not None:
            count = max(1, round(count * min(1.0, self.fps / self.info.fps)))
        return count if self.max_frames is None else min(self.max_frames, count or self.max_frames)

    def __iter__(self) -> Iterator[VideoFrame]:
        kept, due = 0, -np.inf
        for frame in self._all_frames():
            if self.fps is not None and frame.time < due:
                continue
            if self.fps is not None:
                # The next picture is due one period on; half a source frame early is still the nearest one.
                first = frame.time if kept == 0 else due + 0.5 / self.info.fps
                due = first + 1 / self.fps - 0.5 / self.info.fps
            yield frame
            kept += 1
            if kept == self.max_frames:
                return

    def _all_frames(self) -> Iterator[VideoFrame]:
        command = [get_ffmpeg_exe(), "-hide_banner", "-nostdin", *_input(self.info.path), "-map", "0:v:0"]
        command += ["-fps_mode", "passthrough", "-vf", f"{SQUARE_PIXELS},showinfo=checksum=0"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        assert process.stdout is not None
        assert process.stderr is not None
        log = _FrameLog(process.stderr)
        height, width = self.info.height, self.info.width
        index = 0
        try:
            while (data := _read_exactly(process.stdout, height * width * 3)) is not None:
                rgb = data.reshape(height, width, 3)
                yield VideoFrame(index=index, time=log.next_time(fallback=index / self.info.fps), rgb=rgb)
                index += 1
            process.wait()
            self.warning = self._warning(index, log, process.returncode)
        finally:
            process.kill()
            process.stdout.close()
            process.wait()
            log.join()
        if index == 0:
            raise VideoError(f"{self.info.path} gives no picture: {_reason(log.text())}", hint=HINT_OTHER_FILE)

    def _warning(self, frames: int, log: _FrameLog, returncode: int) -> str | None:
        expected = self.info.expected_frames
        if returncode != 0 or log.damaged():
            return f"{self.info.path} is damaged: {frames} frames could be read ({_reason(log.text())})"
        if expected is not None and frames < 0.5 * expected:
            return f"{self.info.path} says it has about {expected} frames, but only {frames} could be read"
        return None


@final
class _FrameLog:
    """Reads ffmpeg's stderr beside its pictures: one time stamp per frame, and what it complains of."""

    def __init__(self, stream: IO[bytes]) -> None:
        # Without a buffer, lines are read byte by byte.
        self._stream = io.BufferedReader(stream)  # pyright: ignore[reportArgumentType] - a raw stream
        self._times: Queue[float | None] = Queue()
        self._lines: deque[str] = deque(maxlen=40)
        self._damage = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for raw in self._stream:
            line = raw.decode("utf-8", "replace").rstrip()
            if "showinfo" in line:
                match = re.search(r" n: *\d+ .*?pts_time:(\S+)", line)
                if match:
                    self._times.put(float(match[1]) if match[1] not in ("NOPTS", "nan") else None)
            else:
                self._lines.append(line)
                self._damage |= re.search(r"(?i)error|corrupt|truncat|partial file|invalid data", line) is not None
        self._times.put(None)

    def next_time(self, fallback: float) -> float:
        """The time of the next frame; `fallback` for a stream without time stamps."""
        time = self._times.get(timeout=60)
        return fallback if time is None else time

    def damaged(self) -> bool:
        self.join()
        return self._damage

    def join(self) -> None:
        self._thread.join()
        self._stream.close()

    def text(self) -> str:
        return "\n".join(self._lines)


def _read_exactly(stream: IO[bytes], size: int) -> UInt8[np.ndarray, "size"] | None:
    buffer = np.empty(size, np.uint8)
    view, filled = buffer.data, 0
    while filled < size:
        count = stream.readinto(view[filled:])  # pyright: ignore[reportAttributeAccessIssue]
        if not count:
            return None
        filled += count
    return buffer


def _reason(log: str) -> str:
    """The line in ffmpeg's log that best says what went wrong."""
    lines = [re.sub(r"^\[[^\]]*\] *", "", line.strip()) for line in log.splitlines() if line.strip()]
    telling = [
        line for line in lines if re.search(r"(?i)invalid|error|not found|no such|matches no|denied|corrupt", line)
    ]
    return (telling or lines or ["ffmpeg gave no reason"])[0]


@contextmanager
def open_video(
    path: Path, *, fps: float, crf: int = 18, preset: str = "veryfast", sound: Sound | None = None
) -> Generator[VideoWriter]:
    """Write a video that plays everywhere: H.264, or VP9 into a .webm; where it is transparent ProRes 4444 or VP9.

    It appears under its name when the block ends well, and not at all when it does not. `crf` and `preset` are x264's:
    lower is better and larger; a faster preset needs a lower crf or more bytes for the same quality. Of `sound` as much
    is taken as there are pictures; a file without any is silence. Raises `VideoError` where it can't be written.
    """
    with replace_whole(path, keep_suffix=True) as partial, tempfile.TemporaryFile() as log:
        writer = VideoWriter(path, partial, log, fps=fps, quality=["-crf", str(crf), "-preset", preset], sound=sound)
        try:
            yield writer
        except BaseException:
            writer.stop()
            raise
        writer.finish()


@final
class VideoWriter:
    """Hands pictures to an encoder; `open_video` makes one.

    All frames have one size and as many channels; an odd edge is repeated once, because yuv420p needs even sizes.
    """

    def __init__(
        self, path: Path, partial: Path, log: IO[bytes], *, fps: float, quality: list[str], sound: Sound | None
    ) -> None:
        self._path, self._partial, self._log = path, partial, log
        self._fps, self._quality, self._sound = fps, quality, sound
        self._process: subprocess.Popen[bytes] | None = None
        self._shape: tuple[int, ...] | None = None

    def write(self, picture: UInt8[np.ndarray, "H W C"]) -> None:
        """Add one picture, sRGB or with straight alpha as a fourth channel."""
        height, width, channels = picture.shape
        if self._process is None:
            self._shape = picture.shape
            self._process = self._start(height + height % 2, width + width % 2, transparent=channels == 4)
        if self._shape != picture.shape:
            raise ValueError(f"frames of {self._shape} and of {picture.shape} in one video")
        odd = height % 2 or width % 2
        even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if odd else picture
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(even).data)
        except BrokenPipeError as error:
            raise self._failure() from error

    def finish(self) -> None:
        """Wait until the file is whole. Raises `VideoError` where the encoder failed or there was no picture."""
        if self._process is None:
            raise VideoError(f"{self._path}: there was no picture to write", hint="choose at least one frame")
        if self.stop() != 0:
            raise self._failure()

    def stop(self) -> int:
        """End the encoder; its exit code."""
        if self._process is None:
            return 0
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        return self._process.wait()

    def _start(self, height: int, width: int, *, transparent: bool) -> subprocess.Popen[bytes]:
        command = [get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgba" if transparent else "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", f"{self._fps:.6g}", "-i", "pipe:0"]
        if self._sound is not None:
            command += ["-ss", f"{self._sound.start:.6f}", *_input(self._sound.path)]
            command += ["-map", "0:v", "-map", "1:a:0?", "-c:a", self._audio_codec(), "-b:a", "160k", "-shortest"]
        command += ["-vf", "scale=out_color_matrix=bt709:out_range=tv", *self._codec(transparent)]
        command += ["-movflags", "+faststart"] if self._path.suffix.lower() in (".mp4", ".mov") else []
        command += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", _url(self._partial)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=self._log)

    def _audio_codec(self) -> str:
        return "libopus" if self._path.suffix.lower() == ".webm" else "aac"

    def _codec(self, transparent: bool) -> list[str]:
        if self._path.suffix.lower() == ".webm":
            # Constant quality: VP9's scale is about a third longer than x264's. Row by row it uses the cores.
            quality = ["-crf", "24", "-b:v", "0", "-row-mt", "1", "-cpu-used", "4"]
            return ["-c:v", "libvpx-vp9", *quality, "-pix_fmt", "yuva420p" if transparent else "yuv420p"]
        if transparent:
            return ["-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"]
        return ["-c:v", "libx264", "-pix_fmt", "yuv420p", *self._quality]

    def _failure(self) -> VideoError:
        self._log.seek(0)
        reason = _reason(self._log.read().decode("utf-8", "replace"))
        return VideoError(
            f"{self._path} could not be written: {reason}", hint="check free space, and that it ends in .mp4"
        )
