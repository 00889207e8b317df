"""Preprocess, fit, score and export every video of a folder, on all cores and GPUs, as `flare batch` does.

python examples/many_subjects.py VIDEOS OUT
"""

import sys
from pathlib import Path

from flare_cli.apps.batch.batch import BatchRequest, batch
from flare_cli.apps.batch.board import unseen

if __name__ == "__main__":
    result = batch(BatchRequest(inputs=(sys.argv[1],), out=Path(sys.argv[2])), unseen, print)
    for name, outcomes in result.outcomes.items():
        print(name, *(f"{outcome.stage} {outcome.state} {outcome.message}" for outcome in outcomes), sep="; ")
    sys.exit(result.failed > 0)
