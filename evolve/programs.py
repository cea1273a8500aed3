"""PROGRAM arguments: a zoo name, RUN#ID, a run folder, or a text file, tried in that order."""

from __future__ import annotations

from pathlib import Path

from evolve.errors import BadInput, nearest, quoted
from evolve.search.log import FILE, RunLog
from evolve.summary import champion_number, champion_text
from primitives import zoo
from primitives.abstract import analyse
from primitives.program import Program, ProgramError
from primitives.text import MAX_CHARACTERS, from_text


def load_program(name: str) -> Program:
    """The valid program that `name` stands for; `./lion` forces the file.

    Raises:
        BadInput: if there is none, or it is not valid.
    """
    if is_known(name):
        return zoo.zoo(name)
    folder, number = run_of(name)
    if folder is not None:
        return _from_run(folder, number)
    path = Path(name)
    if path.is_file():
        return _from_file(path)
    if path.is_dir():
        return _from_run(path, None)  # which says what it lacks
    raise BadInput(
        f"'{name}' is no known optimizer, no RUN#ID, no run folder and no file"
        f"{nearest(name, (*zoo.NAMES, *zoo.EXTENDED_NAMES))}"
    )


def is_known(name: str) -> bool:
    """Whether it is an optimizer of the zoo."""
    return name in (*zoo.NAMES, *zoo.EXTENDED_NAMES, *zoo.ALIASES)


def run_of(name: str) -> tuple[Path | None, str | None]:
    """The folder and the number of a RUN#ID, or a run folder alone; of no run, neither."""
    run, hash_sign, number = name.rpartition("#")
    if is_known(name):
        return None, None
    if hash_sign and (Path(run) / FILE).is_file():
        return Path(run), number
    return Path(name) if (Path(name) / FILE).is_file() else None, None


def _from_run(folder: Path, number: str | None) -> Program:
    with RunLog.open(folder) as log:
        judged = champion_text(log) if number is None else None
        if judged is not None:
            return from_text(judged)
        wanted = champion_number(log) if number is None else _number(number)
        record = None if wanted is None else log.record(wanted)
    if record is None:
        what = "champion yet" if number is None else f"program {number}"
        raise BadInput(f"the run '{folder}' has no {what}; see 'evolve inspect {quoted(folder)}'")
    return from_text(record.program)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise BadInput(f"'{text}' is no program number; write RUN#ID with a whole number")
    return int(text)


def _from_file(path: Path) -> Program:
    try:
        if path.stat().st_size > MAX_CHARACTERS:
            raise BadInput(f"'{path}' is larger than {MAX_CHARACTERS} bytes; it is no program")
        program = from_text(path.read_text())
        analyse(program)
    except ProgramError as error:
        raise BadInput(f"'{path}': {error}") from None
    except OSError as error:
        raise BadInput(f"'{path}' cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadInput(f"'{path}' is not text; a program is a 'def train(...)'") from None
    return program
