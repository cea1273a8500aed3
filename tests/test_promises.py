"""What README promises, tried to be broken: what no other test attacks yet.

`make soak` runs the long form of these and of the others that carry the mark `promise`.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Tried
from fakes import config
from processes import descendants, environment, evolve, finish, gone, start
from strategies import LONG, examples, wide_program
from test_driver import create, search
from test_extended import PROGRAMS as EXTENDED_PROGRAMS
from test_run import BEGUN, EVALUATIONS, begin, compared, reached, unfinished
from test_run import folder as folder
from test_run import reference as reference

from evolve.budget import PROGRAMS, Budget
from evolve.errors import EvolveError
from evolve.export import catalog, replay
from evolve.export.lowering import lower
from evolve.search.log import FILE, RunLog
from evolve.summary import summarize
from primitives import reference as interpreter
from primitives.program import Program, ProgramError
from primitives.text import from_text, to_text
from primitives.zoo import NAMES, zoo

HERE = Path(__file__).parent


@pytest.mark.promise(1)
def test_a_kill_before_any_statement_of_sql_changes_nothing(tried: Tried) -> None:
    command = [sys.executable, "killed.py", str(examples(8, 1000))]
    done = subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["wrong"] == [], done.stderr
    assert found["killed"] >= examples(8, 1000) and found["statements"] > 1000
    tried("kills between statements", found["killed"])


@pytest.mark.promise(1)
@pytest.mark.parametrize("workers", [0, 2] if LONG else [0])
def test_a_kill_at_any_moment_changes_nothing(
    folder: Path, reference: Path, workers: int, tried: Tried
) -> None:
    """By the clock: also while a worker trains, or starts."""
    name, kills = f"kills {workers}", examples(2, 20)
    chance = random.Random(workers)
    process = begin(folder, name, "--budget", f"{EVALUATIONS}evals", "--workers", workers)
    for _ in range(kills):
        try:
            process.wait(chance.uniform(0.5, 4.0 if workers == 0 else 8.0))
        except subprocess.TimeoutExpired:
            family = descendants(process.pid)
            process.kill()
            finish(process)
            assert gone(set(family) - set(descendants(os.getpid(), "gent")), 60)
        if (folder / name / FILE).exists() and budgeted(folder / name):
            process = start("resume", folder / name, "--workers", workers, "--quiet")
        else:
            shutil.rmtree(folder / name, ignore_errors=True)
            process = begin(folder, name, "--budget", f"{EVALUATIONS}evals", "--workers", workers)
    code, _, err = finish(process)
    assert (code, err) == (0, "")
    assert compared(folder / name) == compared(reference)
    tried("kills by the clock", kills)


def budgeted(run: Path) -> bool:
    try:
        return reached(run, lambda log: True)
    except EvolveError:
        return False


POISONED = """
tasks = ["tasks_that_fail:poisoned"]
start = "sgd"
seed = 3
population = 30
replicates = [1]
tune_start = false
in_flight = 8
closing_share = 0.0
"""


@pytest.mark.promise(2)
def test_programs_that_end_their_worker_cost_themselves_alone(tmp_path: Path, tried: Tried) -> None:
    (tmp_path / "run.toml").write_text(POISONED)
    count, logs = examples(20, 200), []
    for workers in [0, 2] if LONG else [0]:
        run = tmp_path / str(workers)
        given = ["--config", tmp_path / "run.toml", "--budget", f"{count}evals", "--quiet"]
        process = start("run", *given, "--workers", workers, "--out", run, cwd=HERE)
        code, _, err = finish(process, 3000)
        assert (code, err) == (0, "")
        logs.append(compared(run))
        with RunLog.open(run) as log:
            outcomes = summarize(log)["outcomes"]
        assert sum(outcomes.values()) == count
        assert outcomes["crashed"] > 0 and outcomes["finished"] > 0
        tried("programs", count)
        tried("that ended their worker", outcomes["crashed"])
    assert all(log == logs[0] for log in logs)


TWICE = """
import os, signal, sys, time
from pathlib import Path
from evolve.library.interruption import Interruption

