"""ICT-FaceKit's light morphable head (MIT; Li et al., "Learning Formation of Physically Based Face Attributes", 2020).

It is read from its public folder `FaceXModel/`, a mesh in an `.obj` for each shape, or from one `.npz` with the same
arrays: `template` (V, 3) in centimetres, `quads` (N, 4; -1 ends a triangle), `identity` and `expression` (K, V, 3)
offsets, `expression_names`. Nothing of it is part of this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from flare_cli.data.array_file import read_npz
from flare_cli.errors import HeadError
from flare_cli.head.arkit import ARKIT_NAMES

CENTIMETRES = 0.01
NEUTRAL = "generic_neutral_mesh"
# First vertex and the one after the last, from the project's README ("Face Model Topology").
FACE, HEAD, MOUTH_SOCKET, EYE_SOCKETS = (0, 9409), (9409, 11248), (11248, 13294), (13294, 14062)
GUMS_TONGUE, TEETH, EYEBALLS, WET_LAYERS, LASHES = (
    (14062, 17039),
    (17039, 21451),
    (21451, 24591),
    (24591, 25351),
    (25351, 26719),
)
SCLERAS = ((21451, 22221), (23021, 23791))  # the subject's left, then right
IRISES = ((22221, 23021), (23791, 24591))
HINT = "point --head-data to the FaceXModel folder of ICT-FaceKit, or to an .npz of the same arrays"


@dataclass(frozen=True, slots=True, kw_only=True)
class IctHead:
    """The morphable head in metres; its own axes are ours, its origin is not. `names` are of expressions."""

    template: Float[np.ndarray, "V 3"]
    quads: Int[np.ndarray, "N 4"]
    identity: Float[np.ndarray, "I V 3"]
    expression: Float[np.ndarray, "E V 3"]
    names: tuple[str, ...]


def load_ict_head(path: Path) -> IctHead:
    """Read the folder, or the `.npz`. Raises `HeadError` where something is missing or does not fit."""
    if path.is_dir():
        return _from_folder(path)
    arrays = read_npz(path, error=HeadError, hint=HINT)
    try:
        return _checked(
            path,
            arrays["template"].astype(np.float64),
            arrays["quads"].astype(np.int64),
            arrays["identity"].astype(np.float32),
            arrays["expression"].astype(np.float32),
            tuple(str(name) for name in arrays["expression_names"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise HeadError(f"{path} holds no ICT head: {error}", hint=HINT) from error


def arkit_units(name: str) -> tuple[str, ...]:
    """The ARKit weights that drive an expression: `_L` and `_R` are sides, and brows and cheeks are split in two.

    Empty for what ARKit has no weight for (pupils; `cheekRaiser` is part of `cheekSquint`).
    """
    side = {"_L": "Left", "_R": "Right"}.get(name[-2:])
    whole = name if side is None else name[:-2]
    return tuple(unit for unit in (name if side is None else whole + side, whole) if unit in ARKIT_NAMES)[:1]


def arkit_matrix(names: tuple[str, ...]) -> Float[np.ndarray, "52 E"]:
    """What ARKit's 52 weights are multiplied by to give those of the expressions."""
    matrix = np.zeros((len(ARKIT_NAMES), len(names)), np.float32)
    for column, name in enumerate(names):
        for unit in arkit_units(name):
            matrix[ARKIT_NAMES.index(unit), column] = 1
    return matrix


def _checked(
    path: Path,
    template: Float[np.ndarray, "V 3"],
    quads: Int[np.ndarray, "N 4"],
    identity: Float[np.ndarray, "I V 3"],
    expression: Float[np.ndarray, "E V 3"],
    names: tuple[str, ...],
) -> IctHead:
    shapes = {identity.shape[1:], expression.shape[1:], template.shape}
    if len(shapes) != 1 or len(names) != len(expression) or quads.max(initial=0) >= len(template):
        raise HeadError(f"the parts of {path} do not fit together", hint=HINT)
    return IctHead(
        template=template * CENTIMETRES,
        quads=quads,
        identity=identity * np.float32(CENTIMETRES),
        expression=expression * np.float32(CENTIMETRES),
        names=names,
    )


def _from_folder(folder: Path) -> IctHead:
    neutral = folder / f"{NEUTRAL}.obj"
    template = _obj_vertices(neutral)
    others = sorted(path for path in folder.glob("*.obj") if path != neutral)
    identities = [path for path in others if path.stem.startswith("identity")]
    expressions = [path for path in others if arkit_units(path.stem)]
    if not identities or not expressions:
        raise HeadError(f"{folder} holds no identity or no expression beside {neutral.name}", hint=HINT)

    def offsets(paths: list[Path]) -> Float[np.ndarray, "K V 3"]:
        shapes = [_obj_vertices(path) for path in paths]
        if any(shape.shape != template.shape for shape in shapes):
            raise HeadError(f"the shapes in {folder} have other vertices than {neutral.name}", hint=HINT)
        return np.stack([shape - template for shape in shapes]).astype(np.float32)

    names = tuple(path.stem for path in expressions)
    return _checked(folder, template, _obj_quads(neutral), offsets(identities), offsets(expressions), names)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise HeadError(f"{path} can't be read: {error}", hint=HINT) from error


def _obj_vertices(path: Path) -> Float[np.ndarray, "V 3"]:
    numbers = " ".join(line[2:] for line in _lines(path) if line.startswith("v "))
    try:
        return np.array(numbers.split(), np.float64).reshape(-1, 3)
    except ValueError as error:
        raise HeadError(f"{path} is not a readable OBJ: {error}", hint=HINT) from error


def _obj_quads(path: Path) -> Int[np.ndarray, "N 4"]:
    corners = [[word.split("/")[0] for word in line.split()[1:]] for line in _lines(path) if line.startswith("f ")]
    try:
        quads = [[int(corner) - 1 for corner in face] + [-1] * (4 - len(face)) for face in corners]
        return np.array(quads, np.int64).reshape(-1, 4)
    except ValueError as error:
        raise HeadError(f"{path}: faces are not triangles and quads: {error}", hint=HINT) from error
