"""The log of a run: one SQLite file, and the truth about everything in it.

Every proposed program is a row, stored before it is dispatched, with the
decisions taken about it; its outcome is added when it is committed. Population,
cache and hall of fame are folds over the rows. What the clock decides, and
when, is kept apart, in `sessions`, `timings` and clock events; everything else
is equal for equal configurations and budgets (`compared`).

Every row ends in a checksum, since SQLite does not notice a byte that flips inside of a value.
One writer, which holds a lock on the run folder; readers open read-only.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolve.errors import BadInput, EvolveError, quoted
from evolve.search import run_file
from evolve.search.run_file import FILE, MORE_SEEDS
from primitives.abstract import analyse
from primitives.program import Program
from primitives.text import to_text

#: The number of the start program.
START = 0
#: The columns of `proposals` that count and compare.
_NUMBERS = (
    "number, parent, mutation, rejected, passed, statements, live, slots, seeds, source, outcome, "
    "fitness, steps, trained"
)
#: What was trained outside of the budget is told in events.
_EVENT_STEPS = "total(json_extract(data, '$.steps')) FROM events"


@dataclass(frozen=True)
class Record:
    """One proposed program.

    Attributes:
        number: its place in the run, from 0 (the start program).
        draft: the number of the draft that it comes from; None for the start program and for
            rows of more seeds.
        parent: the number of the program it was mutated from.
        mutation: what was done: a mutation, `start` or `more seeds`.
        detail: where and what, in words.
        rejected: invalid children drawn just before it.
        passed: valid children drawn before it that did not look worth training.
        program: its text.
        functional_hash: from abstract execution.
        structure: equal for programs that differ in constants alone.
        statements, live, slots: all statements, live statements, live slots.
        seeds: on how many it has been trained when this row is settled.
        source: the number of the earlier program whose result it takes: it computes the
            same, or steps as its parent does and is shorter; None if it is trained itself.
        hurdles: for each task the highest loss at each mark with which training goes on.
        outcome: how its evaluation ended; None until it is committed.
        fitness: None if it has none (not finite, diverged, crashed, ...); once it has
            been trained on more seeds, on all of them.
        losses: for each task, for each seed of this row, the loss at each mark reached.
        steps: training steps run for this row.
    """

    number: int
    draft: int | None
    parent: int | None
    mutation: str
    detail: str
    rejected: int
    passed: int
    program: str
    functional_hash: str
    structure: str
    statements: int
    live: int
    slots: int
    seeds: int
    source: int | None = None
    hurdles: dict[str, list[float]] | None = None
    outcome: str | None = None
    fitness: float | None = None
    losses: dict[str, list[list[float]]] | None = None
    steps: int | None = None

    @property
    def told(self) -> str:
        """What was done, in words: `insert 7: update = sign(update)`."""
        return f"{self.mutation} {self.detail}".strip()


def described(program: Program) -> dict[str, Any]:
    """The columns of a row that tell of its program alone."""
    analysis = analyse(program)
    return {
        "program": to_text(program),
        "functional_hash": analysis.functional_hash,
        "structure": analysis.structure,
        "statements": len(program.statements),
        "live": analysis.statements,
        "slots": analysis.trees,
    }


_COLUMNS = tuple(Record.__dataclass_fields__)
#: The columns of each table whose rows are sealed.
_SEALED = {
    "programs": _COLUMNS,
    "meta": ("key", "value"),
    "events": ("programs", "kind", "data", "clock"),
    "trainings": ("training", "losses", "steps"),
}
_JSON = ("hurdles", "losses")


class RunLog:
    """An open run folder; `create` and `open` make one."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: int | None) -> None:
        self.folder = folder
        self._connection = connection
        self._lock = lock

    @staticmethod
    def create(folder: Path, facts: dict[str, Any]) -> RunLog:
        """A new run folder with these facts about the run, locked for writing.

        Raises:
            BadInput: if something is there already, or it cannot be made.
            RunBusy: if another process makes it just now.
        """
        try:
            with suppress(FileExistsError):
                folder.mkdir(parents=True)
            RunLog._check_is_free(folder)
        except OSError as error:
            raise BadInput(f"the run folder '{folder}' cannot be made ({error.strerror})") from None
        with ExitStack() as failed:
            lock = run_file.lock(folder)
            failed.callback(run_file.unlock, lock)
            RunLog._check_is_free(folder)  # nobody has made a run there meanwhile
            failed.callback(shutil.rmtree, folder, ignore_errors=True)  # half a run is none
            connection = run_file.connect(folder / FILE)
            failed.callback(connection.close)
            log = RunLog(folder, connection, lock)
            try:
                run_file.configure(connection)
                connection.executescript(f"BEGIN; {run_file.SCHEMA}")
                for key, value in facts.items():
                    log.set_meta(key, value)
                connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                raise run_file.explained(folder, error) from error
            failed.pop_all()
        return log

    @staticmethod
    def _check_is_free(folder: Path) -> None:
        if not run_file.holds_nothing(folder):
            raise BadInput(
                f"'{folder}' exists already; choose another --out, or "
                f"'evolve resume {quoted(folder)}'"
            )

    @staticmethod
    def open(folder: Path, write: bool = False) -> RunLog:
        """An existing run folder.

        Raises:
            BadInput: if it is no run folder, damaged, or of another format.
            RunBusy: if it is to be written and another driver does so.
        """
        path = folder / FILE
        if not path.is_file():
            raise BadInput(
                f"'{folder}' is no run folder (it has no {FILE}); 'evolve run' makes one"
            )
        lock = run_file.lock(folder) if write else None
        uri = f"{path.resolve().as_uri()}?mode={'rw' if write else 'ro'}"
        with ExitStack() as failed:
            failed.callback(run_file.unlock, lock)
            try:
                connection = run_file.connect(uri, uri=True, timeout=30)
                failed.callback(connection.close)
                if not write:  # a reader sees one moment of the run, however long it reads
                    connection.execute("PRAGMA temp_store = MEMORY")
                    connection.execute("BEGIN")
                run_file.check(folder, connection)
                if write:
                    run_file.configure(connection)
            except UnicodeDecodeError:  # as in `select`
                raise run_file.explained(folder, sqlite3.DatabaseError("its schema")) from None
            except sqlite3.DatabaseError as error:
                raise run_file.explained(folder, error) from None
            failed.pop_all()
        return RunLog(folder, connection, lock)

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._connection.close()
        run_file.unlock(self._lock)
        self._lock = None

    def is_written(self) -> bool:
        """Whether somebody else goes on with the run at this moment."""
        return self._lock is None and run_file.is_locked(self.folder)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise run_file.explained(self.folder, error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What happens inside is in the file entirely or not at all.

        Raises:
            EvolveError: if somebody removed the file: what is written now, nobody would find.
        """
        if not (self.folder / FILE).exists():
            raise EvolveError(f"the run folder '{self.folder}' was removed; the run is lost")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # a full disk has ended it already
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def add(self, record: Record) -> None:
        """Append a program."""
        self._insert("programs", [_dump(name, getattr(record, name)) for name in _COLUMNS])

    def settle(self, record: Record, seconds: float | None = None) -> None:
        """Add the outcome to a program that was added before."""
        names = ("outcome", "fitness", "losses", "steps")
        values = [_dump(name, getattr(record, name)) for name in names]
        self._connection.execute(
            "UPDATE programs SET outcome = ?, fitness = ?, losses = ?, steps = ? WHERE number = ?",
            [*values, record.number],
        )
        self._seal("programs", record.number)
        if record.mutation == MORE_SEEDS:
            update = "UPDATE programs SET fitness = ? WHERE number = ?"
            self._connection.execute(update, (record.fitness, record.parent))
            self._seal("programs", record.parent)
        if seconds is not None:
            timing = (record.number, seconds)
            self._connection.execute("INSERT OR REPLACE INTO timings VALUES (?, ?)", timing)

    def records(self, where: str = "1", parameters: tuple[Any, ...] = ()) -> Iterator[Record]:
        """The programs in order; `where` is an SQL condition."""
        for row in self._rows("programs", f"{where} ORDER BY number", parameters):
            values = dict(zip(_COLUMNS, row, strict=True))
            for name in _JSON:
                values[name] = None if values[name] is None else json.loads(values[name])
            yield Record(**values)

    def record(self, number: int) -> Record | None:
        """One program."""
        return next(self.records("number = ?", (number,)), None)

    def ancestry(self, number: int) -> list[Record]:
        """The programs that led to this one, from the start program to itself."""
        found = [record for record in [self.record(number)] if record is not None]
        while found and found[-1].parent is not None:
            found += self.records("number = ?", (found[-1].parent,))
        return found[::-1]

    def select(self, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of an SQL query."""
        try:
            return self._connection.execute(query, parameters).fetchall()
        except UnicodeDecodeError:  # of the message that tells what is wrong
            raise sqlite3.DatabaseError("its schema") from None

    @contextmanager
    def in_memory(self) -> Iterator[None]:
        """Within, `proposals` is a table in memory that holds the numbers, not the texts.

        What asks a run of 300,000 programs twenty questions reads its file once, not each time; and
        its rows are as they were written.
        """
        if self.select("SELECT 1 FROM temp.sqlite_master WHERE name = 'proposals'"):
            yield
            return
        whole = f"checksum({', '.join(_COLUMNS)}) IS checksum"
        if self.select(f"SELECT 1 FROM programs WHERE NOT ({whole}) LIMIT 1"):
            raise sqlite3.DatabaseError("a row of programs is not as it was written")
        self.select(f"CREATE TEMP TABLE proposals AS SELECT {_NUMBERS} FROM proposals")
        try:
            yield
        finally:
            self._connection.execute("DROP TABLE temp.proposals")

    def training_steps(self) -> int:
        """All training steps run, those of the closing included."""
        sums = ("total(steps) FROM programs", "total(steps) FROM trainings", _EVENT_STEPS)
        return sum(int(self.select(f"SELECT {each}")[0][0]) for each in sums)

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a fact about the run."""
        self._insert("meta", [key, json.dumps(value, sort_keys=True)])

    def meta(self, key: str) -> Any:
        """A fact about the run; None if it is not known."""
        for _, value in self._rows("meta", "key = ?", (key,)):
            return json.loads(value)
        return None

    def add_event(self, programs: int, kind: str, data: Any, clock: bool = False) -> None:
        """Record that something happened after `programs` proposals."""
        self._insert("events", [programs, kind, json.dumps(data, sort_keys=True), clock])

    def events(self, kind: str | None = None) -> list[tuple[int, str, Any]]:
        """`(programs, kind, data)` of every event, or of those of one kind."""
        rows = self._rows("events", "?1 IS NULL OR kind = ?1 ORDER BY sequence", (kind,))
        return [(n, name, json.loads(data)) for n, name, data, _ in rows]

    def add_training(
        self, training: list[Any], losses: dict[str, float] | None, steps: int
    ) -> None:
        """Record a training of the closing: what was asked for, and what it came to."""
        row = [json.dumps(training), json.dumps(losses, sort_keys=True), steps]
        self._insert("trainings", row)

    def trainings(self) -> Iterator[tuple[list[Any], dict[str, float] | None, int]]:
        """The trainings of the closing, in order."""
        for training, losses, steps in self._rows("trainings", "1 ORDER BY sequence"):
            yield json.loads(training), json.loads(losses), steps

    def open_session(self, number: int, started: str) -> None:
        """Record that a driver began to work on the run."""
        row = (number, started, 0.0, "{}")
        self._connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", row)

    def note_session(self, number: int, seconds: float, data: dict[str, Any]) -> None:
        """Record how long a driver has worked, and facts about it."""
        self._connection.execute(
            "UPDATE sessions SET seconds = ?, data = ? WHERE number = ?",
            (seconds, json.dumps(data, sort_keys=True), number),
        )

    def _insert(self, table: str, values: list[Any]) -> None:
        """Append a row with its checksum; a fact may take the place of an older one."""
        columns, how = _SEALED[table], "REPLACE" if table == "meta" else "INSERT"
        cursor = self._connection.execute(
            f"{how} INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
            values,
        )
        self._seal(table, cursor.lastrowid)

    def _seal(self, table: str, row: int | None) -> None:
        checksum = f"checksum({', '.join(_SEALED[table])})"
        update = f"UPDATE {table} SET checksum = {checksum} WHERE rowid = ?"
        self._connection.execute(update, (row,))

    def _rows(
        self, table: str, where: str, parameters: tuple[Any, ...] = ()
    ) -> Iterator[tuple[Any, ...]]:
        """The rows of a table without their checksums, which must be right."""
        query = f"SELECT {', '.join(_SEALED[table])}, checksum FROM {table} WHERE {where}"
        for *values, checksum in self._connection.execute(query, parameters):
            if run_file.checksum(*values) != checksum:
                raise sqlite3.DatabaseError(f"a row of {table} is not as it was written")
            yield tuple(values)

    def compared(self) -> list[tuple[Any, ...]]:
        """Everything that must be equal for equal configurations and budgets."""
        return [
            *self.select("SELECT * FROM meta WHERE key = 'config'"),
            *self.select("SELECT * FROM programs ORDER BY number"),
            *self.select("SELECT * FROM trainings ORDER BY sequence"),
            *self.select(
                "SELECT programs, kind, data FROM events WHERE NOT clock ORDER BY sequence"
            ),
        ]


def _dump(name: str, value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if name in _JSON and value is not None else value
