"""Time of a fit step as `flare fit` runs it, on the CPU or a GPU; with --profile, what the GPU spends it on.

python benchmarks/fit_step.py SUBJECT [--config default] [--steps 300] [--profile] [--set TABLE.KEY=VALUE ...]
"""

import argparse
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from flare_cli.apps.bench_fit import fit_steps
from flare_cli.apps.runs import choose_device
from flare_cli.config.loading import load_config
from flare_cli.fit.stage import StageRunner

# Parts of a step by names of kernels; the first that fits takes the kernel.
PARTS = {
    "hash grid, gradient": ("hash_grid_kernels__locals__encode_backward",),
    "hash grid": ("hash_grid_kernels__locals__encode",),
    "network products": ("gemm", "cutlass", "xmma", "splitK", "nvjet"),
    "network activations": ("threshold", "clamp", "launch_clamp"),
    "directional encoding": ("encode_",),
    "rasterize, interpolate, antialias": (
        "nearest", "resolve", "interpolate", "silhouettes", "blend", "lay_", "pick_", "list_pixels",
    ),
    "Adam": ("multi_tensor_apply",),
    "sums (losses, bias gradients)": ("reduce_kernel",),
    "gathers and scatters": ("index", "scatter", "gather", "Cat"),
    "copies and fills": ("copy", "Memset", "Fill", "memcpy"),
}  # fmt: skip


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
    for at, runner in fit_steps(options.subject, config, device, options.steps):
        print(f"{at.triangles} triangles, batch {at.batch}: median {at.median:.2f} ms per step", end="")
        print(f" (from {at.least:.2f} to {at.most:.2f})")
        if options.profile and device.type == "cuda":
            print_profile(runner, options.steps)
    if device.type == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB")


def print_profile(runner: StageRunner, start: int) -> None:
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        runner.advance(start, start + runner.block)
        torch.cuda.synchronize()
    parts = dict.fromkeys([*PARTS, "other elementwise"], (0.0, 0))
    for event in recorded.key_averages():
        part = next((p for p, names in PARTS.items() if any(n in event.key for n in names)), "other elementwise")
        seconds, count = parts[part]
        parts[part] = (seconds + event.self_device_time_total * 1e-6, count + event.count)
    whole = sum(seconds for seconds, _ in parts.values())
    for part, (seconds, count) in sorted(parts.items(), key=lambda item: -item[1][0]):
        print(f"  {part:<36} {1e3 * seconds / runner.block:6.2f} ms {100 * seconds / whole:4.0f} %", end="")
        print(f"  {count / runner.block:5.0f} kernels")
    print(f"  {'busy':<36} {1e3 * whole / runner.block:6.2f} ms")


if __name__ == "__main__":
    main()