with Interruption(Path("runs/1")).handled():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)  # it looks only now and then
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(60)
"""


@pytest.mark.promise(6)
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(second: int) -> None:
    command = [sys.executable, "-c", TWICE, str(int(second))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 128 + second
    assert done.stderr == "evolve: interrupted; go on with: evolve resume runs/1\n"


# The file of a run ----------------------------------------------------------------------


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
            return [facts, list(log.records()), log.events(), list(log.trainings())]
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
    places = range(len(data)) if LONG else sorted(chance.sample(range(len(data)), 1500))
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


# Input from strangers ---------------------------------------------------------------------

HOSTILE = """
import json, random, sys, tempfile
from pathlib import Path
import sqlite3, encodings.idna, rich.table  # what is loaded when first needed
from evolve.errors import EvolveError
from evolve.programs import load_program
from evolve.search.config import Config, read_config
from evolve.search.log import FILE, RunLog
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
seen, listening = set(), False

def note(name, arguments):
    if not listening:
        return
    if name in tells:
        seen.add((name, "" if name == "compile" else str(arguments[0])[:60]))
    if name == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.add(("write", str(arguments[0])[:60]))

def spoiled(text):
    pieces = ["__import__('os')", "{{}}", "\\0", "'", '"', "../../x", "!!python/object", "\\n",
              "eval(", "lambda:0", "[", "{", "$(touch x)", ";", "--", "\\ud800", "nan", "1e999"]
    for _ in range(chance.randint(1, 4)):
        place, piece = chance.randrange(len(text) + 1), chance.choice(pieces)
        text = text[:place] + piece + text[place + chance.randrange(8) :]
    return text

sys.addaudithook(note)
config = 'seed = 1\\nstart = "lion"\\ntasks = ["digits_mlp"]\\nhurdle_slack = [0.1, 0.2]\\n'
refused = 0
for number in range(count):
    kind = number % 3
    path = folder / "run" / FILE if kind == 0 else folder / "text"
    if kind == 0:
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


# Exports --------------------------------------------------------------------------------

#: XLA takes subnormal numbers for zero.
SUBNORMAL = [1e-40, -1e-45]
ODD = {
    "nan": [np.nan],
    "infinite": [np.inf, -np.inf],
    "huge": [3e38, -3e38],
    "tiny": [0.0, -0.0, 1e-20, -1e-30],
    "subnormal": SUBNORMAL,
}
EXPORTED = {name: zoo(name) for name in NAMES} | EXTENDED_PROGRAMS
EXPORTED |= {f"random {seed}": wide_program(seed, 8, seed % 3) for seed in range(12)}


