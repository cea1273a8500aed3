"""The library: what `import evolve` offers, held against the commands and the reference."""

from __future__ import annotations

import inspect
import io
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import pytest
from conftest import Cli
from processes import environment

import evolve
from evolve.errors import quoted
from evolve.export import replay
from evolve.export.source import camel
from evolve.library.exported import exported
from evolve.library.tables import SHOWN, Table
from evolve.library.tasks import resuming
from evolve.library.trials import config_of
from evolve.library.waiting import Watched
from evolve.search.log import RunLog
from evolve.session import configured, notes
from evolve.workers import ray
from primitives.text import to_text
from primitives.zoo import NAMES, zoo

SETTINGS = {"population": 12, "replicates": [1, 2], "closing_share": 0.0, "tune_start": False}


def public() -> list[tuple[str, Any]]:
    """Everything that a user may call or read, by name."""
    found = [(name, getattr(evolve, name)) for name in evolve.__all__]
    for name, thing in list(found):
        if isinstance(thing, type) and thing.__module__.startswith("evolve.library"):
            members = inspect.getmembers_static(thing, lambda m: not isinstance(m, type))
            own = [(f"{name}.{n}", m) for n, m in members if n in vars(thing) and n[0] != "_"]
            found += [(n, m) for n, m in own if not n.startswith("Simplified.")]
    return found


def function_of(thing: Any) -> Callable[..., Any] | None:
    if isinstance(thing, property):
        return thing.fget
    return getattr(thing, "func", thing) if callable(thing) or hasattr(thing, "func") else None


@pytest.mark.parametrize(("name", "thing"), public(), ids=[name for name, _ in public()])
def test_all_that_is_public_is_documented_and_typed(name: str, thing: Any) -> None:
    assert inspect.getdoc(thing), f"{name} has no docstring"
    function = function_of(thing)
    if function is None or isinstance(thing, type):
        return
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    assert all(p.annotation is not inspect.Parameter.empty for p in parameters)
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty
    documented = inspect.getdoc(thing) or ""
    for parameter in parameters if "Arguments:" in documented or len(parameters) > 2 else ():
        assert f"{parameter.name}:" in documented, f"{name} says nothing of {parameter.name}"
    if "." not in name:
        assert "Example:" in documented, f"{name} has no example"


def test_importing_loads_no_framework() -> None:
    heavy = ("jax", "ray", "torch", "scipy", "sympy", "keras", "optax", "matplotlib", "rich")
    code = f"import sys, evolve; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- an optimizer ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_is_loaded_says_what_it_is(name: str, tmp_path: Path) -> None:
    found = evolve.load(name)
    assert found.program == zoo(name) and found.name == name
    assert len(found.slots) <= len(zoo(name).slots) and name in repr(found)
    assert str(found) == found.text and f"```python\n{found.text}" in found._repr_markdown_()
    path = tmp_path / "mine.txt"
    path.write_text(found.text)
    same = [evolve.load(found.text), evolve.load(path), evolve.load(found), evolve.load(str(path))]
    assert all(other.text == found.text for other in same)
    assert evolve.load(found.text) == evolve.load(path)


@pytest.mark.parametrize("text", ["nothing_like_it", "def train(w, g, lr):\n    return w\n"])
def test_what_is_no_program_is_refused(text: str) -> None:
    with pytest.raises(evolve.BadInput):
        evolve.load(text)


def test_the_source_is_what_the_command_writes(cli: Cli) -> None:
    for target in ("torch", "optax", "keras", "numpy", "latex", "text"):
        code, out, _ = cli("export", "lion", "--to", target)
        assert (code, out) == (0, evolve.load("lion").source(target))
    with pytest.raises(evolve.BadInput, match="is no target"):
        evolve.load("lion").source("tensorflow")


@pytest.mark.parametrize("name", ["lion", "adamw", "sgd"])
def test_what_is_made_steps_as_the_program_does(name: str) -> None:
    """In PyTorch and Optax, as the export that is replayed against the reference does."""
    import optax
    import torch

    weights, gradients = replay.recorded()
    found = evolve.load(name)
    params = [torch.nn.Parameter(torch.tensor(w)) for w in weights]
    optimizer = found.to_torch(params, lr=0.01)
    assert isinstance(optimizer, torch.optim.Optimizer)
    made = found.to_optax(learning_rate=0.01)
    here, state = list(weights), made.init(list(weights))
    module = replay.load(exported("numpy", found.program, name)[0])
    there, slots = list(weights), module.init(list(weights))
    for gradient in gradients[:5]:
        for parameter, g in zip(params, gradient, strict=True):
            parameter.grad = torch.tensor(g)
        optimizer.step()
        updates, state = made.update(gradient, state, here)
        here = optax.apply_updates(here, updates)
        steps, slots = module.update(there, gradient, slots, 0.01)
        there = [w - u for w, u in zip(there, steps, strict=True)]
    for mine, own, theirs in zip(params, here, there, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), theirs, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.asarray(own), theirs, rtol=1e-5, atol=1e-6)


