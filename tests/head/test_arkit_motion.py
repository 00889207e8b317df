"""A head's motion as ARKit weights, and back: what went in comes out, and the joints get the rest."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.arkit_motion import as_arkit
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices
from flare_cli.head.visemes import talking_shapes


def by_weights(head: HeadModel, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """Expression and pose that ARKit weights ask for."""
    return {
        "expression": weights @ head.arkit.expression,
        "pose": torch.einsum("nk,kjc->njc", weights, head.arkit.pose),
    }


def moved(head: HeadModel, expression: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    zero = torch.zeros(len(expression), 3)
    return (
        pose_vertices(head, shape=torch.zeros(head.n_shape), expression=expression, pose=pose, translation=zero)
        - head.template
    )


def test_weights_of_the_open_head_are_read_off(open_head: HeadModel):
    weights = torch.rand(5, len(ARKIT_NAMES), generator=torch.Generator().manual_seed(0))
    motion = as_arkit(open_head, **by_weights(open_head, weights))
    torch.testing.assert_close(motion.weights, weights, atol=1e-5, rtol=0)
    assert motion.pose.abs().max() < 1e-5


def test_joints_keep_what_weights_do_not_turn(open_head: HeadModel):
    weights = torch.zeros(1, len(ARKIT_NAMES))
    weights[0, ARKIT_NAMES.index("jawOpen")] = 0.5
    asked = by_weights(open_head, weights)
    extra = Rotation.from_rotvec([0.0, 0.1, 0.0])  # the jaw to the side, and a look
    for joint in (Joint.JAW, Joint.EYE_LEFT):
        asked["pose"][0, joint] = torch.from_numpy((extra * Rotation.from_rotvec(asked["pose"][0, joint])).as_rotvec())
    asked["pose"][0, Joint.NECK] = torch.tensor([0.3, -0.2, 0.1])
    motion = as_arkit(open_head, **asked)
    assert abs(float(motion.weights[0, ARKIT_NAMES.index("jawOpen")]) - 0.5) < 0.01
    np.testing.assert_allclose(motion.pose[0, Joint.EYE_LEFT], [0, 0.1, 0], atol=1e-5)
    np.testing.assert_allclose(motion.pose[0, Joint.JAW], [0, 0.1, 0], atol=0.01)
    torch.testing.assert_close(motion.pose[0, Joint.NECK], asked["pose"][0, Joint.NECK])


def test_weights_of_another_head_make_its_motion(flame_head: HeadModel):
    weights = torch.zeros(3, len(ARKIT_NAMES))
    weights[0, ARKIT_NAMES.index("mouthSmileLeft")] = 0.8
    weights[1, ARKIT_NAMES.index("jawOpen")] = 0.6
    weights[2, [ARKIT_NAMES.index(f"browOuterUp{side}") for side in ("Left", "Right")]] = 1
    asked = by_weights(flame_head, weights)
    motion = as_arkit(flame_head, **asked)
    made = by_weights(flame_head, motion.weights)
    wanted, got = (moved(flame_head, one["expression"], one["pose"]) for one in (asked, made))
    assert (got - wanted).norm() < 0.1 * wanted.norm()
    assert (motion.weights >= 0).all()
    assert (motion.weights <= 1).all()


def test_visemes_shape_the_lips_as_their_sounds_do(open_head: HeadModel):
    shapes = talking_shapes()
    assert sum(name.startswith("viseme_") for name in shapes) == 15
    asked = by_weights(open_head, torch.stack(list(shapes.values())))
    posed = dict(zip(shapes, open_head.template + moved(open_head, **asked), strict=True))
    lips = open_head.regions["lips"]
    upper = lips & (open_head.template[:, 1] > open_head.template[lips, 1].median())
    lower = lips & ~upper

    def gap(name: str) -> float:
        return float(posed[name][upper, 1].mean() - posed[name][lower, 1].mean())

    def width(name: str) -> float:
        return float(posed[name][lips, 0].amax() - posed[name][lips, 0].amin())

    rest = gap("viseme_sil")
    assert gap("viseme_PP") < rest
    assert gap("viseme_aa") - rest > max(gap(f"viseme_{name}") - rest for name in ("E", "I", "U", "SS", "FF"))
    assert width("viseme_U") < width("viseme_O") < width("viseme_sil") < width("viseme_I")
