"""Whether two avatar files hold the same tensors, bit for bit: how a change that must not change results is checked.

python tools/same_avatar.py A/avatar.safetensors B/avatar.safetensors

Exit code 0: the same; 1: not, and what differs. Headers (settings, times, folders) may differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from flare_cli.data.tensor_file import load_tensors
from flare_cli.errors import FlareError


def differences(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """One line for each tensor that is not the same in name, type, shape and bits."""
    return [line for name in sorted(a.keys() | b.keys()) if (line := _difference(name, a.get(name), b.get(name)))]


def _difference(name: str, a: Tensor | None, b: Tensor | None) -> str | None:
    if a is None or b is None:
        return f"{name}: only in the {'second' if a is None else 'first'}"
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{name}: {a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}"
    unlike = _bits(a) != _bits(b)  # of floats: 0 and -0 differ
    if not unlike.any():
        return None
    apart = (a.double() - b.double()).abs()[unlike.any(-1).view(a.shape)].max()
    return f"{name}: {int(unlike.any(-1).sum())} of {a.numel()} values differ, by up to {float(apart):.3g}"


def _bits(tensor: Tensor) -> Tensor:
    """The bytes of every value, (values, bytes)."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).view(tensor.numel(), tensor.element_size())


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        (a, _), (b, _) = (load_tensors(Path(path)) for path in sys.argv[1:])
    except FlareError as error:
        print(f"{error.message} ({error.hint})", file=sys.stderr)
        return 2
    lines = differences(a, b)
    print("\n".join(lines) or f"{len(a)} tensors, all the same")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
