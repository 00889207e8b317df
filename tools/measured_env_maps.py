"""Make `assets/env_maps/measured/` from the npm package `@pmndrs/assets` (Poly Haven's HDRIs, CC0, 512 x 256 OpenEXR).

    npm pack @pmndrs/assets && tar xzf pmndrs-assets-*.tgz && pip install OpenEXR
    python tools/measured_env_maps.py package/hdri

Each map is halved by area, so that a lamp keeps its power; the negative pixels that resizing had left are set to 0. In
`park` and `sunrise` the sun has lost its red and green (they are 0 beside a blue above 10,000): it is made white.
"""

from __future__ import annotations

import base64
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import OpenEXR  # pyright: ignore[reportMissingImports]

from flare_cli.data.hdr import save_hdr

OUT = Path(__file__).parents[1] / "assets" / "env_maps" / "measured"
# Times as blue as anything else: no lamp is.
LOST = 100


def main(folder: Path) -> None:
    """Convert every map in `folder`."""
    for script in sorted(folder.glob("*.exr.js")):
        found = re.search(r"base64,([A-Za-z0-9+/=]+)", script.read_text())
        assert found is not None, script
        with tempfile.NamedTemporaryFile(suffix=".exr") as file:
            file.write(base64.b64decode(found[1]))
            file.flush()
            with OpenEXR.File(file.name) as picture:
                radiance = picture.channels()["RGB"].pixels.astype(np.float32).clip(0)
        lost = radiance[..., 2] > LOST * radiance[..., :2].max(-1).clip(1)
        radiance[lost] = radiance[lost, 2:]
        height, width = radiance.shape[:2]
        halved = radiance.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
        save_hdr(OUT / f"{script.name.removesuffix('.exr.js')}.hdr", halved)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
