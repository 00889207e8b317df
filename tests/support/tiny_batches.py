"""Batches of subjects so small that a fit takes seconds."""

from pathlib import Path

import pytest
from support.small_settings import FEW_RAYS

from flare_cli.apps.batch.batch import BatchRequest
from flare_cli.apps.batch.work import Defaults
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.data.tensor_file import load_tensors

SETTINGS = (
    "data.size=32", "stage.steps=12", "material.log2_entries=8", "run.checkpoint_seconds=0", "light.directions=16",
    *FEW_RAYS, "light.visibility_every=12",
)  # fmt: skip


def batch_request(*inputs: object, out: Path, **more) -> BatchRequest:
    """A batch of tiny fits on the CPU; `more` are fields of the request or of its defaults."""
    names = Defaults.__dataclass_fields__
    defaults = {"overrides": SETTINGS, "texture_size": 64} | {k: v for k, v in more.items() if k in names}
    asked = {"config": "demo", "device": "cpu", "jobs": 1} | {k: v for k, v in more.items() if k not in names}
    return BatchRequest(inputs=tuple(map(str, inputs)), out=out, defaults=Defaults(**defaults), **asked)


class CutOffError(Exception):
    """What stops a fit in its middle."""


def cut_off_fit(subject: Path, run: Path, asked: BatchRequest, steps: int) -> None:
    """Begin the fit of a batch and stop it after some steps, between two checkpoints."""

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("fit") and done >= steps:
            raise CutOffError

    request = FitRequest(
        subject=subject, run=run, config=asked.config, overrides=asked.defaults.overrides, device=asked.device
    )
    with pytest.raises(CutOffError):
        fit(request, stop)


def avatar_in(run: Path) -> dict[str, bytes]:
    """The tensors of a run's avatar, as bytes."""
    tensors, _ = load_tensors(run / "avatar.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
