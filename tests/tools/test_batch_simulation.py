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
