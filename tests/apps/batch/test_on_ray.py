"""A batch on a Ray of two nodes that loses one of them, with a broken subject and a fit that was cut off before."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage import data
from support.tiny_batches import SETTINGS, avatar_in, batch_request, cut_off_fit

from flare_cli.apps.batch.batch import batch
from flare_cli.apps.batch.board import Board, unseen
from flare_cli.data.video import open_video
from flare_cli.synthetic.recording import make_synthetic_subject

ray = pytest.importorskip("ray", reason="Ray is not installed")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.slow
SUBJECTS = int(os.environ.get("FLARE_SUBJECTS", "6"))
BROKEN, CUT_OFF = "p01", "p02"


@pytest.fixture(scope="module", autouse=True)
def _few_rays():
    """Workers are other processes, which know nothing of fewer rays: exports here take as many."""


def write_film(path: Path, seed: int) -> None:
    portrait = data.astronaut()
    with open_video(path, fps=25, crf=10) as video:
        for k in range(14):
            video.write(np.ascontiguousarray(portrait[:280, 100 - k + seed : 340 - k + seed]))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Subjects p00, p01, …: every fourth a film, one of the others broken."""
    folder = tmp_path_factory.mktemp("crowd")
    for seed in range(SUBJECTS):
        if seed % 4 == 0:
            write_film(folder / f"p{seed:02}.mp4", seed)
        else:
            make_synthetic_subject(folder / f"p{seed:02}", frames=6, size=48, samples=1, seed=seed)
    (folder / BROKEN / "flare.json").write_text("{}")
    return folder


@pytest.fixture
def two_nodes():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def listening() -> set[str]:
    """The addresses, as the kernel writes them, on which processes of Ray listen."""
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"ray" not in (process / "cmdline").read_bytes():
                continue
            sockets = {os.readlink(fd)[8:-1] for fd in (process / "fd").iterdir() if os.readlink(fd)[:7] == "socket:"}
            for table in ("tcp", "tcp6"):
                lines = [line.split() for line in (process / "net" / table).read_text().splitlines()[1:]]
                found |= {line[1].split(":")[0] for line in lines if line[3] == "0A" and line[9] in sockets}
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_ray_of_its_own_is_for_this_machine_alone(crowd: Path, tmp_path: Path):
    words = [sys.executable, "-m", "flare_cli.cli.main", "batch", crowd / "p02", crowd / "p03", "-o", tmp_path / "out"]
    words += ["--stages", "fit", "--config", "demo", "--device", "cpu"]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(Path.home() / ".cache")}
    process = subprocess.Popen([*map(str, words)], env=os.environ | home)
    while not list((tmp_path / "out").glob("*/run")):
        assert process.poll() is None
        time.sleep(0.05)
    addresses = listening()
    assert process.wait(timeout=120) == 0
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, and the same as IPv6
    assert addresses
    assert addresses <= loopback
    assert not (tmp_path / "home").exists()  # Ray would write its key there


def test_a_node_dies_and_all_that_can_be_done_is_done(crowd: Path, two_nodes, tmp_path: Path):
    cluster, second = two_nodes
    asked = batch_request(crowd, out=tmp_path / "out", jobs=None, address=cluster.address, size=96)
    cut_off_fit(crowd / CUT_OFF, tmp_path / "out" / CUT_OFF / "run", asked, steps=8)
    lost: list[float] = []

    def kill_a_node(board: Board) -> None:
        done, running = (sum(getattr(line, what) for line in board.lines()) for what in ("done", "running"))
        if not lost and done >= SUBJECTS // 2 and running >= 2:
            cluster.remove_node(second, allow_graceful=False)
            lost.append(board.elapsed())

    started = time.monotonic()
    result = batch(asked, kill_a_node, unseen)
    seconds = time.monotonic() - started
    failures = [o for outcomes in result.outcomes.values() for o in outcomes if o.state == "failed"]
    assert lost
    assert result.subjects == SUBJECTS
    assert [failure.name for failure in failures] == [BROKEN]
    assert "flare.json" in failures[0].message
    alone = replace(asked, out=tmp_path / "alone", jobs=1, address=None)
    alone_seconds = time.monotonic()
    assert batch(alone, unseen, unseen).failed == 1
    alone_seconds = time.monotonic() - alone_seconds
    for name in set(result.outcomes) - {BROKEN}:
        assert avatar_in(tmp_path / "out" / name / "run") == avatar_in(tmp_path / "alone" / name / "run"), name
        glb = Path(name) / "export" / f"{name}.glb"
        assert (tmp_path / "out" / glb).read_bytes() == (tmp_path / "alone" / glb).read_bytes(), name
    print(
        f"{SUBJECTS} subjects: {seconds:.0f} s on two nodes of a core, one lost after {lost[0]:.0f} s;"
        f" {alone_seconds:.0f} s in turn"
    )
    shutil.copy(tmp_path / "out" / "summary.json", Path(os.environ.get("FLARE_KEEP", str(tmp_path))) / "kept.json")
