"""The file of a run: full disks, folders that go, flipped bytes and cut files."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import Tried
from fakes import FakePool, config
from processes import evolve
from runs import EVALUATIONS, compared, unfinished
from strategies import LONG, examples
from test_driver import create, go_on, search

from evolve.budget import PROGRAMS, Budget
from evolve.errors import EvolveError
from evolve.search.log import FILE, RunLog
from evolve.summary import summarize

HERE = Path(__file__).parent


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.executable, [sys.executable, "-m", "evolve.cli", *sys.argv[2:]])
"""


@pytest.mark.promise(7)
@pytest.mark.parametrize("size", [120_000, 400_000, 900_000] if LONG else [400_000])
def test_a_full_disk_is_told_and_the_run_goes_on_afterwards(
    folder: Path, reference: Path, size: int, tried: Tried
) -> None:
    name = f"full {size}"
    given = ["--config", folder / "run.toml", "--out", folder / name, "--quiet"]
    given += ["--budget", f"{EVALUATIONS}evals", "--workers", "0"]
    command = [sys.executable, "-c", LIMITED, str(size), "run", *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True)
    code, err = done.returncode, done.stderr
    assert code == 1 and f"the log of '{folder / name}' cannot be used" in err, err
    assert "check disk and rights" in err and "Traceback" not in err
    assert unfinished(folder / name)
    code, _, err = evolve("resume", folder / name, "--workers", 0, "--quiet")
    assert (code, err) == (0, "")
    assert compared(folder / name) == compared(reference)
    tried("disks full", 1)


@pytest.mark.promise(7)
@pytest.mark.parametrize("size", [0, 5_000, 20_000])
def test_a_disk_that_is_full_at_the_beginning_is_told_and_nothing_is_left(
    folder: Path, size: int
) -> None:
    out = folder / f"no room {size}"
    given = ["--out", str(out), "--budget", "1evals", "--workers", "0"]
    command = [sys.executable, "-c", LIMITED, str(size), "run", *given]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "check disk and rights" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not out.exists()


@pytest.mark.promise(8)
def test_a_fitness_that_changed_is_not_shown(small: Path, tmp_path: Path) -> None:
    shutil.copy(small / FILE, tmp_path / FILE)
    connection = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    connection.execute("UPDATE programs SET fitness = 0.5 WHERE number = 3")
    connection.close()
    for command in ("inspect", "report"):
        code, _, err = evolve(command, tmp_path)
        assert code == 2 and "is damaged (a row of programs is not as it was written)" in err


@pytest.mark.promise(7)
def test_a_run_whose_folder_is_removed_says_so(tmp_path: Path) -> None:
    run = tmp_path / "run"
    create(run, config())
    with pytest.raises(EvolveError, match=f"'{run}' was removed"), RunLog.open(run, True) as log:
        shutil.rmtree(run)
        with log.transaction():
            raise AssertionError


@pytest.mark.promise(7)
def test_a_folder_that_cannot_be_written_is_told(folder: Path, reference: Path) -> None:
    """Mounted read-only, which even root cannot write to."""
    if not mounts_work():
        pytest.skip("no mounts of its own for this user")
    commands = {
        f"resume {reference} --budget 10evals --workers 0": "check",
        f"run --out {reference}/new --budget 10evals --workers 0": "cannot be made (Read-only",
    }
    for command, message in commands.items():
        line = (
            f"mount --bind {reference} {reference} && mount -o remount,ro,bind {reference} && "
            f"{sys.executable} -m evolve.cli {command}"
        )
        done = subprocess.run(["unshare", "-m", "sh", "-c", line], capture_output=True, text=True)
        assert done.returncode in (1, 2) and done.stderr.startswith("evolve: "), done.stderr
        assert message in done.stderr and done.stderr.count("\n") == 1
    line = f"mount --bind {reference} {reference} && mount -o remount,ro,bind {reference} && "
    line += f"{sys.executable} -m evolve.cli inspect {reference}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "champion" in done.stdout


def mounts_work() -> bool:
    command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, in one file."""
    run = tmp_path_factory.mktemp("small") / "run"
    search(run, config(), Budget(PROGRAMS, 12))
    connection = sqlite3.connect(run / FILE)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("VACUUM")
    connection.close()
    return run


def told(run: Path) -> Any:
    """All that a run holds; None if it is refused."""
    try:
        with RunLog.open(run) as log:
            keys = [key for (key,) in log.select("SELECT key FROM meta ORDER BY key")]
            facts = [log.meta(key) for key in keys]
            rows = [list(log.records()), log.events(), list(log.trainings())]
            shown = summarize(log)
            for field in ("run", "seconds", "evals_per_second"):  # times have no checksum
                del shown[field]
            return [facts, rows, shown]
    except EvolveError as error:
        assert "\n" not in str(error)
        return None


@pytest.mark.promise(8)
def test_no_byte_of_a_run_changes_unseen(small: Path, tmp_path: Path, tried: Tried) -> None:
    run = tmp_path / "run"
    run.mkdir()
    data, wanted = (small / FILE).read_bytes(), told(small)
    assert wanted is not None
    chance = random.Random(0)
    places = range(len(data)) if LONG else sorted(chance.sample(range(len(data)), 1000))
    refused = 0
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        (run / FILE).write_bytes(changed)
        found = told(run)
        refused += found is None
        assert found is None or found == wanted, f"byte {place}"
    assert refused > len(places) // 10
    sizes = range(0, len(data), 512)
    for size in sizes:
        (run / FILE).write_bytes(data[:size])
        assert told(run) is None, f"cut to {size}"
    tried("bytes changed", len(places))
    tried("files cut", len(sizes))


@pytest.mark.promise(8)
def test_a_damaged_journal_costs_no_more_than_what_it_held(tmp_path: Path, tried: Tried) -> None:
    """SQLite drops what comes after the damage; it is proposed and trained again."""
    settings, budget = config(), Budget(PROGRAMS, 60)
    search(tmp_path / "whole", settings, budget)
    run, image = tmp_path / "run", tmp_path / "image"

    def copied(waiting: int) -> int:
        with suppress(FileNotFoundError):  # as it would be left by a kill
            shutil.copytree(run, image, dirs_exist_ok=True)
        return 0

    search(run, settings, budget, choose=copied)
    journal = image / f"{FILE}-wal"
    data, chance = journal.read_bytes(), random.Random(0)
    assert len(data) > 100_000
    whole, lost, refused = told(image), 0, 0
    for place in chance.sample(range(len(data)), examples(20, 1000)):
        folder = tmp_path / str(place)
        shutil.copytree(image, folder)
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        (folder / journal.name).write_bytes(changed)
        found = told(folder)
        if found is None:  # not even what it began with was written
            refused += 1
            continue
        lost += found != whole
        with RunLog.open(folder) as log:
            begun = bool(log.events("budget"))
        go_on(folder, FakePool(settings), None if begun else budget)
        assert compared(folder) == compared(tmp_path / "whole"), f"byte {place}"
        tried("journals damaged", 1)
    assert lost > refused
