"""Every setting of a fit: one frozen dataclass per TOML table, each field with its default, bounds and unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Part = Literal["mesh", "deformer", "material", "light"]
PARTS: tuple[Part, ...] = ("mesh", "deformer", "material", "light")


def setting(
    default: Any,
    help_text: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A dataclass field that knows its help text, unit and inclusive bounds."""
    metadata = {"help": help_text, "unit": unit, "low": low, "high": high}
    if isinstance(default, list | dict):
        raise TypeError("defaults are immutable: use a tuple or a frozen dataclass")
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """[data] Which pictures are fitted, and how large."""

    size: int = setting(
        512, "height of the fitted pictures; larger ones are scaled down", unit="pixels", low=32, high=4096
    )
    holdout: float = setting(0.2, "last part of the recording, kept for `flare eval`", unit="fraction", low=0, high=0.9)
    every: int = setting(1, "use every n-th training frame (FLARE's sample_idx_ratio)", unit="frames", low=1, high=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """[mesh] The canonical mesh."""

    jaw_open: float = setting(
        0.4, "jaw angle of the canonical pose, so that the lips are apart", unit="radians", low=0, high=1
    )
    hanging_hair: bool = setting(False, "hair that labels show below the ears is a part of the mesh of its own")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeformerSettings:
    """[deformer] The network that corrects the head model's own deformation."""

    width: int = setting(128, "hidden width", unit="units", low=8, high=1024)
    depth: int = setting(4, "hidden layers", low=1, high=16)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialSettings:
    """[material] Albedo, roughness and specular intensity as a field on the canonical surface."""

    levels: int = setting(16, "hash grid: levels", low=1, high=32)
    features: int = setting(2, "hash grid: numbers per entry", low=1, high=8)
    log2_entries: int = setting(19, "hash grid: log2 of the entries per level", low=8, high=24)
    base_resolution: int = setting(16, "hash grid: coarsest level", unit="cells", low=2, high=512)
    finest_resolution: int = setting(4096, "hash grid: finest level", unit="cells", low=4, high=65536)
    octaves: int = setting(4, "positional encoding: octaves", low=0, high=16)
    width: int = setting(64, "hidden width behind the hash grid", unit="units", low=8, high=1024)
    depth: int = setting(2, "hidden layers behind the hash grid", low=1, high=16)
    frequency_width: int = setting(128, "hidden width behind the positional encoding", unit="units", low=8, high=1024)
    frequency_depth: int = setting(4, "hidden layers behind the positional encoding", low=1, high=16)


@dataclass(frozen=True, slots=True, kw_only=True)
class LightSettings:
    """[light] The unknown light of the recording: a network on (direction, roughness), or radiance from all around."""

    kind: Literal["neural", "explicit"] = setting("neural", "a network (FLARE), or radiance from a set of directions")
    width: int = setting(64, "neural: hidden width", unit="units", low=8, high=1024)
    depth: int = setting(2, "neural: hidden layers", low=1, high=16)
    floor: float = setting(
        0.01, "neural: least radiance that the light can have: it can't collapse to zero", low=1e-6, high=1
    )
    per_video: bool = setting(False, "explicit: a light for each video of a subject that has several")
    directions: int = setting(256, "explicit: directions that light comes from", low=16, high=4096)
    visibility: bool = setting(False, "explicit: trace what shadows each vertex, in poses of the track")
    visibility_poses: int = setting(32, "poses that are traced, spread over the track", low=1, high=1024)
    visibility_rays: int = setting(256, "rays a vertex and pose, over the sphere", low=32, high=4096)
    visibility_every: int = setting(
        500, "traced anew after so many steps of a stage, and at its end", unit="steps", low=1, high=10**7
    )
    visibility_expressions: int = setting(
        6, "components of the track's expressions that visibility follows, beside neck and jaw", low=0, high=64
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """[loss] Weight of each term; 0 leaves the term out, at no cost. Sources: docs/method.md."""

    colour: float = setting(1.0, "L1 of tone-mapped pictures", low=0, high=1e6)
    perceptual: float = setting(0.1, "L1 of features of a pretrained network", low=0, high=1e6)
    mask: float = setting(2.0, "squared error of antialiased coverage", low=0, high=1e6)
    laplacian: float = setting(60.0, "squared uniform Laplacian", low=0, high=1e6)
    laplacian_of: Literal["vertices", "offsets"] = setting(
        "vertices", "what the Laplacian smooths: the whole mesh, or only what was added to the head model"
    )
    delicate: float = setting(0.0, "squared offsets of lids, lips, eyes and inner mouth", low=0, high=1e6)
    face: float = setting(0.0, "squared offsets of the whole face", low=0, high=1e6)
    ears: float = setting(0.0, "squared offsets of the ears", low=0, high=1e6)
    normal: float = setting(0.1, "squared (1 - cos) between neighbouring faces", low=0, high=1e6)
    after_subdivision: float = setting(
        4.0, "factor on laplacian and normal once the mesh is subdivided", low=0, high=1e3
    )
    prior_weights: float = setting(5.0, "squared distance of skinning weights to the head model's", low=0, high=1e6)
    prior_expression: float = setting(100.0, "the same for expression directions x 10", low=0, high=1e6)
    prior_pose: float = setting(100.0, "the same for pose directions x 10", low=0, high=1e6)
    prior_halved_at: int = setting(
        100, "step from which the three prior weights are halved", unit="steps", low=0, high=10**9
    )
    albedo_smoothness: float = setting(0.01, "change of albedo under a 0.01 jitter of position", low=0, high=1e6)
    albedo_samples: float = setting(
        1.0, "part of the pixels on which smoothness is measured", unit="fraction", low=0, high=1
    )
    albedo_even: float = setting(0.0, "L1 of skin albedo to its mean: puts shading into the light", low=0, high=1e6)
    white_light: float = setting(0.01, "L1 of diffuse light to its own grey", low=0, high=1e6)
    light_level: float = setting(
        0.0, "squared log of the mean diffuse light: fixes the light/albedo scale", low=0, high=1e6
    )
    level_by_eyes: float = setting(
        0.0,
        "how far `light_level` pulls to what the whites of the eyes say, in place of 1",
        unit="fraction",
        low=0,
        high=1,
    )
    roughness_skin: float = setting(0.01, "hinge outside 2 sigma of N(0.5, 0.1)", low=0, high=1e6)
    specular_skin: float = setting(0.01, "hinge outside 2 sigma of N(0.3753, 0.1655)", low=0, high=1e6)
    fibre_gloss: float = setting(0.0, "1 - roughness on hair, brows and cloth", low=0, high=1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSettings:
    """[track] Refining the given track while fitting: how far it may be off, and how fast that is found."""

    refine: bool = setting(False, "move pose, expression, translation and focal length of the training frames")
    rate: float = setting(0.05, "learning rate of the residuals", unit="deviations", low=0, high=1)
    rotation: float = setting(
        0.01, "standard deviation of each joint's rotation; residuals end at four", unit="radians", low=0, high=1
    )
    expression: float = setting(0.05, "the same of each expression coefficient", low=0, high=10)
    translation: float = setting(0.002, "the same of the translation", unit="metres", low=0, high=1)
    focal_length: float = setting(0.0, "the same of the logarithm of a camera's focal length", low=0, high=1)
    prior: float = setting(3e-4, "squared residuals over their deviations, summed", low=0, high=1e6)
    smoothness: float = setting(0.0, "their squared second differences in time", low=0, high=1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureSettings:
    """[exposure] What the camera changed from frame to frame while recording: gains of red, green and blue."""

    refine: bool = setting(False, "find a gain for each colour of each training frame")
    rate: float = setting(0.05, "learning rate of the log gains", unit="deviations", low=0, high=1)
    deviation: float = setting(0.05, "standard deviation of the log gains; they end at four", low=1e-6, high=1)
    prior: float = setting(1e-4, "squared log gains over their deviation, summed", low=0, high=1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """[[stage]] One leg of the fit: what trains, for how long, how fast."""

    name: str = setting("stage", "what logs and pictures call it")
    steps: int = setting(1000, "optimisation steps", unit="steps", low=1, high=10**7)
    batch: int = setting(4, "pictures per step", unit="pictures", low=1, high=256)
    trains: tuple[Part, ...] = setting(PARTS, "parts that train; the others are frozen")
    encoding: Literal["frequency", "hash"] = setting(
        "hash", "what materials see; a change starts new materials and light"
    )
    mesh_rate: float = setting(1e-3, "learning rate of the vertex offsets", low=0, high=1)
    deformer_rate: float = setting(1e-3, "learning rate of the deformer", low=0, high=1)
    material_rate: float = setting(1e-3, "learning rate of materials", low=0, high=1)
    light_rate: float = setting(1e-3, "learning rate of the light", low=0, high=1)
    decay: float = setting(
        1.0, "learning rates end at this part of their start (exponential)", unit="fraction", low=1e-4, high=1
    )
    subdivide_at: int = setting(0, "step at which the mesh is subdivided; 0 = never", unit="steps", low=0, high=10**7)
    mesh_rate_after: float = setting(0.75, "factor on mesh_rate after subdividing", low=0, high=10)
    fresnel_skin: float = setting(0.04, "reflectance at normal incidence on skin", low=0, high=1)
    fresnel_other: float = setting(0.04, "reflectance at normal incidence elsewhere", low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """[run] What surrounds the mathematics."""

    seed: int = setting(0, "seed of everything random", low=0, high=2**31 - 1)
    rasterizer: str = setting("auto", "auto, warp, nvdiffrast or pytorch3d")
    hash_grid: str = setting("auto", "auto, warp, tinycudann or torch")
    checkpoint_seconds: float = setting(
        10.0, "time between checkpoints: the most work that a crash loses", unit="seconds", low=0, high=1e6
    )
    preview_every: int = setting(
        250, "steps between preview pictures; 0 = only at the end", unit="steps", low=0, high=10**7
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All tables together. `stage` is a list of tables in TOML (`[[stage]]`)."""

    data: DataSettings = DataSettings()
    mesh: MeshSettings = MeshSettings()
    deformer: DeformerSettings = DeformerSettings()
    material: MaterialSettings = MaterialSettings()
    light: LightSettings = LightSettings()
    loss: LossSettings = LossSettings()
    track: TrackSettings = TrackSettings()
    exposure: ExposureSettings = ExposureSettings()
    run: RunSettings = RunSettings()
    stage: tuple[StageSettings, ...] = (StageSettings(),)
