"""How long `flare batch` takes, what waits for what, and what it costs: a discrete simulation of its schedule.

    python benchmarks/batch_simulation.py                                        the tables of docs/scale.md
    python benchmarks/batch_simulation.py --summary OUT/summary.json --cores 2   a batch that was run, simulated anew

Tasks are those of `flare_cli/apps/batch/on_ray.py`: preprocess and export take a core, fit and eval a part of a GPU;
each waits for the one before it, and for the oldest free place. No more subjects are under way than `AHEAD` allows.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from collections import deque
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from flare_cli.apps.batch.on_ray import AHEAD, MOST_FITS, ON_GPU
from flare_cli.apps.batch.work import BEFORE, STAGES, Stage

# Seconds of a minute of 512 x 512 video (1,800 frames) on a place of its own; docs/scale.md says where each is from.
MEASURED: dict[Stage, float] = {"preprocess": 206.0, "fit": 112.5, "eval": 20.0, "export": 10.0}
SPREAD = 0.3  # standard deviation of a recording's length as a part of its mean: tasks of one subject share it
# Megabytes of such a minute that go to or from storage: read and written.
MOVED = {"recording": 128, "subject": 2 * 426, "run": 65 + 2 * 52, "export": 8}
AFTER = {stage: [s for s in STAGES if BEFORE[s] == stage] for stage in STAGES}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Cores that Ray counts and GPUs; without GPUs fits take cores."""

    cores: int
    gpus: int

    def places(self) -> dict[str, int]:
        return {"core": self.cores, "gpu": self.gpus * MOST_FITS}

    def kind(self, stage: Stage) -> str:
        return "gpu" if self.gpus and stage in ON_GPU else "core"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What came out: seconds, and the part of the places of each kind that was taken.

    `steady` leaves out the start, until the first fit begins, and the end, when nothing new is begun.
    """

    seconds: float
    use: dict[str, float]
    steady: dict[str, float]


def simulate(subjects: list[dict[Stage, float]], cluster: Cluster) -> Schedule:
    """Run subjects, given by the seconds of each of their stages."""
    places, free = cluster.places(), cluster.places()
    waiting: dict[str, deque[tuple[int, Stage]]] = {"core": deque(), "gpu": deque()}
    left = [len(seconds) for seconds in subjects]
    ahead, order = AHEAD * sum(places.values()), count()
    coming, ends, now = iter(range(len(subjects))), list[tuple[float, int, int, Stage]](), 0.0
    busy, at_start, at_end = {"core": 0.0, "gpu": 0.0}, None, None

    def submit() -> None:
        nonlocal at_end
        subject = next(coming, None)
        if subject is None:
            at_end = at_end or (now, dict(busy))
            return
        first = next(stage for stage in STAGES if stage in subjects[subject])
        waiting[cluster.kind(first)].append((subject, first))

    for _ in range(min(ahead, len(subjects))):
        submit()
    while True:
        for kind, queue in waiting.items():
            while queue and free[kind]:
                subject, stage = queue.popleft()
                free[kind] -= 1
                heapq.heappush(ends, (now + subjects[subject][stage], next(order), subject, stage))
                if stage == "fit" and at_start is None:
                    at_start = (now, dict(busy))
        if not ends:
            break
        then, _, subject, stage = heapq.heappop(ends)
        for kind in busy:
            busy[kind] += (places[kind] - free[kind]) * (then - now)
        now = then
        free[cluster.kind(stage)] += 1
        for following in AFTER[stage]:
            if following in subjects[subject]:
                waiting[cluster.kind(following)].append((subject, following))
        left[subject] -= 1
        if not left[subject]:
            submit()
    use = {kind: busy[kind] / (n * now) if n else 0.0 for kind, n in places.items()}
    (t0, b0), (t1, b1) = at_start or (0.0, dict.fromkeys(busy, 0.0)), at_end or (now, busy)
    between = {kind: (b1[kind] - b0[kind]) / (n * (t1 - t0)) if n and t1 > t0 else 0.0 for kind, n in places.items()}
    return Schedule(seconds=now, use=use, steady=between)


def recordings(minutes: int, seed: int = 0) -> list[dict[Stage, float]]:
    """Recordings of a minute on average, lengths log-normal."""
    random_lengths = random.Random(seed)
    lengths = (random_lengths.lognormvariate(-0.5 * SPREAD**2, SPREAD) for _ in range(minutes))
    return [{stage: seconds * length for stage, seconds in MEASURED.items()} for length in lengths]


def of_summary(path: Path) -> list[dict[Stage, float]]:
    """The subjects of a batch that was run, with the seconds that their stages took."""
    rows = json.loads(path.read_text())["rows"]
    subjects = ({stage: row["seconds"][stage] for stage in STAGES if stage in row["seconds"]} for row in rows)
    return [subject for subject in subjects if subject]


def gpu_without_task(rows: list[dict]) -> tuple[float, float]:
    """Seconds without a fit or an eval while recordings are still preprocessed: before the first fit, and after.

    `rows` are those of a batch's summary, done in one go on machines whose clocks agree.
    """
    tasks = [
        (stage, row["begun"][stage], row["begun"][stage] + seconds)
        for row in rows for stage, seconds in row["seconds"].items()
    ]  # fmt: skip
    until = max(end for stage, _, end in tasks if stage == "preprocess")
    on_gpu = sorted((begin, end) for stage, begin, end in tasks if stage in ON_GPU)
    first = min(until, on_gpu[0][0]) if on_gpu else until
    free, idle = first, 0.0
    for begin, end in [*on_gpu, (until, until)]:
        idle += max(0.0, min(begin, until) - free)
        free = max(free, end)
    return first - min(begin for _, begin, _ in tasks), idle


def tables() -> None:
    """The tables of docs/scale.md, as Markdown."""
    print("| cores per GPU | of these for Ray | minutes of video per hour | GPU | cores | waits for |")
    print("|---|---|---|---|---|---|")
    for cores in (8, 12, 16, 18, 20, 24, 32):
        done = simulate(recordings(2000), Cluster(cores=max(1, cores - MOST_FITS), gpus=1))
        waits = "the GPU" if done.steady["gpu"] > done.steady["core"] else "the cores"
        rate = 2000 * 3600 / done.seconds
        print(f"| {cores} | {max(1, cores - MOST_FITS)} | {rate:.0f} | {done.steady['gpu']:.0%} |"
              f" {done.steady['core']:.0%} | {waits} |")  # fmt: skip
    print("\n| minutes | GPUs, 24 cores each | time | GPU, all of it | GPU, between start and end | cores |"
          " GPU hours | core hours | MB/s of storage |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    moved = sum(MOVED.values())
    for minutes, gpus in ((1000, 1), (1000, 8), (1_000_000, 64), (1_000_000, 256), (1_000_000, 1024)):
        done = simulate(recordings(minutes), Cluster(cores=(24 - MOST_FITS) * gpus, gpus=gpus))
        hours = done.seconds / 3600
        print(f"| {minutes:,} | {gpus} | {hours:.1f} h | {done.use['gpu']:.1%} | {done.steady['gpu']:.1%} |"
              f" {done.steady['core']:.0%} | {hours * gpus:,.0f} | {24 * hours * gpus:,.0f} |"
              f" {minutes * moved / done.seconds:,.0f} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--summary", type=Path, help="summary.json of a batch, to be compared with its own time")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--gpus", type=int, default=0)
    asked = parser.parse_args()
    if asked.summary is None:
        tables()
        return
    done = simulate(of_summary(asked.summary), Cluster(cores=asked.cores, gpus=asked.gpus))
    summary = json.loads(asked.summary.read_text())
    took = summary["seconds"]
    print(
        f"simulated {done.seconds:.1f} s, took {took:.1f} s; use of cores {done.use['core']:.1%},"
        f" of GPUs {done.use['gpu']:.1%}"
    )
    if any("preprocess" in row["seconds"] for row in summary["rows"]):
        before, after = gpu_without_task(summary["rows"])
        print(
            f"while recordings were preprocessed no fit or eval ran for {before:.1f} s before the first fit,"
            f" and for {after:.1f} s after it began"
        )


if __name__ == "__main__":
    main()
