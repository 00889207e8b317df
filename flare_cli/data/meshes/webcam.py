"""MediaPipe's face tracker for browsers (Apache-2.0), as a user has it: what a page needs to be moved by a camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flare_cli.errors import AvatarError

_HINT = (
    "put face_landmarker.task there (MediaPipe's guide to its Face Landmarker has it), "
    "and `npm install @mediapipe/tasks-vision`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTracker:
    """The script of @mediapipe/tasks-vision (CommonJS), its loader, its WebAssembly, and the model."""

    script: bytes
    loader: bytes
    wasm: bytes
    task: bytes

    def parts(self) -> dict[str, bytes]:
        """All of it by name."""
        return {"script": self.script, "loader": self.loader, "wasm": self.wasm, "task": self.task}


def face_tracker(folder: Path) -> FaceTracker:
    """Find the four files anywhere below a folder. Raises `AvatarError` with what is missing."""
    return FaceTracker(
        script=_found(folder, "vision_bundle.cjs"),
        loader=_found(folder, "vision_wasm_internal.js"),
        wasm=_found(folder, "vision_wasm_internal.wasm"),
        task=_found(folder, "face_landmarker*.task"),
    )


def _found(folder: Path, pattern: str) -> bytes:
    if not folder.is_dir():
        raise AvatarError(f"{folder} is not a folder with MediaPipe's face tracker", hint=_HINT)
    files = sorted(folder.rglob(pattern))
    if not files:
        raise AvatarError(f"{folder} holds no {pattern}", hint=_HINT)
    return files[0].read_bytes()
