"""The identity space: many random people from MakeHuman's own sliders, aligned on the skull, and their PCA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rig import Rig, joints_of, symmetric_joints
from topology import HeadMesh
from units import cleared_of_eyes

FOLDERS = ("head", "eyes", "mouth", "nose", "chin", "cheek", "ears", "forehead", "eyebrows", "neck", "asym")
OPPOSITES = (
    ("incr", "decr"),
    ("up", "down"),
    ("out", "in"),
    ("forward", "backward"),
    ("convex", "concave"),
    ("uncompress", "compress"),
)


@dataclass(frozen=True)
class ShapeSpace:
    """Unit-variance components; every one is exactly symmetric or exactly antisymmetric."""

    template: np.ndarray  # (V, 3)
    joints: np.ndarray  # (5, 3)
    dirs: np.ndarray  # (V, 3, S)
    joint_dirs: np.ndarray  # (5, 3, S)
    explained: float


def shape_space(mesh: HeadMesh, rig: Rig, *, components: int, samples: int, seed: int) -> ShapeSpace:
    rng = np.random.default_rng(seed)
    sliders = _Sliders(mesh, rig)
    skull = _skull(mesh, rig)
    points = np.empty((samples, mesh.rest.size), np.float32)
    joints = np.empty((samples, 5, 3))
    for i in range(samples):
        moved, moved_joints = sliders.person(rng)
        rotation, before, after = _alignment((mesh.rest + moved)[skull], mesh.rest[skull])
        person = (mesh.rest + moved - before) @ rotation.T + after
        points[i] = (cleared_of_eyes(mesh, person) - mesh.rest).ravel()
        joints[i] = (rig.joints + moved_joints - before) @ rotation.T + after
    return _pca(mesh, points, joints, components)


def _pca(mesh: HeadMesh, points: np.ndarray, joints: np.ndarray, components: int) -> ShapeSpace:
    """PCA of the people and their mirror images: the two halves (even, odd) don't correlate, so each has its own."""
    samples = len(points)
    mirrored = mesh.mirrored(points.reshape(samples, -1, 3)).reshape(samples, -1)
    even, odd = (points + mirrored) / 2, (points - mirrored) / 2
    even_joints = symmetric_joints(joints)
    odd_joints = joints - even_joints
    mean, mean_joints = even.mean(0), even_joints.mean(0)
    even -= mean
    parts = [_components(even, even_joints - mean_joints), _components(odd, odd_joints)]
    variance = np.concatenate([p[0] for p in parts])
    order = np.argsort(-variance, kind="stable")[:components]
    dirs = np.concatenate([p[1][:components] for p in parts])
    joint_dirs = np.concatenate([p[2][:components] for p in parts])
    rows = np.where(order < samples, order, order - samples + components)
    assert (rows < 2 * components).all()
    assert ((order < samples) == (rows < components)).all()
    return ShapeSpace(
        template=mesh.rest + mean.reshape(-1, 3),
        joints=mean_joints,
        dirs=dirs[rows].reshape(components, -1, 3).transpose(1, 2, 0),
        joint_dirs=joint_dirs[rows].transpose(1, 2, 0),
        explained=float(variance[order].sum() / variance.sum()),
    )


