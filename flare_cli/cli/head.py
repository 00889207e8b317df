"""`flare head`: add, list and remove head models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flare_cli.cli import console
from flare_cli.cli.options import examples

app = typer.Typer(
    help="Head models: the bundled one, and FLAME or Google's GNM, which you bring.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]


@app.command("add", epilog=examples("flare head add generic_model.pkl", "flare head list"))
def add(
    file: Annotated[
        Path,
        typer.Argument(
            help="generic_model.pkl, flame2023.pkl, … as FLAME's makers publish them, or GNM's gnm_head.npz"
        ),
    ],
    name: Annotated[str | None, typer.Option(help="what to call it; by default flame-2020, flame-2023, …, gnm")] = None,
    edition: Annotated[
        str | None, typer.Option(help="2020, 2023, 2023-no-jaw or 2023-open; by default from the file's name")
    ] = None,
    landmarks: Annotated[
        Path | None, typer.Option(help="landmark_embedding.npy or flame_static_embedding.pkl: the 68 points")
    ] = None,
    mediapipe: Annotated[
        Path | None, typer.Option(help="mediapipe_landmark_embedding.npz: 105 of MediaPipe's points")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="FLAME_masks.pkl: named parts of the head")] = None,
    uv: Annotated[Path | None, typer.Option(help="head_template.obj or FLAME_texture.npz: texture coordinates")] = None,
    overwrite: Annotated[bool, typer.Option(help="replace a head of the same name")] = False,
    as_json: AsJson = False,
) -> None:
    """Read a FLAME or GNM file, without running anything in it, and keep it in your data directory."""
    from flare_cli.apps.head import AddRequest
    from flare_cli.apps.head import add as run

    request = AddRequest(
        file=file, name=name, edition=edition, landmarks=landmarks, mediapipe=mediapipe, masks=masks, uv=uv,
        overwrite=overwrite,
    )  # fmt: skip
    with console.progress_bars() as progress:
        result = run(request, progress)
    if as_json:
        console.show_json(asdict(result))
        return
    facts = [
        (key.replace("_", " "), f"{v:.3g}" if isinstance(v, float) else str(v)) for key, v in asdict(result).items()
    ]
    console.show_facts(f"head {result.name}", facts)
    console.show_next(("preprocess", "VIDEO", "-o", "SUBJECT", "--head", result.name))


@app.command("list", epilog=examples("flare head list"))
def list_heads(as_json: AsJson = False) -> None:
    """Show the bundled head and those that were added."""
    from flare_cli.apps.head import listed

    heads = listed()
    if as_json:
        console.show_json({head.name: asdict(head) for head in heads})
        return
    rows = [(head.name, head.edition, head.licence, head.path) for head in heads]
    console.show_table("heads", ("name", "edition", "licence", "file"), rows)


@app.command("remove", epilog=examples("flare head remove flame-2020"))
def remove(name: Annotated[str, typer.Argument(help="a name that `flare head list` shows")]) -> None:
    """Delete a head that was added."""
    from flare_cli.apps.head import remove as run

    console.note(f"removed {run(name)}")
