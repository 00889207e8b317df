"""What rasterizers derive from a list of faces, remembered while that list lives."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from flare_cli.render.geometry import twin_half_edges


@final
class Topology:
    """Faces as kernels want them, and the neighbour across each edge."""

    def __init__(self) -> None:
        self._int32 = WeakTensorKeyDictionary()
        self._twins = WeakTensorKeyDictionary()

    def int32(self, faces: Int[Tensor, "F 3"]) -> Int[Tensor, "F 3"]:
        """The same faces, contiguous and in 32 bits."""
        if faces.dtype == torch.int32 and faces.is_contiguous():
            return faces
        if faces not in self._int32:
            self._int32[faces] = faces.to(torch.int32).contiguous()
        return self._int32[faces]

    def twins(self, faces: Int[Tensor, "F 3"]) -> Int[Tensor, "F 3"]:
        """The half-edge on the other side of each half-edge (`twin_half_edges`)."""
        if faces not in self._twins:
            self._twins[faces] = twin_half_edges(faces)
        return self._twins[faces]