def test_a_keras_optimizer_is_made() -> None:
    keras = pytest.importorskip("keras")
    made = evolve.load("lion").to_keras(learning_rate=0.25)
    assert isinstance(made, keras.optimizers.Optimizer)
    assert type(made).__name__ == camel("lion") and float(made.learning_rate) == 0.25


def test_a_program_is_simplified_by_proof_alone() -> None:
    text = to_text(zoo("lion")).replace("    update = sign", "    w2 = w * 2.0\n    update = sign")
    found = evolve.load(text).simplify(proven=True)
    assert found.optimizer.statements <= zoo("lion").statements.__len__()
    assert found.steps and found.kept == []
    assert found.optimizer.identity.family == "lion"


# -- tables ------------------------------------------------------------------------------


def test_a_table_is_a_list_that_shows_itself() -> None:
    rows = [{"name": f"<{i}>", "value": i / 3, "none": None} for i in range(SHOWN + 5)]
    table = Table(rows)
    assert list(table) == rows and table.columns == ["name", "value", "none"]
    assert table["value"][3] == 1.0 and table[2] == rows[2] and isinstance(table[1:3], Table)
    assert "and 5 more rows" in str(table) and "0.3333" in str(table)
    shown = table._repr_html_()
    assert "&lt;3&gt;" in shown and "<3>" not in shown and shown.count("<tr>") == SHOWN + 1
    assert str(Table()) == "" or Table().columns == []


def test_a_table_becomes_a_data_frame() -> None:
    pandas = pytest.importorskip("pandas")
    frame = Table([{"a": 1, "b": None}, {"a": 2, "b": 0.5}]).to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns) == ["a", "b"]


# -- runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> evolve.Run:
    """A run of the library."""
    out = tmp_path_factory.mktemp("library") / "a run"
    return evolve.run(
        "40evals", seed=3, tasks="quadratic", out=out, workers=0, config=SETTINGS, progress=False
    )


def test_the_library_and_the_command_make_the_same_run(
    small: evolve.Run, tmp_path: Path, cli: Cli
) -> None:
    config = tmp_path / "c.toml"
    lines = [f"{k} = {str(v).lower()}\n" for k, v in SETTINGS.items()]
    config.write_text("".join(lines))
    flags = ["--seed", "3", "--tasks", "quadratic", "--workers", "0", "--config", config]
    code, out, _ = cli("run", "--budget", "40evals", "--out", tmp_path / "b", *flags, "--quiet")
    assert code == 0
    with RunLog.open(small.folder) as one, RunLog.open(tmp_path / "b") as other:
        assert one.compared() == other.compared()
    quoted = str(small).replace(f'"{small.folder}"', str(tmp_path / "b"))
    assert [line for line in quoted.splitlines() if not line.startswith("In ")] == [
        line for line in out.strip().splitlines() if not line.startswith("In ")
    ]


def test_what_a_run_found_can_be_read(small: evolve.Run, cli: Cli) -> None:
    run = evolve.open(small.folder)
    assert len(run.history) == run.summary["generated"]
    assert run.history[0]["mutation"] == "start"
    fittest = max((row["fitness"] or -1.0, -row["id"]) for row in run.history)
    assert run.hall_of_fame and max(run.hall_of_fame["fitness"]) <= fittest[0]
    assert run.program(3).text and run.champion is not None
    code, out, _ = cli("export", small.folder, "--to", "text")
    assert (code, out) == (0, run.champion.source("text"))
    with pytest.raises(evolve.BadInput, match="no program 99999"):
        run.program(99999)
    with pytest.raises(evolve.BadInput):
        evolve.open(small.folder / "not there")


