"""A user's own face-parsing network in the place of our labels: a TFLite or ONNX file with CelebAMask's classes.

Worker processes use this module: it imports no torch.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flare_cli.data.celebamask import Label
from flare_cli.errors import FileError, FlareError

# Of pictures in 0..1, by channel: ImageNet's, as nearly all published face parsers are trained with.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Edge of the input where the file leaves it open: what face parsers are trained on.
USUAL_EDGE = 512
FORMAT = "a .tflite or .onnx file that takes one picture and gives 19 scores a pixel (docs/formats.md, Face parsers)"

Run: TypeAlias = Callable[[Float[np.ndarray, "1 _ _ _"]], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parser:
    """A parsing network by its file. It can be sent to other processes, each of which loads it once."""

    path: Path

    def __call__(self, rgb: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
        """The class of each pixel. Raises `FlareError` if the file is no such network."""
        run, edge, channels_first = _loaded(self.path)
        height, width = rgb.shape[:2]
        picture = cv2.resize(rgb, (edge, edge), interpolation=cv2.INTER_AREA if height > edge else cv2.INTER_LINEAR)
        values = (picture.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
        scores = np.asarray(run(values.transpose(2, 0, 1)[None] if channels_first else values[None]), np.float32)
        if scores.ndim != 4 or len(scores) != 1 or len(Label) not in (scores.shape[1], scores.shape[3]):
            raise FlareError(f"{self.path} answers with numbers of shape {scores.shape}", hint=f"name {FORMAT}")
        planes = scores[0] if scores.shape[1] == len(Label) else scores[0].transpose(2, 0, 1)
        finer = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in planes]
        return np.argmax(finer, 0).astype(np.uint8)

    def digest(self) -> str:
        """Of the file's content."""
        return hashlib.sha256(_content(self.path)).hexdigest()


def checked_parser(path: Path) -> Parser:
    """The network in a file, tried on one picture. Raises `FlareError` if it is none."""
    parser = Parser(path=path.resolve())
    parser(np.zeros((USUAL_EDGE, USUAL_EDGE, 3), np.uint8))
    return parser


def parsed_labels(parsed: UInt8[np.ndarray, "H W"], ours: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """The parser's classes where our matte sees a person (`ours` is not background); ours where it sees none."""
    return np.where((ours != Label.BACKGROUND) & (parsed != Label.BACKGROUND), parsed, ours)


@functools.cache
def _loaded(path: Path) -> tuple[Run, int, bool]:
    """What runs the network, the edge of its input, and whether channels come first there."""
    content = _content(path)
    loaders = {".tflite": _tflite, ".onnx": _onnx}
    if path.suffix.lower() not in loaders:
        raise FlareError(f"{path} is not a face parser", hint=f"name {FORMAT}")
    try:
        return loaders[path.suffix.lower()](content)
    except (ValueError, RuntimeError, cv2.error) as error:
        raise FlareError(f"{path} can't be loaded: {str(error).strip()[:200]}", hint=f"name {FORMAT}") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} can't be read: {error.strerror}", hint="check the path") from error


def _tflite(content: bytes) -> tuple[Run, int, bool]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    wanted = interpreter.get_input_details()[0]
    shape, index = np.asarray(wanted["shape"]).tolist(), wanted["index"]
    channels_first = len(shape) == 4 and shape[1] == 3
    edge = shape[2] if len(shape) == 4 and shape[2] > 1 else USUAL_EDGE
    interpreter.resize_tensor_input(index, (1, 3, edge, edge) if channels_first else (1, edge, edge, 3))
    interpreter.allocate_tensors()
    answer = interpreter.get_output_details()[0]["index"]

    def run(picture: Float[np.ndarray, "1 _ _ _"]) -> np.ndarray:
        interpreter.set_tensor(index, picture)
        interpreter.invoke()
        return interpreter.get_tensor(answer)

    return run, edge, channels_first


def _onnx(content: bytes) -> tuple[Run, int, bool]:
    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    # The first of several answers is the finest: the others are there for training.
    names = network.getUnconnectedOutLayersNames()

    def run(picture: Float[np.ndarray, "1 _ _ _"]) -> np.ndarray:
        network.setInput(picture)
        return network.forward(list(names))[0]

    return run, USUAL_EDGE, True
