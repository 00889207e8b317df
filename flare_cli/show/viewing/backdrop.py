"""What stands behind the avatar on a page."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from flare_cli.render.camera import Cameras
from flare_cli.render.light.environment import EnvironmentLight, environment_background
from flare_cli.show.filming.backgrounds import BLUR, BLUR_ROUGHNESS, ENVMAP
from flare_cli.show.filming.lamps import linear_colour
from flare_cli.show.viewing.view import View

COARSER = 8  # pixels along each side that share a look at the blurred map: it is smooth over more


@final
class Backdrop:
    """Draws what is behind, and keeps it while camera and light stay: a CPU needs as long for it as for a face."""

    def __init__(self) -> None:
        self._kept: tuple[object, Float[Tensor, "1 H W 3"]] | None = None

    def behind(
        self, view: View, camera: Cameras, environment: EnvironmentLight | None
    ) -> Float[Tensor, "1 H W 3"] | None:
        """Linear radiance before the view's exposure, on the camera's device; None is black."""
        if view.mode != "picture":
            return None
        if view.background not in (BLUR, ENVMAP):
            # A colour does not follow the exposure, which comes after.
            colour = camera.intrinsics.new_tensor(linear_colour(view.background)) / 2.0**view.exposure
            return colour.expand(1, camera.height, camera.width, 3)
        if environment is None:
            return None
        numbers = torch.cat([camera.intrinsics.flatten(), camera.camera_from_world.flatten()]).tolist()
        key = (view.background, view.light, view.rotate, camera.height, camera.width, *numbers)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, _seen(environment, camera, view.background == BLUR)
        return self._kept[1]


def _seen(environment: EnvironmentLight, camera: Cameras, blurred: bool) -> Float[Tensor, "1 H W 3"]:
    if not blurred:
        return environment_background(environment, camera)
    coarse = camera.resized(math.ceil(camera.height / COARSER), math.ceil(camera.width / COARSER))
    picture = environment_background(environment, coarse, BLUR_ROUGHNESS)
    size = (camera.height, camera.width)
    return interpolate(picture.permute(0, 3, 1, 2), size, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
