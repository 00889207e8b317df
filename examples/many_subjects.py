"""Preprocess, fit and score every video of a folder; subjects that fail are reported and the rest goes on.

python examples/many_subjects.py VIDEOS OUT
"""

import sys
from pathlib import Path

from flare_cli.apps.evaluate import EvalRequest, evaluate
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.apps.preprocess import preprocess
from flare_cli.errors import FlareError
from flare_cli.fit.run_folder import AVATAR_FILE
from flare_cli.parallel.progress import quiet
from flare_cli.track.request import PreprocessRequest


def main(videos: Path, out: Path) -> None:
    for video in sorted(videos.glob("*.mp4")):
        subject, run = out / "subjects" / video.stem, out / "runs" / video.stem
        try:
            preprocess(PreprocessRequest(video=video, out=subject), quiet)
            if not (run / AVATAR_FILE).is_file():
                fit(FitRequest(subject=subject, run=run), quiet)
            scores = evaluate(EvalRequest(run=run), quiet)
            print(f"{video.stem}: {scores.mean['psnr_foreground']:.2f} dB per foreground pixel")
        except FlareError as error:
            print(f"{video.stem}: {error.message} ({error.hint})")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
