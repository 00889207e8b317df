"""`flare export`: files for other programs."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from flare_cli.cli import console
from flare_cli.cli.options import AsJson, Device, Fill, RunArgument, examples
from flare_cli.cli.results import show

EXAMPLES = examples(
    "flare export runs/me --driver talk -o out",
    "flare export runs/me --profile unreal --lods 2 -o out",
    "flare export runs/me --shadows --textures webp -o public",
    "flare export runs/me --format html --webcam mediapipe -o out",
    "flare export runs/me --format usdz --driver me2.mp4 -o out",
    "flare export runs/me --format ply-sequence --driver capture.csv -o out",
    "flare export runs/me --format exr -o out",
)


class TextureFormat(str, Enum):
    """How a GLB keeps its textures."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


class RigProfile(str, Enum):
    """Whose names the morph targets and bones of a rig have."""

    ARKIT = "arkit"
    RPM = "rpm"
    UNREAL = "unreal"
    VRM = "vrm"


class MeshDetail(str, Enum):
    """How many triangles a rig has."""

    LIGHT = "light"
    FULL = "full"


class Ending(str, Enum):
    """How the avatar ends below."""

    CLOSED = "closed"
    OPEN = "open"


class Compressor(str, Enum):
    """How a GLB is made smaller: quantise by ourselves, the others by glTF-Transform."""

    QUANTISE = "quantise"
    MESHOPT = "meshopt"
    DRACO = "draco"
    KTX2 = "ktx2"


Kind = Annotated[
    str,
    typer.Option(
        "--format",
        help="glb, usd, usdz, obj; html, a page that shows it; obj-sequence or ply-sequence, a mesh for each frame"
        " of --driver; textures alone; hdr or exr, the light of the recording",
    ),
]
Out = Annotated[Path, typer.Option("-o", "--out", help="folder for the files")]
TextureSize = Annotated[int, typer.Option(help="edge of the textures in pixels", min=64, max=8192)]
Textures = Annotated[
    TextureFormat, typer.Option(help="how a GLB keeps them: jpeg opens everywhere, png loses nothing, webp is smallest")
]
Rig = Annotated[
    RigProfile,
    typer.Option(
        help="names in GLB and USD: arkit, the 52; rpm, with 15 visemes and a skeleton as Ready Player Me's avatars"
        " have; unreal, as Live Link Face sends them; vrm, a VRM 1.0 file"
    ),
]
Mesh = Annotated[
    MeshDetail,
    typer.Option(help="of GLB, USD and page: light, what is finer is a normal texture; full, all triangles"),
]
Lods = Annotated[
    int, typer.Option(help="so many coarser GLBs too, each of half the vertices (wants gltf-transform)", min=0, max=4)
]
Compress = Annotated[
    Compressor | None,
    typer.Option(
        help="GLB: quantise, morphs in steps of 0.03 mm, for programs that read KHR_mesh_quantization; meshopt, a third"
        " of the size, draco, ktx2 textures: for programs that read them (want gltf-transform)"
    ),
]
Shadows = Annotated[
    bool,
    typer.Option(
        "--shadows",
        help="GLB: what each vertex sees of the light too, and flare_light.js beside it, by which your own three.js"
        " page lights the avatar as `flare relight` does; other programs pass over it",
    ),
]
Driver = Annotated[
    Path | None,
    typer.Option(help="a performance to play in GLB, USD or page, or of a sequence: whatever `flare animate` takes"),
]
Below = Annotated[
    Ending, typer.Option("--bust", help="where the neck ends: closed with a round edge, or open as it was fitted")
]
Webcam = Annotated[
    Path | None,
    typer.Option(
        help="html: a folder with face_landmarker.task and @mediapipe/tasks-vision, to move the face by a webcam"
    ),
]


def export(
    run: RunArgument = None,
    kind: Kind = "glb",
    out: Out = Path("out"),
    texture_size: TextureSize = 2048,
    textures: Textures = TextureFormat.JPEG,
    profile: Rig = RigProfile.ARKIT,
    mesh: Mesh = MeshDetail.LIGHT,
    lods: Lods = 0,
    compress: Compress = None,
    shadows: Shadows = False,
    driver: Driver = None,
    webcam: Webcam = None,
    fill: Fill = True,
    bust: Below = Ending.CLOSED,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Write the avatar for other 3D programs and browsers: mesh, textures, skeleton and the 52 ARKit morph targets."""
    from flare_cli.apps.export import ExportRequest
    from flare_cli.apps.export import export as run_export

    request = ExportRequest(
        run=run, kind=kind, out=out, texture_size=texture_size, texture_format=textures.value, profile=profile.value,
        detail=mesh.value, lods=lods, compress=None if compress is None else compress.value, shadows=shadows,
        driver=driver, webcam=webcam, fill=fill, bust=bust.value, device=device,
    )  # fmt: skip
    with console.progress_bars() as progress:
        result = run_export(request, progress)
    show(f"exported {result.file}", asdict(result), as_json)
