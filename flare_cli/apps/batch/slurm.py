"""A batch for clusters that have Slurm and no Ray: an array whose tasks do some of the subjects each."""

from __future__ import annotations

import csv
import io
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from flare_cli.apps.batch.manifest import BETWEEN, KEYS, PATHS, Entry
from flare_cli.apps.batch.work import Defaults
from flare_cli.data.atomic import write_text_whole

LIST, SCRIPT = "slurm.csv", "slurm.sh"
MOST_TASKS = 1000  # of an array: Slurm's own limit (MaxArraySize) is 1001 unless a cluster says otherwise
AT_ONCE = 64  # tasks of an array that run at a time, unless --jobs says otherwise


def write_slurm(entries: Sequence[Entry], out: Path, defaults: Defaults, config: str | None, jobs: int | None) -> Path:
    """Write the list of the recordings and the script into `out`; the script."""
    each = -(-len(entries) // MOST_TASKS)
    tasks = -(-len(entries) // each)
    write_text_whole(out / LIST, _list(entries))
    words = [*_command(), "batch", str((out / LIST).resolve()), "-o", str(out.resolve()), *_options(defaults, config)]
    command = shlex.join(words)
    script = out / SCRIPT
    write_text_whole(
        script,
        f"""#!/bin/bash
#SBATCH --job-name=flare
#SBATCH --array=0-{tasks - 1}%{jobs or AT_ONCE}
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output={shlex.quote(str(out.resolve() / "slurm-%a.log"))}
# {len(entries)} recordings, {each} a task. Afterwards, once, for what is left and for the summary:
#   {command}
export FLARE_CORES="${{SLURM_CPUS_PER_TASK:-8}}"
first=$((SLURM_ARRAY_TASK_ID * {each}))
exec {command} --jobs 1 --only "$first-$((first + {each - 1}))"
""",
    )
    return script


def _list(entries: Sequence[Entry]) -> str:
    """The entries as a CSV manifest; paths are absolute."""
    text = io.StringIO()
    table = csv.DictWriter(text, KEYS, lineterminator="\n")
    table.writeheader()
    for entry in entries:
        row = {key: BETWEEN.join(v) if isinstance(v, tuple) else v for key, v in asdict(entry).items()}
        paths = {key: str(Path(row[key]).absolute()) for key in PATHS if row[key]}
        table.writerow(row | paths)
    return text.getvalue()


def _command() -> list[str]:
    return [sys.executable, "-m", "flare_cli.cli.main"]


def _options(defaults: Defaults, config: str | None) -> list[str]:
    """The options that make these defaults again."""
    words = ["--stages", ",".join(defaults.stages), "--export", ",".join(defaults.export), "--head", defaults.head]
    words += ["--size", str(defaults.size), "--texture-size", str(defaults.texture_size)]
    words += ["--face", str(defaults.face)]
    optional = (
        ("--config", config), ("--fps", defaults.fps), ("--max-frames", defaults.max_frames),
        ("--parser", defaults.parser),
    )  # fmt: skip
    for option, value in optional:
        words += [] if value is None else [option, str(value)]
    words += [word for override in defaults.overrides for word in ("--set", override)]
    words += [] if defaults.storage is None else ["--storage", defaults.storage]
    return [*words, *(["--overwrite"] if defaults.overwrite else [])]
