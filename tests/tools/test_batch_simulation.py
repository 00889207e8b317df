"""The simulation of a batch against closed forms."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "batch_simulation.py"


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location("batch_simulation", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_equal_tasks_fill_all_cores(simulation):
    done = simulation.simulate([{"fit": 3.0}] * 10, simulation.Cluster(cores=2, gpus=0))
    assert done.seconds == 15
    assert done.use["core"] == 1


def test_fits_follow_the_slower_preprocessing(simulation):
    done = simulation.simulate([{"preprocess": 10.0, "fit": 5.0}] * 20, simulation.Cluster(cores=1, gpus=1))
    assert done.seconds == 20 * 10 + 5
    assert done.use["gpu"] == pytest.approx(20 * 5 / (6 * 205))


def test_eval_and_export_wait_for_the_fit_alone(simulation):
    subject = {"preprocess": 1.0, "fit": 2.0, "eval": 4.0, "export": 3.0}
    done = simulation.simulate([subject], simulation.Cluster(cores=1, gpus=1))
    assert done.seconds == 1 + 2 + 4


def test_a_full_gpu_is_what_all_wait_for(simulation):
    done = simulation.simulate([{"preprocess": 1.0, "fit": 6.0}] * 600, simulation.Cluster(cores=2, gpus=1))
    assert done.seconds == pytest.approx(600, rel=0.02)  # six of 6 s at a time
    assert done.steady["gpu"] == pytest.approx(1, abs=0.02)


def row(**stages: tuple[float, float]) -> dict:
    begun = {stage: begin for stage, (begin, _) in stages.items()}
    return {"begun": begun, "seconds": {stage: end - begin for stage, (begin, end) in stages.items()}}


def test_a_gpu_is_without_a_task_until_the_last_recording_is_preprocessed(simulation):
    rows = [
        row(preprocess=(100, 110), fit=(112, 120), eval=(119, 125), export=(120, 140)),
        row(preprocess=(110, 150), fit=(150, 160)),
        row(preprocess=(100, 128), fit=(130, 141)),
        row(),  # kept from before
    ]
    # Nothing from 125 to 130 and from 141 to 150; what comes after 150 does not count.
    assert simulation.gpu_without_task(rows) == (12, 14)
    assert simulation.gpu_without_task([row(preprocess=(5, 9))]) == (4, 0)
    assert simulation.gpu_without_task([row(preprocess=(5, 9), fit=(9, 12))]) == (4, 0)
