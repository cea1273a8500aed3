"""The log: one writer, many readers, all or nothing, and clear words about damage."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evolve.errors import BadInput, EvolveError, RunBusy
from evolve.search.log import FILE, Record, RunLog
from evolve.search.run_file import FORMAT, LOCK

FACTS = {"config": {"seed": 3}, "note": ["a", 1.5, None]}


def record(number: int, **changes: Any) -> Record:
    return replace(
        Record(
            number=number,
            draft=None if number == 0 else number,
            parent=None if number == 0 else number - 1,
            mutation="start" if number == 0 else "insert",
            detail="" if number == 0 else "1: update = sign(g)",
            rejected=number,
            passed=0,
            program="def train...",
            functional_hash=f"{number:032x}",
            statements=9,
            live=7,
            slots=2,
            structure=f"{number:032x}",
            seeds=2,
        ),
        **changes,
    )


def settled(number: int) -> Record:
    losses = {"a": [[1.5, 0.1 + number], [1.25]], "b": []}
    return record(number, outcome="finished", fitness=0.1, losses=losses, steps=10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with 300 programs, the last two of them pending."""
    path = tmp_path / "runs" / "1"
    with RunLog.create(path, FACTS) as log, log.transaction():
        for number in range(300):
            log.add(record(number, hurdles={"a": [1.0, 2.0]} if number % 2 else None))
            if number < 298:
                log.settle(settled(number), seconds=0.5)
    return path


def test_what_is_written_is_read_again(folder: Path) -> None:
    with RunLog.open(folder) as log:
        assert (log.meta("config"), log.meta("note")) == (FACTS["config"], FACTS["note"])
        assert log.meta("nothing") is None
        rows = list(log.records())
        assert [row.number for row in rows] == list(range(300))
        assert rows[4] == settled(4)
        assert rows[299] == record(299, hurdles={"a": [1.0, 2.0]})
        assert log.record(5) == rows[5]
        assert log.record(300) is None
        assert list(log.records("number < ?", (3,))) == rows[:3]


def test_events_trainings_and_sessions(folder: Path) -> None:
    with RunLog.open(folder, write=True) as log, log.transaction():
        log.add_event(3, "budget", {"kind": "evals"})
        log.add_event(4, "fault", {"number": 3}, clock=True)
        log.add_training(["b", ["a"], 1, 7, "validation", 1.0], {"a": 1.0}, 5)
        log.add_training(["a", ["a"], 10, 7, "heldout", 0.1 + 0.2], None, 3)
        log.open_session(0, "2025-01-01")
        log.note_session(0, 2.5, {"workers": 1})
    with RunLog.open(folder) as log:
        assert log.events() == [(3, "budget", {"kind": "evals"}), (4, "fault", {"number": 3})]
        assert log.events("fault") == [(4, "fault", {"number": 3})]
        assert list(log.trainings()) == [
            (["b", ["a"], 1, 7, "validation", 1.0], {"a": 1.0}, 5),
            (["a", ["a"], 10, 7, "heldout", 0.1 + 0.2], None, 3),
        ]
        assert log.select("SELECT seconds FROM sessions") == [(2.5,)]


def test_what_the_clock_decides_is_not_compared(folder: Path) -> None:
    with RunLog.open(folder, write=True) as log:
        before = log.compared()
        with log.transaction():
            log.add_event(0, "fault", {}, clock=True)
            log.settle(settled(3), seconds=9.0)
            log.open_session(0, "2025")
            log.set_meta("provenance", {})
        assert log.compared() == before
        for change in (
            lambda: log.add_event(0, "budget", {}),
            lambda: log.add_training(["a", ["a"], 1, 0, "validation", 1.0], None, 0),
            lambda: log.add(record(300)),
            lambda: log.settle(replace(settled(3), steps=11)),
            lambda: log.set_meta("config", {}),
        ):
            with log.transaction():
                change()
            assert log.compared() != before
            before = log.compared()