@pytest.mark.promise(15)
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("target", replay.ADAPTERS)
def test_exports_meet_odd_numbers_as_the_program_does(
    target: str, kind: str, tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN where it has NaN, infinite where it is infinite, and the same number elsewhere.

    There are two exceptions. JAX takes subnormal numbers for zero. In PyTorch a moving average
    that has become infinite is NaN after the next step, as those of its own optimizers are.
    """
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    if kind == "subnormal" and target in ("optax", "keras"):
        return
    names = list(EXPORTED) if LONG or target in ("numpy", "torch") else list(EXPORTED)[::4]
    for name in names:
        for seed in range(examples(1, 10)):
            wrong = odd_steps(target, EXPORTED[name], ODD[kind], seed)
            assert not wrong, (name, seed, wrong)
            tried("exports stepped", 1)


def odd_steps(target: str, program: Program, odd: list[float], seed: int) -> str:
    """Where some steps of an export differ, the second of them on odd gradients; or nothing."""
    weights, gradients = replay.recorded(seed)
    chance = np.random.default_rng(seed)
    for leaf in gradients[1]:
        places = chance.random(leaf.shape) < 0.3
        leaf[places] = chance.choice(odd, leaf.shape)[places]
    module = replay.load(catalog.emit(target, program, "found", {}))
    step = replay.ADAPTERS[target](module, "found", weights)
    peak, slots = lower(program).peak.default, interpreter.zero_slots(program, weights)
    with np.errstate(all="ignore"):
        for number, gradient in enumerate(gradients[:4]):
            lost = [  # what a moving average may make NaN of
                leaf for leaves in slots.values() for leaf in leaves if np.isinf(leaf).any()
            ]
            update, slots = interpreter.run_step(program, weights, gradient, slots, 1.0)
            after = [np.asarray(w - u) for w, u in zip(weights, update, strict=True)]
            for got, wanted in zip(step(weights, gradient, peak), after, strict=True):
                if target == "torch" and lost:
                    got = np.where(np.isnan(got), wanted, got)
                same = np.isclose(got, wanted, rtol=2e-3, atol=2e-3, equal_nan=True)
                if not same.all():
                    return f"step {number}: {got[~same][0]} for {wanted[~same][0]}"
            weights = after
    return ""


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


# Long runs ------------------------------------------------------------------------------


def resident(pid: int) -> tuple[int, int] | None:
    """Memory of a process in KB, and its mapped regions; nothing of one that is ending."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        regions = Path(f"/proc/{pid}/maps").read_text().count("\n")
    except (FileNotFoundError, ProcessLookupError):
        return None
    size = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return (int(size[1]), regions) if size and regions else None


@pytest.mark.promise(11)
def test_the_memory_of_a_long_run_is_bounded(folder: Path, tried: Tried) -> None:
    """From a fifth of the programs on, of driver and worker."""
    count = examples(400, 5000)
    process = begin(folder, "long", "--budget", f"{count}evals", "--workers", 0, "--quiet")
    seen: list[tuple[int, dict[int, tuple[int, int]]]] = []
    while process.poll() is None:
        trained = trainings(folder / "long")
        if not seen or trained >= seen[-1][0] + count // 10:
            family = [process.pid, *descendants(process.pid)]
            sizes = {pid: resident(pid) for pid in family}
            seen.append((trained, {pid: size for pid, size in sizes.items() if size}))
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    code, _, err = finish(process)
    assert (code, err) == (0, "")
    whole = [(trained, each) for trained, each in seen if len(each) == 2]
    early = next(each for trained, each in whole if trained >= count // 5)
    trained, late = whole[-1]
    assert early.keys() == late.keys() and trained > count // 2
    for pid, (size, regions) in late.items():
        before, mapped = early[pid]
        assert size < 1.25 * before + 20_000, (before, size)
        assert regions < mapped + 200, (mapped, regions)
    tried("programs trained in one process", count)


def trainings(run: Path) -> int:
    if not reached(run, BEGUN):
        return 0
    with RunLog.open(run) as log:
        return int(summarize(log)["evaluated"])


@pytest.mark.promise(17)
def test_a_run_of_very_many_programs_can_be_read(
    tmp_path: Path, tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    count = examples(3000, 300_000)
    settings = config(population=200, in_flight=16)
    search(tmp_path / "run", settings, Budget(PROGRAMS, count))
    with RunLog.open(tmp_path / "run") as log:
        summary = summarize(log)
    assert summary["generated"] == count
    code, out, err = evolve("inspect", tmp_path / "run")
    assert (code, err) == (0, "") and f"{count:,} generated" in out
    code, _, err = evolve("report", tmp_path / "run", "-o", tmp_path / "report.html")
    assert (code, err) == (0, "")
    assert (tmp_path / "report.html").stat().st_size < 3_000_000
    tried("programs in one run", count)
    tried("MB of its file", (tmp_path / "run" / FILE).stat().st_size // 10**6)


# Places -----------------------------------------------------------------------------------


@pytest.mark.promise(13)
def test_a_stray_address_of_a_cluster_changes_nothing(folder: Path, reference: Path) -> None:
    env = environment(RAY_ADDRESS="127.0.0.1:1")
    budget = ["--budget", f"{EVALUATIONS}evals", "--workers", 1, "--quiet"]
    code, _, err = finish(begin(folder, "stray address", *budget, env=env))
    assert (code, err) == (0, "")
    assert compared(folder / "stray address") == compared(reference)


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


FIXTURES = HERE / "formats"


@pytest.mark.promise(14)
@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.iterdir()))
def test_runs_of_released_formats_open_and_go_on(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(FIXTURES / name, run)
    code, out, err = evolve("inspect", run)
    assert (code, err) == (0, "") and "champion" in out
    code, _, err = evolve("resume", run, "--budget", "5evals", "--workers", 0, "--quiet")
    assert (code, err) == (0, "")
