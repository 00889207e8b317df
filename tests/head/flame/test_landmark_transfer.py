"""What the open head knows is carried over to FLAME: landmarks and regions."""

import numpy as np
from support import flame_like

from flare_cli.head.skinning import landmark_points


def test_landmarks_are_carried_over_to_where_they_are(flame, open_head):
    points = landmark_points(flame, flame.template[None])[0].numpy()
    error = np.linalg.norm(points - flame_like.true_landmarks(open_head), axis=1)
    assert np.median(error) < 0.0015
    assert np.quantile(error, 0.95) < 0.004
    assert error[468:].max() < 0.0005
    corners = flame.faces[flame.landmarks.face]
    jaw = (flame.weights[corners, 2] * flame.landmarks.barycentric).sum(1)
    assert (jaw[[0, 11, 12, 13]] < 0.3).all()
    assert (jaw[[17, 16, 15, 14]] > 0.7).all()
    outer = flame.landmarks.face < 9900
    assert outer.all()  # none in a pocket


def test_regions_lie_where_those_of_the_open_head_do(flame, open_head):
    source = flame_like.build_flame_like().source
    assert flame.regions.keys() == open_head.regions.keys()
    for name, least in {"lips": 0.85, "ears": 0.85, "scalp": 0.85, "nose": 0.85, "neck": 0.85, "eyes": 0.99}.items():
        true = source @ open_head.regions[name].numpy().astype(float) > 0.5
        found = flame.regions[name].numpy()[:5023]
        assert (true & found).sum() / (true | found).sum() > least, name
    assert not flame.regions["skin"][flame.regions["eyes"]].any()
