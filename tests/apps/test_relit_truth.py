from dataclasses import replace
from pathlib import Path

import torch

from flare_cli.apps.relit_truth import FRAMES, score_relit
from flare_cli.data.hdr import load_envmap
from flare_cli.data.image import read_rgb
from flare_cli.fit.run_folder import load_run
from flare_cli.parallel.progress import quiet
from flare_cli.show.filming.lighting import Environment


def test_the_recorded_picture_is_right_under_the_recordings_own_light_alone(small_run: Path, tmp_path: Path):
    run = load_run(small_run, torch.device("cpu"))
    subject = run.subject()
    own = Environment(
        name="own",
        picture=torch.from_numpy(load_envmap(subject.folder / "truth" / "light.hdr")),
        exposure=0.0,
        yaw=0.0,
        turns=False,
    )
    dimmed = replace(own, name="dimmed", picture=0.25 * own.picture)
    same, other = score_relit(run, subject, [own, dimmed], tmp_path / "sheet.png", quiet)
    assert (same.light, other.light) == ("own", "dimmed")
    assert same.nothing_done > 24  # what is left is the noise of four rays a pixel
    assert other.nothing_done < 15 < other.avatar
    assert read_rgb(tmp_path / "sheet.png").shape == (FRAMES * 68 - 4, 5 * 68 - 4, 3)
