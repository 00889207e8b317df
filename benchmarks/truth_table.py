"""The Markdown tables of docs/benchmark.md, from what `flare eval --truth` wrote for several subjects and presets.

python benchmarks/truth_table.py 'default=bench/default.*/truth.json' 'paper=bench/paper.*/truth.json'

Each argument is a name and a pattern of files. Honest rows are those of the last argument that has the subject.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from glob import glob
from pathlib import Path
from statistics import mean
from typing import Any, TypeAlias

from flare_cli.data.json_file import read_json

# Title, which numbers (their mean where there are several), whether more is better.
COLUMNS = (
    ("picture", "picture.psnr", True),
    ("normals, face", "normal.degrees_face", False),
    ("albedo", "albedo.psnr", True),
    ("aligned", "albedo.psnr_aligned", True),
    ("relit", "relit.*.psnr", True),
    ("aligned", "relit.*.psnr_aligned", True),
    ("views ±30°", "views.*30_0.psnr", True),
)
GAINS = (
    ("picture", "picture.psnr"),
    ("aligned", "picture.psnr_aligned"),
    ("relit", "relit.*.psnr"),
    ("aligned", "relit.*.psnr_aligned"),
    ("face, aligned", "relit.*.psnr_face_aligned"),
)
NOTHING, PERFECT, SHADOWED = "nothing done", "perfect maps", "perfect maps, visibility"
Numbers: TypeAlias = Mapping[str, float | None]


def picked(scores: Mapping[str, float], columns: Iterable[tuple[Any, ...]]) -> dict[str, float | None]:
    """The number of each column, by its pattern; None where nothing is known."""
    found = {column[1]: [number for name, number in scores.items() if fnmatch(name, column[1])] for column in columns}
    return {pattern: mean(numbers) if numbers else None for pattern, numbers in found.items()}


def mean_of(rows: Sequence[Numbers]) -> dict[str, float | None]:
    """Of each column, where all have it."""
    columns = {pattern: [row[pattern] for row in rows] for pattern in rows[0]}
    return {
        pattern: None if None in numbers else mean(n for n in numbers if n is not None)
        for pattern, numbers in columns.items()
    }


def line(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def header(names: Sequence[str], columns: Iterable[tuple[Any, ...]]) -> str:
    """The first two rows."""
    titles = [*names, *(column[0] for column in columns)]
    return f"{line(titles)}\n|{'---|' * len(titles)}"


def score_lines(subject: str, rows: Mapping[str, Numbers], order: Iterable[str]) -> list[str]:
    """A row for everybody who was scored; in italics what is no better than doing nothing."""
    lines: list[str] = []
    for name in (name for name in order if name in rows):
        cells: list[str] = []
        for _, pattern, more_is_better in COLUMNS:
            number, floor = rows[name][pattern], rows[NOTHING][pattern]
            if number is None or (name in (PERFECT, SHADOWED) and pattern.startswith(("normal", "albedo"))):
                cells.append("")  # perfect maps are what is asked for
                continue
            wins = floor is None or name == NOTHING or (number > floor if more_is_better else number < floor)
            cells.append(f"{number:.1f}" if wins else f"*{number:.1f}*")
        lines.append(line([subject, name, *cells]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("named", nargs="+", help="NAME=PATTERN of truth.json files")
    named = [argument.split("=", 1) for argument in parser.parse_args().named]
    scores: dict[str, dict[str, Numbers]] = {}
    gains: dict[tuple[str, str], list[Numbers]] = {}
    for name, pattern in named:
        for report in (read_json(Path(path)) for path in sorted(glob(pattern))):
            for row in report["rows"]:
                if row["row"] in ("avatar", NOTHING, PERFECT, SHADOWED):
                    who = name if row["row"] == "avatar" else row["row"]
                    scores.setdefault(row["subject"], {})[who] = picked(row["scores"], COLUMNS)
            for row in report["attribution"]:
                gains.setdefault((name, row["row"]), []).append(picked(row["gain"], GAINS))
    order = [NOTHING, *(name for name, _ in named), PERFECT, SHADOWED]
    print(header(["subject", "who"], COLUMNS))
    for half in ("dev", "report"):
        subjects = {subject: rows for subject, rows in sorted(scores.items()) if subject.startswith(half)}
        for subject, rows in subjects.items():
            print("\n".join(score_lines(subject, rows, order)))
        if subjects:
            whole = [name for name in order if all(name in rows for rows in subjects.values())]
            means = {name: mean_of([rows[name] for rows in subjects.values()]) for name in whole}
            print("\n".join(score_lines(f"**{half}, mean**", means, order)))
    print(f"\n{header(['who', 'given'], GAINS)}")
    for (name, replaced), rows in gains.items():
        cells = ["" if number is None else f"{number:+.1f}" for number in mean_of(rows).values()]
        print(line([name, replaced, *cells]))


if __name__ == "__main__":
    main()
