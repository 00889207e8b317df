"""A tiny morphable head in ICT-FaceKit's two layouts: its numbers of vertices, of nothing but a ball of points."""

import numpy as np
import pytest

VERTICES = 40
NAMES = ("browInnerUp_L", "browInnerUp_R", "jawOpen", "mouthSmile_L", "PupilDilate_L")


@pytest.fixture(scope="session")
def tiny_shapes():
    random = np.random.default_rng(0)
    # Multiples of 1/64, so that float16, float32 and six decimals hold them exactly.
    template = random.integers(-640, 640, (VERTICES, 3)) / 64
    identity = random.integers(-32, 32, (3, VERTICES, 3)) / 64
    expression = random.integers(-32, 32, (len(NAMES), VERTICES, 3)) / 64
    quads = np.stack([random.permutation(VERTICES)[:4] for _ in range(12)])
    quads[-2:, 3] = -1
    return template, quads, identity, expression


@pytest.fixture(scope="session")
def tiny_npz(tiny_shapes, tmp_path_factory):
    template, quads, identity, expression = tiny_shapes
    path = tmp_path_factory.mktemp("ict") / "head.npz"
    np.savez(
        path,
        template=template.astype(np.float32),
        quads=quads.astype(np.int32),
        identity=identity.astype(np.float16),
        expression=expression.astype(np.float16),
        expression_names=np.array(NAMES),
    )
    return path


@pytest.fixture(scope="session")
def tiny_folder(tiny_shapes, tmp_path_factory):
    template, quads, identity, expression = tiny_shapes
    folder = tmp_path_factory.mktemp("FaceXModel")
    shapes = {"generic_neutral_mesh": np.zeros_like(template)}
    shapes |= {f"identity{i:03d}": offsets for i, offsets in enumerate(identity)}
    shapes |= dict(zip(NAMES, expression, strict=True))
    for name, offsets in shapes.items():
        lines = ["# made by a test", "mtllib head.mtl"]
        lines += ["v {:.6f} {:.6f} {:.6f}".format(*place) for place in template + offsets]
        lines += ["vt 0.5 0.5", "usemtl M_Face"]
        lines += ["f " + " ".join(f"{corner + 1}/1" for corner in quad if corner >= 0) for quad in quads]
        (folder / f"{name}.obj").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
