"""`flare view`, and what `flare fit --view` shares with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flare_cli.cli import console
from flare_cli.cli.options import AsJson, Device, RasterizerName, RunArgument, examples

EXAMPLES = examples(
    "flare view runs/me", "flare view runs/me --driver speech.mp4 --port 8400", "flare view --textures paint"
)
THIS_COMPUTER = "127.0.0.1"
Host = Annotated[
    str,
    typer.Option(help="address to listen on; any but 127.0.0.1 lets others on the network knock: they need the URL"),
]
Port = Annotated[
    int | None,
    typer.Option(help="port to listen on, 0 for any that is free; by default 8350 if it is", min=0, max=65535),
]


def view(
    run: RunArgument = None,
    driver: Annotated[
        list[Path] | None,
        typer.Option(help="a performance to play: whatever `flare animate` takes; may be repeated. Presets are there"),
    ] = None,
    textures: Annotated[
        Path | None,
        typer.Option(
            help="a folder of textures from `flare export --format obj`, shown in place of the avatar's own and "
            "read again whenever they are saved"
        ),
    ] = None,
    host: Host = THIS_COMPUTER,
    port: Port = None,
    rasterizer: RasterizerName = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Look at an avatar in a browser: turn it, move its face, light it, see what it is made of. Ctrl-C ends it.

    flare view runs/me

    flare view runs/me --driver interview.mp4 --driver talk.csv

    flare view runs/me --textures out/    (after flare export runs/me --format obj -o out/)

    flare view runs/me/avatar.safetensors --port 9000 --device cpu
    """
    from flare_cli.apps.view import ViewRequest
    from flare_cli.apps.view import view as run_view
    from flare_cli.show.viewing.address import Listening

    request = ViewRequest(
        run=run,
        drivers=tuple(driver or ()),
        textures=textures,
        at=Listening(host=host, port=port),
        rasterizer=rasterizer,
        device=device,
    )
    with console.progress_bars() as progress:
        run_view(request, progress, on_open=lambda address: tell(address, as_json))


def tell(address: Any, as_json: bool = False) -> None:
    """Where the page is."""
    if as_json:
        console.show_json({"url": address.url, "ssh": address.ssh})
    else:
        console.show_facts("", [("look at", address.url), ("from another computer, first", address.ssh)])


def note(address: Any) -> None:
    """Where the page of a fit is, beside its progress."""
    console.note(f"look at {address.url}\nfrom another computer, first: {address.ssh}")
