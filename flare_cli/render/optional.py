"""Optional packages behind rasterizers and encodings: how to get one, its licence, and a clear error without it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from types import ModuleType

import torch

from flare_cli.errors import BackendError


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package that is not installed with `flare`. `distributions` are the names under which pip may know it."""

    module: str
    distributions: tuple[str, ...]
    licence: str
    install: str

    @property
    def installed(self) -> bool:
        """Whether Python finds it; whether it also loads, only `load` knows."""
        return importlib.util.find_spec(self.module) is not None

    @property
    def version(self) -> str:
        """The installed version, as pip knows it."""
        for name in self.distributions:
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return "of unknown version"

    def load(self, submodule: str = "") -> ModuleType:
        """Import it. Raises `BackendError` where it is missing or does not load."""
        if not self.installed:
            raise BackendError(
                f"{self.module} is not installed", hint=f"use auto instead, or {self.install}  [{self.licence}]"
            )
        try:
            return importlib.import_module(self.module + submodule)
        except (ImportError, OSError) as error:
            raise BackendError(
                f"{self.module} is installed but does not load: {error}",
                hint=f"its binaries must fit torch {torch.__version__}; build it anew: {self.install}",
            ) from error


NVDIFFRAST = Package(
    module="nvdiffrast",
    distributions=("nvdiffrast",),
    licence="NVIDIA Source Code License: non-commercial use only",
    install="pip install setuptools wheel ninja && "
    "pip install git+https://github.com/NVlabs/nvdiffrast --no-build-isolation",
)
TINYCUDANN = Package(
    module="tinycudann",
    distributions=("tinycudann",),
    licence="BSD-3",
    install="pip install git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch --no-build-isolation",
)
PYTORCH3D = Package(
    module="pytorch3d",
    distributions=("easypytorch3d", "pytorch3d"),
    licence="BSD-3",
    install="pip install easypytorch3d",
)


def require_cuda(name: str, device: torch.device, hint: str) -> None:
    """Raise `BackendError` unless `device` is a GPU."""
    if device.type != "cuda":
        raise BackendError(f"{name} runs on NVIDIA GPUs only, not on {device}", hint=hint)
