"""The bundled MediaPipe networks: checked, loaded and run on the CPU."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Literal, final

import numpy as np
from jaxtyping import Float

from flare_cli.data.native_output import without_lines
from flare_cli.errors import BackendError
from flare_cli.parallel.cores import cores

NetworkName = Literal["face_detection_short_range", "face_landmark", "iris_landmark", "selfie_segmentation"]

SHA256: dict[NetworkName, str] = {
    "face_detection_short_range": "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    "face_landmark": "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    "iris_landmark": "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
    "selfie_segmentation": "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
}


@final
class Network:
    """One network: a float picture in, its outputs by position in the order of the file."""

    def __init__(self, name: NetworkName, *, threads: int = 2) -> None:
        from ai_edge_litert.interpreter import Interpreter

        content = (files("flare_cli") / "assets" / "mediapipe" / f"{name}.tflite").read_bytes()
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise BackendError(f"the network {name}.tflite is damaged", hint="reinstall flare-cli")
        with without_lines(rb"INFO: Created TensorFlow Lite"):  # it has no switch for this
            self._interpreter = Interpreter(model_content=content, num_threads=min(threads, cores()))
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]

    def __call__(self, picture: Float[np.ndarray, "H W 3"]) -> list[np.ndarray]:
        """Run on one picture in the value range that the network was trained with."""
        self._interpreter.set_tensor(self._input, picture[None].astype(np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index)[0] for index in self._outputs]
