"""What `flare bench` measured, as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from flare_cli.apps.bench.bench import BenchResult


def markdown(result: BenchResult) -> str:
    """The result as Markdown tables: milliseconds, in brackets how many times Warp's."""
    lines = [f"Measured on {result.device}, torch {torch.__version__}; milliseconds per call (times Warp).", ""]
    for names, timings in ((result.rasterizers, result.rasterizing), (result.encodings, result.encoding)):
        if timings[0].durations[0].busy is not None:
            lines += _table(["GPU time", *names], [_row(t.part, [d.busy or 0.0 for d in t.durations]) for t in timings])
        lines += _table(["latency", *names], [_row(t.part, [d.latency for d in t.durations]) for t in timings])
    if result.agreements:
        columns = [agreement.rows() for agreement in result.agreements]
        rows = [[row[0][0], *(f"{value:.2g}" for _, value in row)] for row in zip(*columns, strict=True)]
        lines += _table(["difference from Warp", *(agreement.name for agreement in result.agreements)], rows)
    if result.steps:
        rows = [
            [f"fit step, {s.triangles} triangles, batch {s.batch}", f"{s.median:.2f}", f"{s.least:.2f} to {s.most:.2f}"]
            for s in result.steps
        ]
        lines += _table(["", "median ms", "range"], rows)
    return "\n".join([*lines, *(f"Not measured: {reason}" for reason in result.missing.values())])


def _row(part: str, milliseconds: list[float]) -> list[str]:
    return [part, *(f"{ms:.3f} ({ms / milliseconds[0]:.2f})" for ms in milliseconds)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [*("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)), ""]
