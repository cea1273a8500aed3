"""A Ray cluster of several nodes on this machine: one joins, one is lost, the log is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import descendants, environment, eventually, evolve, finish, start
from runs import compared, count, reached

from evolve.search.log import RunLog
from evolve.summary import summarize

SETTINGS = """
tasks = ["quadratic"]
seed = 5
population = 30
tune_start = false
in_flight = 8
closing_share = 0.0
"""
BUDGET = ["--budget", "400evals"]


class Node:
    """A machine of the cluster, with one core and a folder of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir()
        command = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--block",
            "--num-cpus",
            "1",
        ]
        more = ["--object-store-memory", "80000000", "--disable-usage-stats"]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *more, *options],
                cwd=folder,
                env=environment(RAY_AUTH_MODE="disabled"),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As if its power had failed."""
        for pid in [*descendants(self.process.pid), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[Node]]]:
    """The address of a head, and the nodes."""
    port = 20_000 + os.getpid() % 10_000
    nodes = [Node(tmp_path / "head", "--head", "--port", str(port), "--include-dashboard=false")]
    try:
        yield f"127.0.0.1:{port}", nodes
    finally:
        for node in nodes:
            node.kill()


def trained(run: Path, least: int) -> bool:
    """Whether so many programs were trained."""
    return reached(run, count("programs WHERE outcome IS NOT NULL AND source IS NULL", least))


@pytest.mark.promise(12)
def test_a_machine_may_join_and_be_lost(tmp_path: Path, cluster: tuple[str, list[Node]]) -> None:
    address, nodes = cluster
    (tmp_path / "run.toml").write_text(SETTINGS)
    given = ["--config", tmp_path / "run.toml", *BUDGET, "--quiet"]
    assert evolve("run", *given, "--workers", 0, "--out", tmp_path / "alone")[0] == 0
    here = tmp_path / "driver"
    here.mkdir()
    assert eventually(lambda: "started" in (tmp_path / "head" / "log").read_text().lower(), 60)
    more = ["--workers", 2, "--address", address, "--out", here / "run"]
    process = start("run", *given, *more, cwd=here, env=environment(RAY_AUTH_MODE="disabled"))
    assert eventually(lambda: trained(here / "run", 10), 120), process.communicate(timeout=5)
    os.kill(process.pid, signal.SIGSTOP)  # a machine takes longer to join than these trainings
    nodes.append(Node(tmp_path / "second", "--address", address))
    joined = eventually(lambda: descendants(nodes[1].process.pid, "ray::_Evaluations"), 120)
    os.kill(process.pid, signal.SIGCONT)
    assert joined
    assert eventually(lambda: trained(here / "run", 200), 120)
    nodes.pop().kill()
    assert not trained(here / "run", 400), "the machine was lost too late to matter"
    code, _, err = finish(process)
    assert (code, err) == (0, "")
    assert compared(here / "run") == compared(tmp_path / "alone")


@pytest.fixture
def gpu(tmp_path: Path) -> Iterator[str]:
    """The address of a machine that says that it has a GPU."""
    port = 30_000 + os.getpid() % 10_000
    options = ["--num-cpus", "4", "--num-gpus", "1", "--include-dashboard=false"]
    node = Node(tmp_path / "head", "--head", "--port", str(port), *options)
    try:
        assert eventually(lambda: "started" in (tmp_path / "head" / "log").read_text().lower(), 60)
        yield f"127.0.0.1:{port}"
    finally:
        node.kill()


@pytest.mark.slow
def test_workers_share_the_gpus_that_there_are(tmp_path: Path, gpu: str) -> None:
    settings = {"population": 6, "tune_start": "false", "closing_share": 0.0, "replicates": [1, 2]}
    text = "\n".join(f"{key} = {value}" for key, value in settings.items())
    (tmp_path / "run.toml").write_text(text)
    given = ["--tasks", "torch_tasks:task", "--config", tmp_path / "run.toml", "--quiet"]
    given += ["--budget", "8evals", "--workers", 4, "--out", tmp_path / "run"]
    here = Path(__file__).parent  # where the task lies
    variables = environment(RAY_AUTH_MODE="disabled")
    process = start("run", *given, "--address", gpu, cwd=here, env=variables)
    code, _, err = finish(process)
    assert (code, err) == (0, "")
    with RunLog.open(tmp_path / "run") as log:
        assert summarize(log)["outcomes"].get("failed", 0) == 0  # each saw its device
        assert log.events("fault") == []


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path) -> None:
    given = ["--tasks", "torch_tasks:task", "--workers", 1, "--out", tmp_path / "run"]
    code, _, err = finish(start("run", *given, "--quiet", cwd=Path(__file__).parent))
    assert code == 2 and "a worker needs 0.5 GPUs, and there are 0" in err
    assert not (tmp_path / "run").exists()
