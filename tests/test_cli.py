"""The command line at its edges; `test_contracts` has the plain cases."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Cli
from fakes import ADAMW, FakePool, Killed, config

from evolve import cli as command_line
from evolve.budget import EVALUATIONS, Budget
from evolve.cli import parser
from evolve.command import run
from evolve.errors import BadInput
from evolve.judge import ending
from evolve.library import options
from evolve.library.trials import config_of
from evolve.programs import load_program
from evolve.provenance import provenance
from evolve.search.config import Config
from evolve.search.driver import Driver
from evolve.search.log import RunLog
from evolve.search.mutation import child_rng, mutate
from evolve.session import DEFAULT_START, configured, with_program
from evolve.summary import summarize
from primitives.abstract import analyse
from primitives.text import from_text, to_text
from primitives.zoo import NAMES, zoo

SCHEMA = Path(command_line.__file__).parent / "schemas" / "inspect.json"
HERE = Path(__file__).parent


def faked(folder: Path, evaluations: int, patience: int | None = None, **changes: Any) -> Path:
    """A run folder made without training."""
    settings = config(**changes)
    facts = {"config": settings.to_json(), "provenance": provenance(), "budget": "50evals"}
    with RunLog.create(folder, facts) as log:
        if evaluations:
            driver = Driver(log, FakePool(settings, patience=patience))  # type: ignore[arg-type]
            driver.add_budget(Budget(EVALUATIONS, evaluations))
            with suppress(Killed):
                driver.search()
                ending.note_end(log, driver.state.proposed)
    return folder


def summary(cli: Cli, folder: Path) -> dict[str, Any]:
    code, out, _ = cli("inspect", folder, "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    return found


# inspect --------------------------------------------------------------------------------


def test_inspect_a_run_in_which_nothing_was_trained(cli: Cli, tmp_path: Path) -> None:
    folder = faked(tmp_path / "run", 0)
    found = summary(cli, folder)
    assert (found["generated"], found["evaluated"], found["state"]) == (0, 0, "unfinished")
    assert [found[k] for k in ("baseline", "champion", "heldout", "cache_hit_rate")] == [None] * 4
    code, out, err = cli("inspect", folder)
    assert (code, err) == (0, "")
    assert "nothing has been trained yet" in out and "None" not in out
    code, _, err = cli("inspect", folder, "--id", 0)
    assert (code, err) == (2, "evolve: there is no program 0; this run has none yet\n")
    code, _, err = cli("run", "--start", folder)
    assert code == 2
    assert err == f"evolve: the run '{folder}' has no champion yet; see 'evolve inspect {folder}'\n"


def test_inspect_a_run_whose_start_is_pending(cli: Cli, tmp_path: Path) -> None:
    folder = faked(tmp_path / "run", 5, patience=0)
    found = summary(cli, folder)
    assert (found["generated"], found["evaluated"], found["baseline"]) == (1, 0, None)
    code, out, _ = cli("inspect", folder, "--id", 0)
    assert code == 0 and out.startswith("#0: pending, fitness none")


def test_inspect_a_run_that_found_nothing_yet(cli: Cli, tmp_path: Path) -> None:
    found = summary(cli, faked(tmp_path / "run", 1))
    assert found["champion"]["id"] == found["baseline"]["id"]
    assert found["champion"]["fitness"] == found["baseline"]["fitness"] == 0.0
    assert found["hall_of_fame"] == []
    _, out, _ = cli("inspect", tmp_path / "run")
    assert "champion   none: no program was found that is better than the tuned start" in out


def test_inspect_a_run_that_found_something(cli: Cli, tmp_path: Path) -> None:
    found = summary(cli, faked(tmp_path / "run", 60))
    assert found["baseline"]["id"] == 0
    assert found["champion"]["id"] != 0 and found["champion"]["fitness"] > 0
    code, out, _ = cli("inspect", tmp_path / "run", "--top", 3)
    assert code == 0 and "the 3 fittest in the search" in out


def test_inspect_follows_a_program_back_to_the_start(cli: Cli, tmp_path: Path) -> None:
    folder = faked(tmp_path / "run", 60)
    with RunLog.open(folder) as log:
        hit = next(log.records("source IS NOT NULL"))
    _, out, _ = cli("inspect", folder, "--id", hit.number)
    assert f"result taken from #{hit.source}" in out
    assert "ancestry:\n  #0 start\n" in out
    _, out, _ = cli("inspect", folder, "--id", hit.number, "--json")
    assert json.loads(out)["source"] == hit.source


@pytest.mark.promise(7)
def test_a_full_disk_under_the_output_is_told(tmp_path: Path) -> None:
    folder = faked(tmp_path / "run", 60)
    command = [sys.executable, "-m", "evolve.cli", "inspect", folder]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    message = "evolve: the output cannot be written (No space left on device)\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_a_reader_that_has_gone_is_no_failure(tmp_path: Path) -> None:
    folder = faked(tmp_path / "run", 60)
    command = f"{sys.executable} -m evolve.cli inspect {folder} --json | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# PROGRAM arguments ----------------------------------------------------------------------


def test_a_program_is_a_name_a_number_of_a_run_a_run_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = faked(tmp_path / "run", 60, seed=3)
    with RunLog.open(folder) as log:
        champion = summarize(log)["champion"]["id"]
        texts = {r.number: r.program for r in log.records()}
    assert to_text(load_program("adamw")) == ADAMW
    assert to_text(load_program(str(folder))) == texts[champion]
    assert to_text(load_program(f"{folder}#7")) == texts[7]
    monkeypatch.chdir(tmp_path)
    mine = "def train(w, g, lr):\n    update = g * lr\n    return update\n"
    Path("lion").write_text(mine)
    assert load_program("lion") != from_text(mine)
    assert load_program("./lion") == from_text(mine)
    Path("a#1").write_text(mine)
    assert load_program("a#1") == from_text(mine)
    folder.rename("adamw")
    assert to_text(load_program("adamw")) == ADAMW
    assert config_of("adamw") == Config()
    assert config_of("./adamw").seed == config_of("adamw#7").seed == 3


# run and resume -------------------------------------------------------------------------


def test_a_program_file_is_read_without_the_search() -> None:
    """Nor SciPy, nor Ray, nor JAX: whoever only wants to export waits for none of them."""
    source = (
        "import sys; from evolve.programs import load_program\n"
        "load_program('discovered/programs/seed-0.txt')\n"
        "heavy = {'scipy', 'ray', 'jax', 'sympy', 'evolve.search.driver', 'evolve.workers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=root)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_in_flight_is_a_setting_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = parser().parse_args(["run", "--in-flight", "64"])
    config = configured(run._settings(arguments))
    assert config.in_flight == 64
    assert options.worker_count("64", config.tasks, 64) == 64
    assert options.worker_count("65", config.tasks) == 65 and capsys.readouterr().err == ""
    assert options.worker_count("65", config.tasks, 64) == 65
    assert "only 64 can be busy; a new run may have more with --in-flight 390" in (
        capsys.readouterr().err
    )
    for bad in ("0", "many"):
        arguments = parser().parse_args(["run", "--in-flight", bad])
        with pytest.raises(BadInput, match=f"^--in-flight is '{bad}'; it must be a whole number"):
            run._settings(arguments)


def test_the_defaults_in_the_help_are_the_defaults() -> None:
    (commands,) = (a for a in parser()._actions if hasattr(a, "choices") and a.choices)
    texts = {
        (name, action.dest): (action.help, action.default)
        for name, sub in commands.choices.items()
        for action in sub._actions
    }
    for (_, dest), (text, default) in texts.items():
        if default not in (None, False, "==SUPPRESS==") and dest != "help":
            assert f"(default: {default})" in text
    known = {"seed": Config.seed, "tasks": ",".join(Config.tasks), "start": DEFAULT_START}
    for dest, default in known.items():
        assert f"(default: {default})" in texts["run", dest][0]


@pytest.mark.parametrize("name", NAMES)
def test_a_start_program_has_slots_for_its_children(name: str) -> None:
    start = from_text(with_program({"start": name})["start"])
    assert start.statements == zoo(name).statements
    assert len(start.slots) == max(2, len(zoo(name).slots))
    assert len(analyse(start).slots) == len(analyse(zoo(name)).slots)
    assert analyse(start).functional_hash == analyse(zoo(name)).functional_hash


def test_idle_slots_have_names_that_are_free(tmp_path: Path) -> None:
    path = tmp_path / "start.txt"
    path.write_text(
        "def train(w, g, v1, lr):\n    m = interp(g, v1, 0.9)\n    v = m * lr\n"
        "    v1 = m * 0.5\n    update = v + w\n    return update, v1\n"
    )
    assert from_text(with_program({"start": str(path)})["start"]).slots == ("v1", "m1")


def test_a_descendant_of_sgd_can_have_memory() -> None:
    start = from_text(with_program({"start": "sgd"})["start"])
    assert not analyse(start).slots
    with_memory = 0
    for number in range(300):
        program, rng = start, child_rng(0, number)
        for _ in range(4):
            program = mutate(program, rng, on_edges=Config.on_edges).program
        with_memory += bool(analyse(program).slots)
    assert with_memory > 0


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"]])
def test_the_first_screen(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evolve.cli", *arguments], capture_output=True, text=True
    )
    assert done.returncode == (0 if arguments else 2)
    assert "Traceback" not in done.stderr
    assert ("usage: evolve" in done.stdout) == bool(arguments)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("start = 5", "the setting 'start' is 5; it must be a text like ''"),
        ("start = 'nowhere'", "'nowhere' is no known optimizer, no RUN#ID, no run folder and no"),
        ("tasks = 'quadratic'", "the setting 'tasks' is 'quadratic'; it must be a list like"),
        ("tasks = [1]", "the setting 'tasks' is 1; it must be a text like 'text_transformer'"),
        ("tasks = []", "the setting 'tasks' is (); it must be at least one task"),
        ("tasks = ['quadratic', 'quadratic']", "it must be different tasks"),
        ("time_limit = inf", "the setting 'time_limit' is inf; it must be a number like 60.0"),
        ("time_limit = nan", "the setting 'time_limit' is nan; it must be a number like 60.0"),
        ("time_limit = 0", "the setting 'time_limit' is 0.0; it must be more than 0 seconds"),
        ("hurdle_slack = [0.1]", "the setting 'hurdle_slack' is (0.1,); it must be two numbers"),
        ("hurdle_slack = [0.1, nan]", "the setting 'hurdle_slack' is nan; it must be a number"),
        ("population = 1.5", "the setting 'population' is 1.5; it must be a whole number like 2"),
        ("population = true", "the setting 'population' is True; it must be a whole number"),
        ("population = 0", "the setting 'population' is 0; it must be 1 or more"),
        ("method = 'luck'", "the setting 'method' is 'luck'; it must be one of evolution, random"),
        ("population = 0", "the setting 'population' is 0; it must be 1 or more"),
        ("[population]\nsize = 3", "the setting 'population' is {'size': 3}; it must be a whole"),
        ("budget = '30m'", "unknown setting 'budget'"),
        (f"seed = {'9' * 5000}", "is not TOML"),
        (f"seed = {'[' * 5000}", "is nested too deeply"),
    ],
)
def test_a_config_of_the_wrong_type_or_range(
    cli: Cli, tmp_path: Path, toml: str, message: str
) -> None:
    (tmp_path / "config.toml").write_text(toml)
    code, _, err = cli("run", "--config", tmp_path / "config.toml", "--out", tmp_path / "run")
    assert (code == 2 and err.startswith(f"evolve: {message}")) or message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
    if not toml.startswith("["):
        resumed = faked(tmp_path / "old", 5)
        assert cli("resume", resumed, "--config", tmp_path / "config.toml")[0] == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--budget", "9" * 400 + "evals"], "is not understood; write a time like 90s"),
        (["--budget", ""], "the budget '' is not understood"),
        (["--tasks", ","], "the setting 'tasks' is (); it must be at least one task"),
        (["--workers", "two"], "--workers is 'two'; it must be auto, 0 or a whole number above 0"),
        (["--start", "/dev/null"], "'/dev/null' is no known optimizer"),
        (["--tasks", "a b:c"], "the task 'a b:c' is not of the form package.module:object"),
    ],
)
def test_flags_that_make_no_sense(cli: Cli, tmp_path: Path, flags: list[str], message: str) -> None:
    out = tmp_path / "run"
    options = ["--workers", 0, "--quiet", "--out", out]
    code, _, err = cli("run", *options, *flags)
    assert code == 2 and message in err
    assert len(err.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises_in_init", "raised RuntimeError: no such table"),
        ("nan_at_once", "has the loss nan before training; its loss must be a finite number"),
        ("no_parameters", "this one has no parameters"),
        ("missing", "has no object 'missing' in it"),
        ("unlearnable", "the start program does not learn (finished; "),
    ],
)
def test_a_task_that_cannot_be_used(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    """The run folder that was begun goes again; nothing is lost, nothing in the way."""
    shutil.copy(HERE / "tasks_that_fail.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    task = f"tasks_that_fail:{name}"
    code, _, err = cli("run", "--tasks", task, "--workers", 0, "--out", "run", "--quiet")
    assert code == 2
    assert err.startswith("evolve: ") and message in err and len(err.splitlines()) == 1
    assert not Path("run").exists()


def test_resume_agrees_with_the_same_config_only(cli: Cli, tmp_path: Path) -> None:
    folder = faked(tmp_path / "run", 5)
    (tmp_path / "c.toml").write_text("population = 9\nseed = 4\nstart = 'adamw'\n")
    code, _, err = cli("resume", folder, "--config", tmp_path / "c.toml")
    assert code == 2
    assert err == (
        "evolve: the settings do not agree with the run's configuration "
        "(seed: 0 -> 4; population: 8 -> 9); leave them out, or start a new run\n"
    )
    (tmp_path / "c.toml").write_text("population = 8\nstart = 'adamw'\n")
    code, _, err = cli("resume", folder, "--config", tmp_path / "c.toml", "--workers", "x")
    assert (code, "--workers is 'x'" in err) == (2, True)  # the configuration was accepted


def test_a_run_that_ended_before_its_search_keeps_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    folder = faked(tmp_path / "run", 0)
    spent: list[float] = []

    def fake(setup: object, workers: int, address: str | None) -> Any:
        class Opened(FakePool):
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *error: object) -> None:
                pass

        return Opened(config())

    monkeypatch.setattr("evolve.workers.open_pool", fake)
    for more in ([], ["--budget", "7evals"]):
        assert cli("resume", folder, "--workers", 1, "--quiet", *more)[0] == 0
        with RunLog.open(folder) as log:
            spent.append(log.select("SELECT count(*) FROM timings")[0][0])
    assert spent == [50, 57]  # `more` is from now, and nothing was left
    assert cli("resume", faked(tmp_path / "2", 0), "--budget", "7evals", "--quiet")[0] == 0
    with RunLog.open(tmp_path / "2") as log:
        assert log.select("SELECT count(*) FROM timings") == [(7,)]


def test_an_interrupt_before_a_run_begins(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> Callable[..., None]:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "_command", interrupted)
    assert cli("tasks") == (130, "", "")


def test_a_shell_can_complete_the_line() -> None:
    line = "evolve compare adamw --sw"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "IFS": "\n"}
    code = (
        "import os, sys; fd = os.open(os.devnull, os.O_WRONLY); os.dup2(1, 8); "
        "from evolve import cli; sys.argv[0] = 'evolve'; cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **asked}
    )
    assert done.stdout.strip() == "--sweep", done.stderr
