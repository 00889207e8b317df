"""The avatar that a config asks for in one of its stages."""

from __future__ import annotations

from flare_cli.avatar.spec import F0, AvatarSpec, DeformerSpec, LightSpec, MaterialSpec
from flare_cli.avatar.visibility import FIXED_FACTORS
from flare_cli.config.schema import Config, LightSettings, StageSettings
from flare_cli.subject.track import Track


def stage_spec(
    config: Config, stage: StageSettings, *, subdivisions: int = 0, videos: tuple[int, ...] = (0,)
) -> AvatarSpec:
    """What the avatar is built from in `stage`: a mesh that has been subdivided so often, a light for each video."""
    return AvatarSpec(
        subdivisions=subdivisions,
        jaw_open=config.mesh.jaw_open,
        deformer=DeformerSpec(width=config.deformer.width, depth=config.deformer.depth),
        material=_material_spec(config, stage),
        light=_light_spec(config.light, videos),
        f0=F0(skin=stage.fresnel_skin, other=stage.fresnel_other),
    )


def lit_videos(config: Config, track: Track) -> tuple[int, ...]:
    """The videos of `track` that get a light of their own: the first's stands for all unless `config` asks for more."""
    if track.video is None or not config.light.per_video or config.light.kind != "explicit":
        return (0,)
    return tuple(track.video.unique().tolist())


def _light_spec(light: LightSettings, videos: tuple[int, ...]) -> LightSpec:
    is_explicit = light.kind == "explicit"
    return LightSpec(
        kind=light.kind,
        width=light.width,
        depth=light.depth,
        floor=light.floor,
        directions=light.directions if is_explicit else 0,
        videos=videos,
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
