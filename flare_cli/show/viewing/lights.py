"""The lights that a page can choose: the recording's own, the bundled maps, and those it was given."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import final

import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.data.hdr import load_envmap, parse_radiance, radiance_size
from flare_cli.errors import EnvmapError
from flare_cli.head.skinning import rotation_from_axis_angle
from flare_cli.render.light.environment import EnvironmentLight, prefilter
from flare_cli.render.light.samples import SummedLight
from flare_cli.render.light.shading import Light
from flare_cli.render.light.turned import turned_light
from flare_cli.show.envmaps import automatic_exposure, bundled_envmaps
from flare_cli.show.viewing.view import OWN_LIGHT

FIRST_LIGHT = "studio"
UPLOAD_BYTES, UPLOAD_PIXELS = 1 << 26, 1 << 25  # of a map that a page sends: 64 MB, 8192 x 4096
MOST_UPLOADS = 16
KEPT = 4  # lights that are kept ready: some 20 MB each


@dataclass(frozen=True, slots=True)
class Lit:
    """A light for the avatar, and the environment that stands behind it; None where nobody knows."""

    light: Light | SummedLight
    environment: EnvironmentLight | None


@final
class Lights:
    """Lights by name, each made when it is first asked for."""

    def __init__(self) -> None:
        self._files = bundled_envmaps()
        self._given: dict[str, torch.Tensor] = {}
        self._lock = threading.Lock()  # maps come from any thread
        self._ready: OrderedDict[str, Lit] = OrderedDict()

    def names(self) -> list[str]:
        """The recording's own first, then bundled maps, then those that were given."""
        bundled = sorted(self._files, key=lambda name: (name != FIRST_LIGHT, "/" in name, name))
        return [OWN_LIGHT, *bundled, *self._given]

    def add(self, name: str, data: bytes) -> str:
        """Take a Radiance file; the name that it has from now on. Raises `EnvmapError` for anything else."""
        if len(self._given) >= MOST_UPLOADS:
            raise EnvmapError(f"there are {MOST_UPLOADS} maps already", hint="start the program again")
        name = re.sub(r"[^\w .-]", "_", name)[:60] or "map"
        height, width = radiance_size(data, name)
        if height * width > UPLOAD_PIXELS:
            raise EnvmapError(f"{name} is {width} x {height}", hint="scale it to 8192 x 4096 or less")
        envmap = torch.from_numpy(parse_radiance(data, name))
        with self._lock:
            while name in self.names():
                name += "'"
            self._given[name] = envmap
        return name

    def lit(self, avatar: Avatar, name: str, rotate: float) -> Lit:
        """The light of that name, turned by `rotate` radians toward the subject's left. Raises `EnvmapError`."""
        if name == OWN_LIGHT:
            lit = Lit(avatar.light, None)
        else:
            lit = self._ready[name] if name in self._ready else self._make(avatar, name)
            self._ready.move_to_end(name)
        if rotate == 0:
            return lit
        axis = torch.tensor([[0.0, rotate, 0.0]], device=avatar.device)
        turned = turned_light(lit.light, rotation_from_axis_angle(axis)[0].T)
        return Lit(turned, None if lit.environment is None else lit.environment.rotate(rotate))

    def _make(self, avatar: Avatar, name: str) -> Lit:
        if name in self._given:
            envmap = self._given[name]
        elif name in self._files:
            envmap = torch.from_numpy(load_envmap(self._files[name]))
        else:
            raise EnvmapError(f"there is no light {name[:60]!r}", hint="choose one of the list")
        envmap = (envmap * 2.0 ** automatic_exposure(envmap)).to(avatar.device)
        made = self._ready[name] = Lit(avatar.light.of_environment(envmap), prefilter(envmap))
        if len(self._ready) > KEPT:
            self._ready.popitem(last=False)
        return made
