"""Every rasterizer and hash grid that runs here, side by side: times as multiples of Warp's, and how far they agree.

python benchmarks/backends.py [--device auto] [--size 512] [--batch 4] [--points 300000] [--levels 0 1 2]
"""

import argparse

from flare_cli.apps.bench import BenchRequest, bench, markdown
from flare_cli.apps.runs import choose_device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--points", type=int, default=300_000)
    parser.add_argument("--levels", type=int, nargs="+", default=[0, 1, 2], help="subdivisions of the open head")
    options = parser.parse_args()
    request = BenchRequest(
        device=choose_device(options.device),
        size=options.size,
        batch=options.batch,
        subdivisions=tuple(options.levels),
        points=options.points,
    )
    print(markdown(bench(request, lambda *_: None)))


if __name__ == "__main__":
    main()
