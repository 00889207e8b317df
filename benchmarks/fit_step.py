"""Time of a fit step as `flare fit` runs it, on the CPU or a GPU; with --profile, what the GPU spends it on.

python benchmarks/fit_step.py SUBJECT [--config default] [--steps 300] [--profile] [--set TABLE.KEY=VALUE ...]
"""

import argparse
from collections import defaultdict
from pathlib import Path

import torch
from step_parts import ceilings, least_work, part_of
from torch.profiler import ProfilerActivity, profile

from flare_cli.apps.bench.fit_step import fit_steps
from flare_cli.config.loading import load_config
from flare_cli.fit.stage import StageRunner
from flare_cli.render.device import choose_device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", type=Path)
    parser.add_argument("--config", default="default")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    device = choose_device(options.device)
    config = load_config(options.config, options.overrides)
    for timing, runner in fit_steps(options.subject, config, device, options.steps):
        print(f"{timing.triangles} triangles, batch {timing.batch}: median {timing.median:.2f} ms per step", end="")
        print(f" (from {timing.least:.2f} to {timing.most:.2f})")
        if options.profile and device.type == "cuda":
            print_profile(runner, options.steps)
    if device.type == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB")


def print_profile(runner: StageRunner, start: int) -> None:
    """A Markdown table: part, time, kernels, least bytes and operations, and what part of the time that floor is."""
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        runner.advance(start, start + runner.block)
        torch.cuda.synchronize()
    times, kernels = defaultdict(float), defaultdict(float)
    for event in recorded.key_averages():
        part = part_of(event.key)
        times[part] += 1e-3 * event.self_device_time_total / runner.block
        kernels[part] += event.count / runner.block
    least, (bandwidth, speed) = least_work(runner), ceilings(runner.avatar.device)
    print(f"\n{int(runner.most_pixels)} foreground pixels; ", end="")
    print(f"copies {bandwidth / 1e12:.2f} TB/s, products {speed / 1e12:.0f} TFLOP/s")
    print("| part | ms | % of busy | kernels | least MB | GFLOP | floor, ms | floor / time |")
    print("|---|---|---|---|---|---|---|---|")
    busy = sum(times.values())
    for part in sorted(times, key=lambda part: -times[part]):
        row = f"| {part} | {times[part]:.2f} | {100 * times[part] / busy:.0f} | {kernels[part]:.0f} |"
        if (floors := least.get(part)) is None:
            print(f"{row} | | | |")
            continue
        floor = 1e3 * max(floors.bytes / bandwidth, floors.flops / speed)
        counted = f"{floors.bytes / 1e6:.0f} | {floors.flops / 1e9:.1f}"
        print(f"{row} {counted} | {floor:.2f} | {100 * floor / times[part]:.0f} % |")
    print(f"| busy | {busy:.2f} | | {sum(kernels.values()):.0f} | | | | |\n")


if __name__ == "__main__":
    main()
