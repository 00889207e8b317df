"""The avatar that a config asks for in one of its stages."""

from __future__ import annotations

from flare_cli.avatar.spec import F0, AvatarSpec, DeformerSpec, LightSpec, MaterialSpec
from flare_cli.avatar.visibility import FIXED_FACTORS
from flare_cli.config.schema import Config, LightSettings, StageSettings


def stage_spec(config: Config, stage: StageSettings, *, subdivisions: int = 0) -> AvatarSpec:
    """What the avatar is built from in `stage`, with a mesh that has been subdivided so often."""
    return AvatarSpec(
        subdivisions=subdivisions,
        jaw_open=config.mesh.jaw_open,
        deformer=DeformerSpec(width=config.deformer.width, depth=config.deformer.depth),
        material=_material_spec(config, stage),
        light=_light_spec(config.light),
        f0=F0(skin=stage.fresnel_skin, other=stage.fresnel_other),
    )


def _light_spec(light: LightSettings) -> LightSpec:
    is_explicit = light.kind == "explicit"
    return LightSpec(
        kind=light.kind,
        width=light.width,
        depth=light.depth,
        floor=light.floor,
        directions=light.directions if is_explicit else 0,
        visibility_factors=FIXED_FACTORS + light.visibility_expressions if is_explicit and light.visibility else 0,
    )


def _material_spec(config: Config, stage: StageSettings) -> MaterialSpec:
    sizes = config.material
    is_hash = stage.encoding == "hash"
    return MaterialSpec(
        encoding=stage.encoding,
        octaves=sizes.octaves,
        hash_grid=config.run.hash_grid,
        levels=sizes.levels,
        features=sizes.features,
        log2_entries=sizes.log2_entries,
        base_resolution=sizes.base_resolution,
        finest_resolution=sizes.finest_resolution,
        width=sizes.width if is_hash else sizes.frequency_width,
        depth=sizes.depth if is_hash else sizes.frequency_depth,
    )
