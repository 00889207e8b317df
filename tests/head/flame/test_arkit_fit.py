"""ARKit's units, fitted to FLAME's own directions."""

import numpy as np
import torch

from flare_cli.head.arkit import ARKIT_NAMES


def test_arkit_units_move_the_face_as_they_move_the_open_head(flame, flame_made, open_head):
    report = flame_made[1]
    assert set(report.arkit_residual) == set(ARKIT_NAMES)
    assert np.mean(list(report.arkit_residual.values())) < 0.25
    assert report.arkit_residual["mouthSmileLeft"] < 0.15
    jaw = flame.arkit.pose[ARKIT_NAMES.index("jawOpen"), 2]
    assert 0.2 < jaw[0] < 0.6
    assert jaw[1:].abs().max() < 0.05
    torch.testing.assert_close(flame.arkit.pose[:, 3:], open_head.arkit.pose[:, 3:])
