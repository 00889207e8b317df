"""The avatar that a config asks for in one of its stages."""

from __future__ import annotations

from flare_cli.avatar.spec import F0, AvatarSpec, DeformerSpec, LightSpec, MaterialSpec
from flare_cli.config.schema import Config, StageSettings


def stage_spec(config: Config, stage: StageSettings, *, subdivisions: int = 0) -> AvatarSpec:
    """What the avatar is built from in `stage`, with a mesh that has been subdivided so often."""
    return AvatarSpec(
        subdivisions=subdivisions,
        jaw_open=config.mesh.jaw_open,
        deformer=DeformerSpec(width=config.deformer.width, depth=config.deformer.depth),
        material=_material_spec(config, stage),
        light=LightSpec(width=config.light.width, depth=config.light.depth, floor=config.light.floor),
        f0=F0(skin=stage.fresnel_skin, other=stage.fresnel_other),
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
