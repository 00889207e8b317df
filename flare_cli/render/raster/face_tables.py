"""What kernels derive from a list of faces, remembered while that list lives."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from flare_cli.render.geometry import twin_half_edges

_INT32, _TWINS = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()


def int32_faces(faces: Int[Tensor, "F 3"]) -> Int[Tensor, "F 3"]:
    """The same faces, contiguous and in 32 bits."""
    if faces.dtype == torch.int32 and faces.is_contiguous():
        return faces
    if faces not in _INT32:
        _INT32[faces] = faces.to(torch.int32).contiguous()
    return _INT32[faces]


def twins_of(faces: Int[Tensor, "F 3"]) -> Int[Tensor, "F 3"]:
    """The half-edge on the other side of each half-edge (`twin_half_edges`)."""
    if faces not in _TWINS:
        _TWINS[faces] = twin_half_edges(faces)
    return _TWINS[faces]