def test_a_run_is_found_whatever_it_is_called_and_wherever_one_stands(
    small: evolve.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small.champion is not None
    found = small.champion.text
    shutil.copytree(small.folder, tmp_path / "lion")
    monkeypatch.chdir(tmp_path)
    run = evolve.open("lion")
    champion = run.champion
    assert champion is not None and champion.text == found != evolve.load("lion").text
    assert "evolve export ./lion --to torch" in str(run)
    monkeypatch.chdir("/")
    assert run.champion is not None and run.champion.text == found
    assert config_of(champion.name) == config_of(str(small.folder))


def test_in_a_thread_ray_leaves_signals_alone() -> None:
    with ThreadPoolExecutor(1) as threads:

        def inside() -> bool:
            with ray._signals_at_the_end():
                return True

        assert threads.submit(inside).result()


def test_a_run_goes_on_for_so_much_more_from_now(small: evolve.Run, tmp_path: Path) -> None:
    before = small.summary["evaluated"]
    small.resume("7evals", workers=0, progress=False)
    assert small.summary["evaluated"] == before + 7
    with pytest.raises(evolve.BadInput, match="do not agree"):
        small.resume("7evals", config={"population": 99}, workers=0, progress=False)


NOTEBOOK = """
    import sys
    import jax.numpy as jnp, numpy as np
    import evolve
    from proxy_tasks.task import Task, split

    class Line(Task):
        def splits(self):
            x = np.linspace(-1, 1, 120, dtype=np.float32)[:, None]
            return split(x, 3 * x)
        def init(self, key):
            return {"slope": jnp.zeros((1, 1))}
        def loss(self, weights, batch):
            x, y = batch
            return jnp.mean((x @ weights["slope"] - y) ** 2)

    mine = Line(name="line", width=4, batch=8, steps=60)
    run = evolve.run("12evals", tasks=[mine], out=sys.argv[1], workers=int(sys.argv[2]),
                     objective="loss", config=%r, progress=False)
    assert run.summary["evaluated"] == 12
"""


def test_what_goes_on_with_a_run_is_said_as_it_works() -> None:
    assert resuming("runs/1", ["quadratic"], "30m") == "evolve resume runs/1 --budget 30m"
    assert resuming("runs/1", ["quadratic", "given:mine"]) == "evolve.open('runs/1').resume()"


def test_a_notebook_shows_the_sentence_of_an_error_alone() -> None:
    with pytest.raises(evolve.BadInput) as error:
        evolve.run(10)  # type: ignore[arg-type]
    (line,) = error.value._render_traceback_()
    assert line.startswith("BadInput: the budget '10' is not understood; write a time like 90s")


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_task_of_a_notebook_needs_no_name(tmp_path: Path, workers: int) -> None:
    """It is an object of `__main__`, which workers cannot import."""
    script = tmp_path / "notebook.py"
    script.write_text(textwrap.dedent(NOTEBOOK % SETTINGS))
    out = tmp_path / "run"
    subprocess.run(
        [sys.executable, str(script), str(out), str(workers)],
        check=True,
        cwd=tmp_path,
        env=environment(),
    )
    with pytest.raises(evolve.BadInput, match="give it again"):
        evolve.open(out).resume("1evals", workers=0, progress=False)


# -- around it -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["runs/1", "a b", 'a "b" $c `d` \\ e', "it's", "#1", "ü*?"])
def test_a_path_can_be_pasted_into_a_shell(path: str) -> None:
    command = f"printf %s {quoted(path)}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == path and (quoted(path) == path or quoted(path)[0] == '"')


def test_a_reader_that_goes_is_no_failure(small: evolve.Run) -> None:
    """`evolve inspect RUN | head -1`."""
    command = f"{sys.executable} -m evolve.cli inspect {quoted(small.folder)} | head -1; "
    done = subprocess.run(
        ["bash", "-c", command + "exit ${PIPESTATUS[0]}"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_is_looked_for_where_it_began(tmp_path: Path, cli: Cli) -> None:
    from fakes import config
    from test_closing import create

    create(tmp_path / "run", config(tasks=("no_such_module:task",)))
    with RunLog.open(tmp_path / "run", write=True) as log, log.transaction():
        log.set_meta("folder", "/where it began")
        log.set_meta("budget", "5evals")
    code, _, err = cli("resume", tmp_path / "run", "--workers", "0", "--quiet")
    assert code == 2 and 'the run began in "/where it began"' in err


@pytest.mark.parametrize(("widths", "told"), [([16, 16, 16], 1), ([24, 18, 16], 0), ([], 0)])
def test_a_model_that_cannot_grow_is_told(widths: list[int], told: int) -> None:
    pool = SimpleNamespace(tasks={"mine": {"widths": widths}})
    of = configured({"objective": "equal-memory"})
    assert len(list(notes(pool, of))) == told  # type: ignore[arg-type]
    assert not list(notes(pool, configured({"objective": "loss"})))  # type: ignore[arg-type]


def test_trainings_outside_of_a_search_are_counted() -> None:
    class Answering:
        tasks: ClassVar[dict[str, int]] = {"a": 1}

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def next(self, seconds: float) -> int:
            return 1

    file, times = io.StringIO(), iter([0.0, 6.0, 12.0, 13.0, 24.0])
    clock = patch("evolve.library.waiting.time.monotonic", lambda: next(times))
    with clock, Watched(Answering(), 8, file) as pool:  # type: ignore[arg-type]
        assert pool.tasks == {"a": 1}
        assert [pool.next(1.0) for _ in range(4)] == [1] * 4
    lines = file.getvalue().splitlines()
    assert [line.strip() for line in lines] == [
        "2 of about 8 trainings in 12s, about 36s left",
        "4 of about 8 trainings in 24s, about 24s left",
    ]
