"""Where it runs: without a network, on each Python, with runs of earlier formats."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from processes import environment, evolve, finish
from runs import EVALUATIONS, begin, compared
from strategies import LONG

from evolve.cache import read_cache, write_cache
from evolve.search.log import RunLog
from evolve.summary import summarize

HERE = Path(__file__).parent


@pytest.mark.promise(13)
def test_a_stray_address_of_a_cluster_changes_nothing(folder: Path, reference: Path) -> None:
    env = environment(RAY_ADDRESS="127.0.0.1:1")
    budget = ["--budget", f"{EVALUATIONS}evals", "--workers", 1, "--quiet"]
    code, _, err = finish(begin(folder, "stray address", *budget, env=env))
    assert (code, err) == (0, "")
    assert compared(folder / "stray address") == compared(reference)


@pytest.mark.promise(13)
def test_without_a_home_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    write_cache("some.json", 1)
    assert read_cache("some.json") is None


@pytest.mark.promise(13)
@pytest.mark.parametrize("workers", [0, 1] if LONG else [0])
def test_without_a_network(folder: Path, reference: Path, workers: int) -> None:
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        pytest.skip("no network of its own for this user")
    run = folder / f"no network {workers}"
    given = f"--config {folder}/run.toml --budget {EVALUATIONS}evals --workers {workers} --quiet"
    line = f"ip link set lo up; exec {sys.executable} -m evolve.cli run {given} --out '{run}'"
    done = subprocess.run(["unshare", "-n", "sh", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert compared(run) == compared(reference)


PYTHONS = [f"3.{minor}" for minor in (11, 12, 13)]


def interpreter_of(version: str) -> str | None:
    """Where that Python is, also where pyenv keeps it."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python{version}"))
    return next(map(str, kept), None) or shutil.which(f"python{version}")


@pytest.mark.promise(13)
@pytest.mark.parametrize("least", [False, True], ids=["newest", "least"])
@pytest.mark.parametrize("version", PYTHONS)
def test_every_python_and_the_least_versions(version: str, least: bool, tmp_path: Path) -> None:
    """A fresh environment: install, search, export, and train with what was exported."""
    python = interpreter_of(version)
    if not LONG or python is None or (least and version != PYTHONS[0]):
        pytest.skip("only in the long mode, where there is such a Python")
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["optax"]]
    exact = "\n".join(line.replace(">=", "==") for line in wanted) if least else ""
    (tmp_path / "constraints.txt").write_text(exact + "\n")
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    env.pop("PYTHONPATH", None)
    clone, own = tmp_path / "a clone", tmp_path / "venv" / "bin" / "python"
    install = [own, "-m", "pip", "install", "--quiet", "--no-compile", "-c", "constraints.txt"]
    commands = [
        ["git", "clone", "--quiet", HERE.parent, clone],
        [python, "-m", "venv", "venv"],
        [*install, f"{clone}[optax]"],
        [own, "-m", "evolve.cli", "run", "--budget", "30evals", "--tasks", "quadratic"],
        [own, "-m", "evolve.cli", "export", "lion", "--to", "optax", "-o", "found.py"],
        [own, "-c", "import found, jax; found.lion().init([jax.numpy.ones(3)])"],
    ]
    for command in commands:
        given = [str(part) for part in command]
        done = subprocess.run(given, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, (given, done.stdout[-1000:], done.stderr[-2000:])


@pytest.mark.promise(13)
def test_with_uv(tmp_path: Path) -> None:
    """`uv run` would make every worker of Ray install everything anew."""
    uv = shutil.which("uv")
    if not LONG or uv is None:
        pytest.skip("only in the long mode, where there is uv")
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        env.pop(name, None)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", HERE.parent, clone], check=True)
    command = [uv, "run", "--python", sys.executable, "evolve", "run", "--tasks", "quadratic"]
    command += ["--budget", "30evals", "--workers", "2", "--quiet"]
    done = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "30 of them trained" in done.stdout


FIXTURES = HERE / "formats"


@pytest.mark.promise(14)
@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.iterdir()))
def test_runs_of_released_formats_open_and_go_on(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(FIXTURES / name, run)
    code, out, err = evolve("inspect", run)
    assert (code, err) == (0, "") and "champion" in out
    with RunLog.open(run) as log:
        before, trained = list(log.records()), summarize(log)["evaluated"]
    code, _, err = evolve("resume", run, "--budget", "5evals", "--workers", 0, "--quiet")
    assert (code, err) == (0, "")
    with RunLog.open(run) as log:
        after = list(log.records())
        assert summarize(log)["evaluated"] == trained + 5
    for old, new in zip(before, after, strict=False):  # later rows may tell more of its fitness
        assert replace(old, fitness=None) == replace(new, fitness=None)
