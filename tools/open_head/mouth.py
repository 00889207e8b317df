"""Where teeth and tongue are: MakeHuman's hide behind the lips, and its tongue fills a mouth that opens."""

from __future__ import annotations

import numpy as np
from topology import HeadMesh

# Metres, (right to left, up, forward). MakeHuman's upper incisors end where the upper lip does and stand 6 mm behind
# it. Of adults with the lips apart 2 to 3 mm of them show (Vig and Brundo, "The kinetics of anterior tooth display",
# J. Prosthet. Dent. 1978), and they overlap the lower ones by 1 to 3 mm, in front of them.
UPPER_TEETH, LOWER_TEETH = (0.0, -0.0045, 0.002), (0.0, -0.002, 0.0)
# The tongue lies behind the lower teeth: its height shrinks to this part, `TONGUE_FLOOR` above its lowest vertex stays.
TONGUE_HEIGHT, TONGUE_FLOOR, TONGUE_BACK = 0.45, 0.005, 0.002


def seated(mesh: HeadMesh) -> np.ndarray:
    """How far the vertices of teeth and tongue move to their places (V, 3); all others stay."""
    moved = np.zeros_like(mesh.rest)
    moved[mesh.mask("upper_teeth")] = UPPER_TEETH
    moved[mesh.mask("lower_teeth")] = LOWER_TEETH
    tongue = mesh.mask("tongue")
    height = mesh.rest[tongue, 1] - mesh.rest[tongue, 1].min() - TONGUE_FLOOR
    moved[tongue, 1] = (TONGUE_HEIGHT - 1) * height
    moved[tongue, 2] = -TONGUE_BACK
    return moved
