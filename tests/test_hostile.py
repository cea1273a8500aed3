"""Input from strangers: it runs nothing, writes nothing, and is read in proportion."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Tried
from processes import evolve
from strategies import examples
from test_damage import small as small

from evolve.search.log import FILE
from evolve.workers import SerialPool, Setup
from primitives.program import ProgramError
from primitives.text import from_text, to_text
from primitives.zoo import NAMES, zoo

HERE = Path(__file__).parent


HOSTILE = """
import json, os, random, sys, tempfile
from pathlib import Path
import sqlite3, encodings.idna, rich.table  # what is loaded when first needed
from evolve.errors import EvolveError
from evolve.programs import load_program
from evolve.search.config import Config, read_config
from evolve.search.log import _SEALED, FILE, RunLog
from evolve.search.run_file import checksum
from evolve.summary import summarize
from primitives.program import ProgramError

run, programs, count = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
data = (run / FILE).read_bytes()
chance = random.Random(0)
folder = Path(tempfile.mkdtemp())
(folder / "run").mkdir()
summarize(RunLog.open(run))
tells = ["exec", "pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.fork",
         "os.posix_spawn", "socket.connect", "shutil.rmtree", "os.remove", "os.rename",
         "os.mkdir", "os.chmod", "ctypes.dlopen", "import", "compile", "marshal.loads"]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
seen, listening = set(), False

def note(name, arguments):
    if not listening:
        return
    if name in tells:
        seen.add((name, "" if name == "compile" else str(arguments[0])[:60]))
    if name == "open":
        path, mode, flags = arguments
        asked = set(mode) & set("wax+") if isinstance(mode, str) else flags & WRITING
        if asked:
            seen.add(("write", str(path)[:60]))

def spoiled(text):
    pieces = ["__import__('os')", "{{}}", "\\0", "'", '"', "../../x", "!!python/object", "\\n",
              "eval(", "lambda:0", "[", "{", "$(touch x)", ";", "--", "\\ud800", "nan", "1e999"]
    for _ in range(chance.randint(1, 4)):
        place, piece = chance.randrange(len(text) + 1), chance.choice(pieces)
        text = text[:place] + piece + text[place + chance.randrange(8) :]
    return text

def crafted(path):  # its checksums are right, as somebody can make them who means it
    path.write_bytes(data)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.create_function("checksum", -1, checksum)
    table = chance.choice(["programs", "events", "meta"])
    column = {"programs": "program", "events": "data", "meta": "value"}[table]
    rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
    row, text = chance.choice(rows)
    spoilt = spoiled(text).encode("utf-8", "replace").decode()
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (spoilt, row))
    columns = ", ".join(_SEALED[table])
    connection.execute(f"UPDATE {table} SET checksum = checksum({columns})")
    connection.close()

sys.addaudithook(note)
config = 'seed = 1\\nstart = "lion"\\ntasks = ["digits_mlp"]\\nhurdle_slack = [0.1, 0.2]\\n'
refused = 0
for number in range(count):
    kind = number % 3
    path = folder / "run" / FILE if kind == 0 else folder / "text"
    if kind == 0 and number % 2:
        crafted(path)
    elif kind == 0:
        changed = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(changed))
            piece = spoiled("program").encode("utf-8", "replace")
            changed[place : place + len(piece)] = piece
        path.write_bytes(changed)
    else:
        text = spoiled(config if kind == 1 else chance.choice(programs))
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    listening = True
    try:
        if kind == 0:
            with RunLog.open(path.parent) as log:
                summarize(log)
                list(log.records())
        elif kind == 1:
            Config.from_json(read_config(path))
        else:
            load_program(str(path))
    except (EvolveError, ProgramError):
        refused += 1
    except Exception:
        if kind != 0 or not number % 2:  # what somebody crafted may end in a fault of ours
            raise
    listening = False
print(json.dumps({"refused": refused, "seen": sorted(seen)}))
"""


@pytest.mark.promise(9)
def test_hostile_files_run_nothing_and_write_nothing(small: Path, tried: Tried) -> None:
    count = examples(600, 60_000)
    programs = json.dumps([to_text(zoo(name)) for name in NAMES])
    command = [sys.executable, "-c", HOSTILE, str(small), programs, str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    # A program is parsed, and for foreign letters Python's parser loads unicodedata.
    harmless = [["compile", ""], ["import", "unicodedata"]]
    assert [action for action in found["seen"] if action not in harmless] == []
    assert found["refused"] > count // 3
    tried("hostile files", count)


@pytest.mark.promise(9)
def test_reading_a_run_follows_no_link_and_makes_no_file(small: Path, tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    shutil.copy(small / FILE, run)
    (run / "lock").symlink_to(elsewhere)
    code, _, err = evolve("inspect", run)
    assert (code, err) == (0, "")
    code, _, err = evolve("resume", run, "--workers", 0)
    assert code == 2 and "cannot be written" in err
    assert not elsewhere.exists()
    (run / "lock").unlink()
    assert evolve("inspect", run)[0] == 0
    assert [path.name for path in run.iterdir()] == [FILE]
    (run / "report.html").symlink_to(elsewhere)
    code, _, err = evolve("report", run)
    assert code == 2 and "is a link" in err
    assert not elsewhere.exists()
    (run / "workers.log").symlink_to(elsewhere)
    SerialPool(Setup({}, log=str(run / "workers.log")))._new_worker().kill()
    assert not elsewhere.exists()


@pytest.mark.promise(9)
def test_a_name_in_a_file_commands_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(r'"\u001b]0;mine\u0007" = 1')
    code, _, err = evolve("run", "--config", tmp_path / "config.toml", "--out", tmp_path / "run")
    assert code == 2 and r"unknown setting '\x1b]0;mine\x07'" in err


TASK_NAMES = [
    "os:system",
    "subprocess:Popen",
    "builtins:exec",
    "shutil:rmtree",
    "digits_mlp; touch x",
    "../../x:task",
    "a b:c",
    "$(touch x)",
    "/etc/passwd",
    "os.path:join",
    "json.decoder:JSONDecoder",
    ":",
    "a:",
    ":b",
    "x" * 10_000,
    "\n",
]


@pytest.mark.promise(9)
@pytest.mark.parametrize("name", TASK_NAMES, ids=range(len(TASK_NAMES)))
def test_a_task_name_names_a_task_or_is_refused(name: str, tmp_path: Path) -> None:
    """Its module is imported, as it must be; nothing in it is called that is no task."""
    given = ["--budget", "1evals", "--workers", 0, "--out", tmp_path / "run"]
    code, _, err = evolve("run", "--tasks", name, *given, cwd=tmp_path)
    assert code == 2 and err.startswith("evolve: ") and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.promise(16)
def test_reading_takes_steps_in_proportion_to_the_text() -> None:
    """Counted, not timed: calls of Python functions."""

    def calls(count: int) -> int:
        lines = "".join(f"    x{i} = sin(x{i - 1})\n" for i in range(1, count))
        head, tail = "def train(w, g, lr):\n    x0 = g + w\n", "    update = x1 * lr\n"
        text = f"{head}{lines}{tail}    return update\n"
        number = 0

        def note(frame: object, event: str, argument: object) -> None:
            nonlocal number
            number += event == "call"

        sys.setprofile(note)
        try:
            from_text(text)
        except ProgramError:
            pass
        finally:
            sys.setprofile(None)
        return number

    calls(10)
    assert calls(4000) < 4.5 * calls(1000)
