"""What people and scripts rely on: exit codes, error sentences, JSON fields, imports."""

from __future__ import annotations

import ast
import json
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from evolve.cli import main, parser
from evolve.search.log import FILE, MORE_SEEDS, RunLog
from evolve.search.run_file import FORMAT
from evolve.summary import front

ROOT = Path(__file__).parent.parent
PACKAGES = ("primitives", "proxy_tasks", "discovered", "evolve")
SMALL_CONFIG = """
population = 20
tune_start = false
in_flight = 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    base = tmp_path_factory.mktemp("contracts")
    (base / "small.toml").write_text(SMALL_CONFIG)
    run = base / "run"
    options = ["--tasks", "quadratic", "--workers", "0", "--quiet", "--budget", "60evals"]
    assert main(["run", "--out", str(run), "--config", str(base / "small.toml"), *options]) == 0
    return run


def schema(name: str) -> dict:
    return json.loads((ROOT / "evolve" / "schemas" / f"{name}.json").read_text())


def printed(capsys: pytest.CaptureFixture, *arguments: str) -> object:
    assert main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


def test_inspect_json_follows_its_schema(folder: Path, capsys: pytest.CaptureFixture) -> None:
    summary = printed(capsys, "inspect", str(folder), "--json")
    jsonschema.validate(summary, schema("inspect"))
    assert isinstance(summary, dict)
    assert summary["evaluated"] == 60 == sum(summary["outcomes"].values())
    assert summary["state"] == "finished"
    with RunLog.open(folder) as log:
        everything = list(log.records())
    rows = [row for row in everything if row.mutation != MORE_SEEDS]
    assert len(rows) < len(everything)
    hits = sum(row.source is not None for row in rows)
    assert summary["generated"] == len(rows)
    assert summary["invalid"] == sum(row.rejected for row in rows)
    assert summary["cache_hit_rate"] == pytest.approx(hits / len(rows))
    last = everything[len(everything) * 9 // 10 :]
    dead = [1 - row.live / row.statements for row in last]
    assert summary["redundant_share"] == pytest.approx(sum(dead) / len(dead))
    assert summary["training_steps"] >= sum(row.steps or 0 for row in everything)
    assert summary["baseline"]["fitness"] == 0
    seeds = {row.number: row.seeds for row in rows}
    seeds |= {r.parent: r.seeds for r in everything if r.mutation == MORE_SEEDS and r.outcome}
    best: dict[tuple[int, int], tuple[int, float]] = {}
    for row in rows:
        finished = row.outcome == "finished" and row.fitness is not None  # on all its seeds
        if row.number and row.source is None and finished:
            key = (row.slots, row.live)
            best[key] = max(best.get(key, (0, 0.0)), (seeds[row.number], row.fitness))
    hall = summary["hall_of_fame"]
    assert {(e["slots"], e["statements"]): (e["seeds"], e["fitness"]) for e in hall} == best
    shown = front(hall)
    assert shown and {e["seeds"] for e in shown} == {max(most for most, _ in best.values())}


def test_inspect_id_json_follows_its_schema(folder: Path, capsys: pytest.CaptureFixture) -> None:
    entry = printed(capsys, "inspect", str(folder), "--id", "40", "--json")
    jsonschema.validate(entry, schema("program"))
    assert isinstance(entry, dict)
    assert entry["ancestry"][0]["id"] == 0
    assert entry["ancestry"][-1]["id"] == 40


def test_the_fittest_are_programs_of_their_own(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["inspect", str(folder), "--top", "1000"]) == 0
    with RunLog.open(folder) as log:
        rows = log.records("number > 0 AND source IS NULL AND outcome = 'finished'")
        expected = {r.number for r in rows if r.mutation != MORE_SEEDS and r.fitness is not None}
    lines = capsys.readouterr().out.partition("fittest in the search")[2].splitlines()[1:]
    shown = [
        int(line.split()[0]) for line in lines if line.split()[:1] and line.split()[0].isdigit()
    ]
    assert set(shown) == expected


def test_tasks_json_follows_its_schema(capsys: pytest.CaptureFixture) -> None:
    jsonschema.validate(printed(capsys, "tasks", "--json"), schema("tasks"))


def test_schemas_are_strict() -> None:
    """A schema that accepts anything would test nothing."""
    for path in (ROOT / "evolve" / "schemas").glob("*.json"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"surprise": 1}, json.loads(path.read_text()))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["tasks"], ["inspect", "RUN"], ["run", "--help"], ["FILE"]]
)
def test_light_commands_import_nothing_heavy(folder: Path, arguments: list[str]) -> None:
    file = folder.parent / "program.txt"
    file.write_text(GOOD)
    given = [{"RUN": str(folder), "FILE": str(file)}.get(a, a) for a in arguments]
    code = (
        "import sys\n"
        "from evolve.cli import main\n"
        "from evolve.programs import load_program\n"
        "file = sys.argv[1].endswith('.txt')\n"
        "try:\n    load_program(sys.argv[1]) if file else main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'jax', 'ray', 'sympy', 'sklearn'} & set(sys.modules)\n"
        "more = {'scipy', 'cma', 'evolve.search.driver'} if file else set()\n"
        "heavy |= more & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code, *given], check=True, capture_output=True, cwd=ROOT)


def _default_texts() -> list[tuple[str, str]]:
    (commands,) = (a for a in parser()._actions if hasattr(a, "choices") and a.choices)
    return [
        (f"{name} {action.option_strings[0]}", action.help or "")
        for name, sub in commands.choices.items()
        for action in sub._actions
        if action.option_strings and action.option_strings[0] != "-h"
    ]


@pytest.mark.parametrize(("flag", "text"), _default_texts())
def test_every_default_stands_in_the_help(flag: str, text: str) -> None:
    assert "(default: " in text


GOOD = "def train(w, g, lr):\n    update = g * lr\n    return update\n"
BAD_PROGRAMS = {
    "def train(w, g, lr:\n": "not Python syntax",
    GOOD.replace("g * lr", "sine(g)"): "unknown function 'sine'; did you mean 'sin'?",
    GOOD.replace("g * lr", "interp(g, w)"): "'interp' takes 3 arguments, not 2",
    GOOD.replace("g * lr", "m * lr"): "'m' is used before it is assigned",
    GOOD.replace("g * lr", "interp(g, w, g)"): "does not take (tree, tree, tree)",
    GOOD.replace("update = g", "u = g"): "'update' is never assigned",
    GOOD.replace("g * lr", "w * lr"): "does not depend on g",
    "import os\n" + GOOD: "expected one function",
    GOOD.replace("g * lr", "g.__class__"): "one function of the language",
    GOOD.replace("g * lr", "__import__('os')"): "unknown function '__import__'",
    GOOD.replace("g * lr", "(" * 150 + "g" + ")" * 150 + " * lr * lr"): "an argument must be",
    GOOD.replace("g * lr", "-" * 5000 + "g"): "line ",
}


@pytest.mark.parametrize("text", BAD_PROGRAMS, ids=BAD_PROGRAMS.values())
def test_bad_programs(tmp_path: Path, capsys: pytest.CaptureFixture, text: str) -> None:
    path, out = tmp_path / "program.txt", tmp_path / "run"
    path.write_text(text)
    options = ["--out", str(out), "--tasks", "quadratic", "--workers", "0", "--quiet"]
    assert main(["run", "--start", str(path), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("evolve: ") and len(error.splitlines()) == 1
    if BAD_PROGRAMS[text] != "line ":
        assert BAD_PROGRAMS[text] in error
    assert not out.exists()


BAD_COMMANDS = {
    "run --budget '10 parsecs'": "the budget '10 parsecs' is not understood; write a time",
    "run --budget 0m": "the budget '0m' is not understood",
    "run --budget 1.5evals": "is not a whole number of evals",
    "run --workers -1": "",
    "run --workers=-1": "--workers is '-1'; it must be auto, 0 or a whole number above 0",
    "run --seed=-3": "the setting 'seed' is -3; it must be 0 or more",
    "run --seed x": "invalid int value: 'x'",
    "run --tasks digits_mpl": "did you mean 'digits_mlp'?",
    "run --tasks no.such.module:thing": "no.such.module",
    "run --start adamwx": "did you mean 'adam",
    "run --start {run}#99999": "has no program 99999",
    "run --start {run}#x": "write RUN#ID with a whole number",
    "run --out {run}": "exists already; choose another --out, or 'evolve resume",
    "run --config {base}/none.toml": "cannot be read (No such file or directory)",
    "run --config {base}/bad.toml": "is not TOML",
    "run --config {base}/unknown.toml": "unknown setting 'poplation'; did you mean 'population'?",
    "run --config {base}/type.toml": "'population' is 'many'; it must be a whole number",
    "resume {base}": "is no run folder (it has no run.sqlite)",
    "resume {run} --config {base}/other.toml": "population: 20 -> 30",
    "resume {run} --budget soon": "the budget 'soon' is not understood",
    "inspect {base}/nothing": "is no run folder",
    "inspect {run} --id 99999": "there is no program 99999; this run has 0 to",
    "inspect {run} --top 0": "--top is 0; it must be 1 or more",
    "inspect {base}/damaged": "is damaged",
    "inspect {base}/cut": "",
    "inspect {base}/newer": f"newer than {FORMAT}; update evolve",
    "inspect {base}/foreign": "is not a run's log",
    "resume {base}/damaged": "is damaged",
    "funnel {run} --rung x5": "--rung is 'x5'; it must be one of x10, x100",
    "funnel {base}": "is no run folder (it has no run.sqlite)",
    "frobnicate": "invalid choice: 'frobnicate'",
}


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    """A folder with all that is wrong."""
    base = folder.parent
    (base / "bad.toml").write_text("population = = 3")
    (base / "unknown.toml").write_text("poplation = 3")
    (base / "type.toml").write_text("population = 'many'")
    (base / "other.toml").write_text("population = 30")
    whole = (folder / FILE).read_bytes()
    for name, content in (
        ("damaged", b"garbage " * 1000),
        ("cut", whole[: len(whole) // 2]),
        ("newer", whole),
    ):
        (base / name).mkdir()
        (base / name / FILE).write_bytes(content)
    for name, statement in (
        ("newer", "PRAGMA user_version = 99"),
        ("foreign", "CREATE TABLE meta (x)"),
    ):
        (base / name).mkdir(exist_ok=True)
        connection = sqlite3.connect(base / name / FILE)
        connection.execute(statement)
        connection.commit()
        connection.close()
    return base


@pytest.mark.parametrize("command", BAD_COMMANDS)
def test_bad_input(folder: Path, base: Path, command: str, capsys: pytest.CaptureFixture) -> None:
    before = (folder / FILE).read_bytes()
    words = [
        w.replace("{run}", str(folder)).replace("{base}", str(base)) for w in shlex.split(command)
    ]
    if words[0] == "run":
        given = {word.partition("=")[0] for word in words}
        words += [] if "--out" in given else ["--out", str(base / "never")]
        words += [] if "--workers" in given else ["--workers", "0"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("evolve: ") and len(error.splitlines()) == 1
    assert BAD_COMMANDS[command] in error
    assert (folder / FILE).read_bytes() == before
    assert not (base / "never").exists()


ORDER = {"primitives": 0, "discovered": 1, "proxy_tasks": 1, "evolve": 2}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_and_nothing_is_executed(path: Path) -> None:
    home = path.relative_to(ROOT).parts[0]
    forbidden = {"pickle", "shelve", "marshal", "dill", "cloudpickle"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        for name in names:
            root = name.split(".")[0]
            # Objects of the caller's own process travel to the workers so, and nothing else.
            assert root not in forbidden or (home == "proxy_tasks" and path.stem == "given")
            if root in ORDER and root != home:
                assert ORDER[root] < ORDER[home], f"{path} imports {name}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile", "__import__")


def test_the_search_does_not_know_the_zoo() -> None:
    for path in (ROOT / "evolve" / "search").rglob("*.py"):
        assert "zoo" not in path.read_text(), path


def test_a_bad_task_leaves_no_run_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "bad_task.py").write_text("raise RuntimeError('broken on purpose')\n")
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--tasks", "bad_task:mine", "--workers", "0", "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("evolve: ") and len(error.splitlines()) == 1
    assert "'bad_task:mine'" in error and "broken on purpose" in error
    assert not (tmp_path / "run").exists()
