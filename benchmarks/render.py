"""Frames per second of drawing an avatar's own performance, one by one and in the batches that the commands use.

python benchmarks/render.py RUN [--size 512] [--frames 480]
"""

import argparse
import time
from pathlib import Path

import torch

from flare_cli.fit.run_folder import load_run
from flare_cli.render.device import choose_device
from flare_cli.show.track_pictures import draw_track

BATCHES = (1, 4, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=480)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    run = load_run(options.run, device)
    track = run.subject().track.to(device).resized(options.size, options.size)
    track = track[torch.arange(options.frames, device=device) % len(track)]
    for batch in BATCHES:
        for _ in range(2):  # the first round warms up
            started = time.perf_counter()
            for _ in draw_track(run.avatar, track, run.rasterizer(), batch=batch):
                pass
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - started
        print(f"batch {batch:2d}: {len(track) / seconds:6.0f} fps, {1e3 * batch * seconds / len(track):.2f} ms a batch")


if __name__ == "__main__":
    main()
