"""The file of a run: its tables, its lock, and how damage to it is found and told."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

from evolve.errors import BadInput, EvolveError, RunBusy

FILE, LOCK = "run.sqlite", "lock"
FORMAT = 10
#: The mutation of a row that trains its parent on more seeds: no program of its own.
MORE_SEEDS = "more seeds"
_APPLICATION = 0x45564F4C  # "EVOL", so that another program's database is told apart

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER);
CREATE TABLE programs (
    number INTEGER PRIMARY KEY, draft INTEGER, parent INTEGER,
    mutation TEXT NOT NULL, detail TEXT NOT NULL,
    rejected INTEGER NOT NULL, passed INTEGER NOT NULL,
    program TEXT NOT NULL, functional_hash TEXT NOT NULL, structure TEXT NOT NULL,
    statements INTEGER NOT NULL, live INTEGER NOT NULL, slots INTEGER NOT NULL,
    seeds INTEGER NOT NULL, source INTEGER, hurdles TEXT,
    outcome TEXT, fitness REAL, losses TEXT, steps INTEGER, checksum INTEGER);
CREATE TABLE trainings (
    sequence INTEGER PRIMARY KEY, training TEXT NOT NULL, losses TEXT NOT NULL,
    steps INTEGER NOT NULL, checksum INTEGER);
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY, programs INTEGER NOT NULL, kind TEXT NOT NULL,
    data TEXT NOT NULL, clock INTEGER NOT NULL, checksum INTEGER);
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY, started TEXT NOT NULL, seconds REAL NOT NULL, data TEXT NOT NULL);
CREATE TABLE timings (number INTEGER PRIMARY KEY, seconds REAL NOT NULL);
"""
#: The rows that are programs of their own, and on how many seeds they were trained in all.
_VIEW = f"""
CREATE VIEW proposals AS
    SELECT programs.*, coalesce(more.most, seeds) AS trained
    FROM programs LEFT JOIN (
        SELECT parent, max(seeds) AS most FROM programs
        WHERE mutation = '{MORE_SEEDS}' AND outcome IS NOT NULL GROUP BY parent
    ) AS more ON more.parent = number
    WHERE mutation != '{MORE_SEEDS}';
"""
#: All that a new file begins with.
SCHEMA = (
    f"{_TABLES} {_VIEW} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {FORMAT};"
)


def checksum(*values: Any) -> int:
    return zlib.crc32(repr(values).encode())


def configure(connection: sqlite3.Connection) -> None:
    """For writing."""
    connection.execute("PRAGMA journal_mode = WAL")
    # A power cut may cost the last transactions, never the order or the soundness of the rest;
    # what is lost is proposed and trained again, with the same results.
    connection.execute("PRAGMA synchronous = NORMAL")


def connect(where: str | Path, **options: Any) -> sqlite3.Connection:
    connection = sqlite3.connect(where, isolation_level=None, **options)
    connection.create_function("checksum", -1, checksum, deterministic=True)
    return connection


def check(folder: Path, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise BadInput(f"'{folder}' is no run folder (its {FILE} is not a run's log)")
    if version > FORMAT:
        raise BadInput(
            f"the log of '{folder}' has format {version}, newer than {FORMAT}; update evolve"
        )
    if version < FORMAT:
        raise BadInput(
            f"the log of '{folder}' has format {version}, older than {FORMAT}; "
            "use the version of evolve that began it, or start a new run"
        )
    # Of the file's structure; what stands in the rows, their checksums tell.
    ((found,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def explained(folder: Path, error: sqlite3.DatabaseError) -> EvolveError:
    """Damage is told apart from a full disk and other trouble with the file."""
    why, *_ = str(error).splitlines() or [""]
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        return BadInput(f"the log of '{folder}' is damaged ({why}); restore a copy")
    return EvolveError(f"the log of '{folder}' cannot be used ({why}); check disk and rights")


def is_locked(folder: Path) -> bool:
    """Whether somebody writes; asking writes nothing."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # nobody ever did
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def holds_nothing(folder: Path) -> bool:
    """Whether a folder is empty, but for what a process leaves that is killed as a run begins."""
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    if not found <= {LOCK, FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal"}:
        return False
    if FILE not in found:
        return True
    try:
        with closing(connect(folder / FILE)) as connection:
            ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.DatabaseError:
        return False
    return not tables


def lock(folder: Path) -> int:
    try:
        descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise BadInput(f"'{folder}' cannot be written ({error.strerror}); check rights") from None
    for patience in (0.2, 0.0):  # a reader that asks has a lock for a moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(patience)
    os.close(descriptor)
    raise RunBusy(f"another process works on '{folder}'; wait for it or stop it")


def unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