def test_a_transaction_is_all_or_nothing(folder: Path) -> None:
    with RunLog.open(folder, write=True) as log:
        with pytest.raises(KeyboardInterrupt), log.transaction():
            log.add(record(300))
            log.settle(settled(298))
            raise KeyboardInterrupt
        assert log.record(300) is None
        assert log.record(298) == record(298)
        with log.transaction():  # and the next one works
            log.add(record(300))
        assert log.record(300) == record(300)


def test_a_process_that_ends_in_a_transaction_leaves_nothing_of_it(folder: Path) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from test_log import RunLog, settled\n"
        "log = RunLog.open(pathlib.Path(sys.argv[1]), write=True)\n"
        "with log.transaction():\n"
        "    log.settle(settled(298))\n"
        "with log.transaction():\n"
        "    log.settle(settled(299))\n"
        "    os._exit(0)\n"
    )
    here = Path(__file__).parent
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=here)
    with RunLog.open(folder) as log:
        assert (log.record(298), log.record(299).outcome) == (settled(298), None)  # type: ignore[union-attr]


def test_readers_see_one_moment_while_a_writer_writes(folder: Path) -> None:
    count = "SELECT count(*) FROM programs"
    stop, seen = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            with RunLog.open(folder) as log:
                first = log.select(count)
                last = log.select("SELECT max(number) + 1 FROM programs")
                seen.append((first, last))

    reader = threading.Thread(target=read)
    with RunLog.open(folder, write=True) as writer, RunLog.open(folder) as early:
        assert early.select(count) == [(300,)]
        reader.start()
        number, deadline = 300, time.monotonic() + 60
        while number < 420 or (len(seen) <= 3 and time.monotonic() < deadline):
            with writer.transaction():
                writer.add(record(number))
                writer.add(record(number + 1))
            number += 2
        assert early.select(count) == [(300,)]
    stop.set()
    reader.join()
    assert len(seen) > 3
    assert all(first == last and first[0][0] % 2 == 0 for first, last in seen)
    with RunLog.open(folder) as late:
        assert late.select(count) == [(number,)]


def test_readers_cannot_write(folder: Path) -> None:
    with RunLog.open(folder) as log, pytest.raises(sqlite3.OperationalError, match="readonly"):
        log.add(record(300))
    message = r"cannot be used \(.*readonly.*\); check disk and rights"
    with pytest.raises(EvolveError, match=message), RunLog.open(folder) as log:
        log.add(record(300))


@pytest.mark.promise(10)
def test_there_is_one_writer(folder: Path) -> None:
    message = f"another process works on '{folder}'; wait for it or stop it"
    with RunLog.open(folder, write=True):
        with pytest.raises(RunBusy, match=message):
            RunLog.open(folder, write=True)
        RunLog.open(folder).close()
    RunLog.open(folder, write=True).close()  # given back
    with RunLog.create(folder.parent / "2", FACTS), pytest.raises(RunBusy):
        RunLog.open(folder.parent / "2", write=True)


def test_a_failed_opening_gives_the_lock_back(folder: Path) -> None:
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(b"nonsense" * 200)
    for _ in range(2):
        with pytest.raises(BadInput, match="damaged"):
            RunLog.open(folder, write=True)
    (folder / FILE).write_bytes(data)
    RunLog.open(folder, write=True).close()


def test_a_folder_that_exists_is_not_overwritten(folder: Path) -> None:
    before = (folder / FILE).read_bytes()
    message = f"'{folder}' exists already; choose another --out, or 'evolve resume {folder}'"
    with pytest.raises(BadInput, match=message):
        RunLog.create(folder, FACTS)
    assert (folder / FILE).read_bytes() == before
    (folder.parent / "file").write_text("")
    with pytest.raises(BadInput, match="exists already"):
        RunLog.create(folder.parent / "file", FACTS)
    with pytest.raises(BadInput, match=r"cannot be made \(Not a directory\)"):
        RunLog.create(folder.parent / "file" / "run", FACTS)


