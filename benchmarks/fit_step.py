"""Time of a fit step and of its parts, on the CPU or a GPU.

python benchmarks/fit_step.py SUBJECT [--config default] [--steps 40]
"""

import argparse
import time
from pathlib import Path

import torch

from flare_cli.apps.runs import choose_device
from flare_cli.avatar.avatar import Avatar, Structure
from flare_cli.avatar.picture import draw
from flare_cli.config.loading import load_config
from flare_cli.fit.frames import load_frames, split_frames
from flare_cli.fit.losses import Step, loss_terms, mesh_graph
from flare_cli.fit.optimiser import stage_optimiser
from flare_cli.head.library import load_head
from flare_cli.render.backend import choose_rasterizer
from flare_cli.subject.folder import load_subject

PARTS = ("deform", "draw", "losses", "backward", "optimiser")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", type=Path)
    parser.add_argument("--config", default="default")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device, config = choose_device(options.device), load_config(options.config)
    stage = config.stage[-1]
    subject = load_subject(options.subject)
    track, _ = split_frames(subject, config.data.holdout, config.data.every)
    frames = load_frames(subject, track[: 4 * stage.batch], config.data.size).to(device)
    for subdivisions in (0, 1):
        structure = Structure(stage.encoding, subdivisions)
        avatar = Avatar(load_head(track.head).to(device), track.shape, config, structure)
        rasterizer, optimiser = choose_rasterizer("auto", device), stage_optimiser(avatar, stage)
        graph, generator = mesh_graph(avatar.mesh.topology.faces), torch.Generator().manual_seed(0)
        spent = dict.fromkeys(PARTS, 0.0)
        for step in range(-5, options.steps):
            if step == 0:
                spent = dict.fromkeys(PARTS, 0.0)
            target = frames[torch.randint(len(frames), (stage.batch,), generator=generator).to(device)]
            marks = [_now(device)]
            corrections = avatar.corrections()
            posed = avatar.posed(
                expression=target.track.expression,
                pose=target.track.pose,
                translation=target.track.translation,
                corrections=corrections,
            )
            marks.append(_now(device))
            camera = target.track.cameras()
            picture = draw(avatar, posed, camera, light=avatar.light, rasterizer=rasterizer)
            marks.append(_now(device))
            terms = loss_terms(
                Step(avatar, corrections, picture, target, graph, 1000 + step, generator), config.loss, None
            )
            marks.append(_now(device))
            optimiser.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            marks.append(_now(device))
            optimiser.step()
            marks.append(_now(device))
            for part, start, end in zip(PARTS, marks, marks[1:], strict=False):
                spent[part] += end - start
        whole = sum(spent.values())
        print(f"{len(graph.faces)} triangles, batch {stage.batch}: {1e3 * whole / options.steps:.1f} ms per step")
        for part, seconds in spent.items():
            print(f"  {part:<10} {1e3 * seconds / options.steps:7.1f} ms  {100 * seconds / whole:4.0f} %")
    if device.type == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB")


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
