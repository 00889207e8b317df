"""The demo's person under lights that the recording did not have: the avatar beside the ray traced truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from jaxtyping import UInt8

from flare_cli.data.celebamask import CLOTHES
from flare_cli.data.image import read_rgb, write_png
from flare_cli.fit.run_folder import Run
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.score.metrics import score_picture
from flare_cli.show.filming.lighting import Environment
from flare_cli.show.track_pictures import draw_track, sheet, to_bytes
from flare_cli.subject.folder import Subject
from flare_cli.synthetic.performance import perform
from flare_cli.synthetic.raytrace import trace_picture
from flare_cli.synthetic.recording import make_person

FRAMES = 3  # of those that the fit has not seen
SAMPLES = 32  # rays a pixel


@dataclass(frozen=True, slots=True, kw_only=True)
class RelitScore:
    """PSNR per foreground pixel, clothes left out: of the avatar, and of the recorded picture in its place."""

    light: str
    avatar: float
    nothing_done: float


def score_relit(
    run: Run, subject: Subject, lights: list[Environment], file: Path, progress: ProgressCallback
) -> list[RelitScore]:
    """Score the avatar of a `make_synthetic_subject` recording under `lights`, and write a sheet.

    Rows of the sheet are frames: recorded, then under each light the truth and the avatar.
    """
    recipe = subject.source
    seed, count, device = int(recipe["seed"]), int(recipe["frames"]), run.avatar.device
    chosen = np.linspace(int(recipe["held_out_from"]) - 1, count - 1, FRAMES).round().astype(int)
    person, performance = make_person(seed), perform(count, seed=seed)
    track = subject.track[torch.from_numpy(chosen)]
    recorded = [read_rgb(subject.image_path(int(i) + 1)) for i in chosen]
    rows: list[list[UInt8[np.ndarray, "h w 3"]]] = [[picture] for picture in recorded]
    scores: list[RelitScore] = []
    for light in lights:
        envmap = light.picture.to(device)
        drawn = draw_track(run.avatar, track, run.rasterizer(), light=run.avatar.light.of_environment(envmap))
        images = torch.cat([part.picture.image for part in drawn])
        relit, found = to_bytes(images[..., :3]), images[..., 3].cpu().numpy()
        of_avatar, of_recorded = [], []
        for k, i in enumerate(chosen):
            mesh = person.posed(performance, int(i)).to(device)
            true = trace_picture(mesh, subject.track.camera, envmap, samples=SAMPLES, seed=int(i)).to("cpu")
            truth, mask = to_bytes(true.radiance), true.coverage.numpy()
            clothes = np.isin(true.label.numpy(), CLOTHES)
            for picture, seen, kept in ((relit[k], found[k], of_avatar), (recorded[k], mask, of_recorded)):
                score = score_picture(picture / 255, truth / 255, drawn_mask=seen, mask=mask, clothes=clothes)
                kept.append(score.psnr_foreground)
            rows[k] += [truth, relit[k]]
            progress(f"trace {light.name}", k + 1, FRAMES)
        scores.append(RelitScore(light=light.name, avatar=mean(of_avatar), nothing_done=mean(of_recorded)))
    write_png(file, sheet(rows))
    return scores