def _components(points: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All variances, and the strongest directions scaled to unit-variance coefficients (points, joints)."""
    samples, keep = len(points), 100
    gram = (points @ points.T).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1][:, :keep]
    dirs = vectors.T @ points / np.sqrt(samples)
    sign = np.sign(dirs[np.arange(keep), np.abs(dirs).argmax(1)])  # an eigenvector's sign is arbitrary: fix it
    joint_dirs = np.einsum("nk,njc->kjc", vectors, joints) / np.sqrt(samples)
    return values / samples, dirs * sign[:, None], joint_dirs * sign[:, None, None]


def _skull(mesh: HeadMesh, rig: Rig) -> np.ndarray:
    skin = mesh.parts["skin"]
    above = mesh.rest[skin][:, 1] > rig.joints[1, 1]
    return skin[(rig.weights[skin, 1] > 0.95) & above]


def _alignment(points: np.ndarray, onto: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rotation, and the two centres, that move `points` best onto `onto`."""
    before, after = points.mean(0), onto.mean(0)
    u, _, vt = np.linalg.svd((points - before).T @ (onto - after))
    return (u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt).T, before, after


class _Sliders:
    """Draws people: race, sex, age, build, and every local slider of the face."""

    def __init__(self, mesh: HeadMesh, rig: Rig) -> None:
        data = mesh.data

        def on_head(body: np.ndarray) -> np.ndarray:
            return mesh.displacement(body).astype(np.float32)

        def on_joints(body: np.ndarray) -> np.ndarray:
            return joints_of(mesh, rig.jaw_offset, body) - rig.joints

        race = data.macro_race.reshape(-1, *data.vertices.shape)
        build = data.macro_build.reshape(-1, *data.vertices.shape)
        macros = [*race, *build]
        self.macro = np.array([on_head(d) for d in macros])
        self.macro_joints = np.array([on_joints(d) for d in macros])
        paths = {n: p for f in FOLDERS for n, p in data.targets_in(f"mpfb2/targets/{f}", ".target.gz").items()}
        local = {name: data.target(path) for name, path in paths.items()}
        self.local = {name: on_head(d) for name, d in local.items()}
        self.local_joints = {name: on_joints(d) for name, d in local.items()}
        self.groups = _slider_groups(list(local))
        third, half = np.full(3, 1 / 3), np.full(2, 0.5)
        middle = np.array([0.0, 1.0, 0.0])
        self.average = _macro_weights(third, half, middle, middle, middle)

    def person(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Displacement of head and joints of one random person from the average adult."""
        sex, age = rng.beta(0.6, 0.6), np.clip(rng.normal(0.15, 0.35), -0.45, 1)
        muscle, weight = np.clip(rng.normal(0, 0.4), -1, 1), np.clip(rng.normal(0, 0.45), -1, 1)
        macro = _macro_weights(
            rng.dirichlet([0.7] * 3), np.array([sex, 1 - sex]), _stops(age), _stops(muscle), _stops(weight)
        )
        macro = (macro - self.average).astype(np.float32)
        used = np.flatnonzero(np.abs(macro) > 1e-5)
        points = np.tensordot(macro[used], self.macro[used], 1)
        joints = np.tensordot(macro[used], self.macro_joints[used], 1)
        for group, sliders in self.groups.items():
            amount = rng.normal(0, 0.12 if group.startswith("asym") else 0.28)
            if group.startswith(("head-trans", "neck-trans", "measure")):
                amount *= 0.15
            for more, less in sliders:
                value = np.clip(amount + rng.normal(0, 0.05), -1, 1)
                name = more if value > 0 or less is None else less
                points += np.float32(abs(value)) * self.local[name]
                joints += abs(value) * self.local_joints[name]
        return points.astype(np.float64), joints


def _macro_weights(race, sex, age, muscle, weight) -> np.ndarray:
    races = np.einsum("r,x,a->rxa", race, sex, age).ravel()
    return np.concatenate([races, np.einsum("x,a,m,w->xamw", sex, age, muscle, weight).ravel()])


def _stops(value: float) -> np.ndarray:
    """-1..1 as weights of (low, middle, high)."""
    return np.array([max(-value, 0), 1 - abs(value), max(value, 0)])


def _slider_groups(names: list[str]) -> dict[str, list[tuple[str, str | None]]]:
    """Pair each target with its opposite, and left with right, so that faces stay nearly symmetric."""
    pairs, used = [], set()
    for name in names:
        if name in used:
            continue
        opposite = next(
            (name[: -len(a)] + b for a, b in OPPOSITES if name.endswith("-" + a) and name[: -len(a)] + b in names),
            None,
        )
        is_second = any(name.endswith("-" + b) and name[: -len(b)] + a in names for a, b in OPPOSITES)
        if opposite or not is_second:
            pairs.append((name, opposite))
            used |= {name, opposite}
    groups = {}
    for pair in pairs:
        key = pair[0][2:] if pair[0].startswith(("l-", "r-")) else pair[0]
        groups.setdefault(key, []).append(pair)
    return groups
