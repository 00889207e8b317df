"""FLAME's mouth and eye sockets are closed by pockets behind them."""

import numpy as np
import torch

from flare_cli.head.flame.surface import border_loops
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices


def test_only_the_neck_stays_open(flame):
    loops = border_loops(flame.faces.numpy())
    assert len(loops) == 1
    assert set(loops[0].tolist()) == set(torch.nonzero(flame.regions["boundary"])[:, 0].tolist())
    assert flame.template[loops[0], 1].max() < flame.joints[1, 1]
    faces = flame.faces.numpy()
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)


def test_sockets_go_around_the_eyeballs_and_the_mouth_opens_with_the_jaw(flame):
    v = flame.template
    sockets = v[flame.regions["eye_sockets"]]
    eyes = v[flame.regions["eyes"] & (v[:, 0] > 0)]
    radius = (eyes - flame.joints[3]).norm(dim=1).max()
    assert (sockets[:, None] - flame.joints[3:]).norm(dim=2).amin() > radius
    mouth = flame.regions["inner_mouth"]
    lips = v[flame.regions["lips"]].mean(0)
    assert v[mouth][:, 2].min() < lips[2] - 0.01
    opened = _posed(flame, jaw=0.3)

    def gap(vertices):
        return vertices[mouth][:, 1].max() - vertices[mouth][:, 1].min()

    assert gap(opened) > gap(v) + 0.005


def _posed(head: HeadModel, jaw: float):
    pose = torch.zeros(1, 5, 3)
    pose[0, 2, 0] = jaw
    return pose_vertices(
        head, shape=torch.zeros(head.n_shape), expression=torch.zeros(1, head.n_expression), pose=pose,
        translation=torch.zeros(1, 3),
    )[0]  # fmt: skip