KILLED = """
import os, signal, sys
from pathlib import Path
from evolve.search import run_file
from evolve.search.log import RunLog

left, connect = int(sys.argv[2]), run_file.connect

def counted(statement):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

def traced(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.set_trace_callback(counted)
    return connection

run_file.connect = traced
RunLog.create(Path(sys.argv[1]), {"note": 1}).close()
"""


@pytest.mark.promise(1)
def test_a_kill_while_a_run_is_made_leaves_it_to_be_made_again(tmp_path: Path) -> None:
    for place in range(1, 100, 3):
        folder = tmp_path / str(place)
        command = [sys.executable, "-c", KILLED, str(folder), str(place)]
        if subprocess.run(command).returncode == 0:
            break
        try:
            RunLog.create(folder, FACTS).close()
        except BadInput:  # the last statement was done: it is a run
            with RunLog.open(folder, write=True) as log:
                assert log.meta("note") == 1
    assert 10 < place < 97


def test_a_run_is_made_in_an_empty_folder_and_in_no_other(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    RunLog.create(tmp_path / "run", FACTS).close()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(BadInput, match="exists already"):
        RunLog.create(tmp_path / "mine", FACTS)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("write", [False, True])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, write: bool) -> None:
    missing = rf"'{tmp_path}.*' is no run folder \(it has no {FILE}\); 'evolve run' makes one"
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(BadInput, match=missing):
            RunLog.open(folder, write=write)
    assert not list(tmp_path.iterdir())
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("CREATE TABLE meta (key, value)")
    connection.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(BadInput, match=rf"is no run folder \(its {FILE} is not a run's log\)"):
        RunLog.open(tmp_path, write=write)
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    ("version", "message"),
    [
        (FORMAT + 1, f"has format {FORMAT + 1}, newer than {FORMAT}; update evolve"),
        (FORMAT - 1, f"has format {FORMAT - 1}, older than {FORMAT}; use the version of evolve"),
    ],
)
def test_another_format_is_refused(folder: Path, write: bool, version: int, message: str) -> None:
    connection = sqlite3.connect(folder / FILE)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(BadInput, match=message):
        RunLog.open(folder, write=write)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    match how:
        case "empty":
            data = bytearray()
        case "garbage":
            data = bytearray(random.Random(0).randbytes(len(data)))
        case "short":
            del data[100:]
        case "half":
            del data[len(data) // 2 :]
        case "holes":
            for page in range(2, len(data) // 4096, 2):
                data[page * 4096 : page * 4096 + 512] = random.Random(page).randbytes(512)
    path.write_bytes(data)


@pytest.mark.promise(8)
@pytest.mark.parametrize("how", ["empty", "garbage", "short", "half", "holes"])
@pytest.mark.parametrize("write", [False, True])
def test_damage_is_named(folder: Path, how: str, write: bool) -> None:
    """At the latest when the damaged part is read."""
    damage(folder / FILE, how)
    message = (
        r"not a run's log"
        if how == "empty"
        else rf"the log of '{folder}' is damaged \(.*\); restore"
    )
    with pytest.raises(BadInput, match=message), RunLog.open(folder, write=write) as log:
        list(log.records())
    assert (folder / LOCK).exists()


@pytest.mark.promise(7)
def test_a_file_that_cannot_be_opened_is_no_damage(tmp_path: Path) -> None:
    """A full disk, missing rights: an internal failure, and no advice to restore a copy."""
    with RunLog.create(tmp_path / "run", FACTS) as log:
        pages = log.select("PRAGMA page_count")[0][0]
    with (
        pytest.raises(EvolveError, match=r"cannot be used \(database or disk is full\)") as caught,
        RunLog.open(tmp_path / "run", write=True) as log,
    ):
        log.select(f"PRAGMA max_page_count = {pages}")
        with log.transaction():
            for number in range(200):
                log.add(record(number))
    assert caught.value.exit_code == 1
    with RunLog.open(tmp_path / "run") as log:
        assert list(log.records()) == []
