"""Tasks: parametrized over the catalog, so registering a task tests it."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from proxy_tasks import data, models
from proxy_tasks.builtin import PART
from proxy_tasks.catalog import CATALOG, resolve
from proxy_tasks.task import RUNGS, SCHEDULES, Splits, Task, TaskError, batches, check_splits

UNTRAINED = {
    "text_transformer": math.log(data.VOCABULARY),
    "digits_vit": math.log(10),
    "digits_mlp": math.log(10),
    "quadratic": 0.5 * (1 + 0.5**2),
}

each_task = pytest.mark.parametrize("task", CATALOG.values(), ids=CATALOG)


@cache
def initial(task: Task) -> Any:
    return task.init(jax.random.key(0))


@cache
def validation(task: Task) -> tuple[jax.Array, ...]:
    # A cached value must not come from under a trace, whichever test asks first.
    with jax.ensure_compile_time_eval():
        return tuple(map(jnp.asarray, task.splits().validation))


def count(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@each_task
def test_init_is_float32_and_follows_its_key(task: Task) -> None:
    again, other = task.init(jax.random.key(0)), task.init(jax.random.key(1))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(initial(task)))
    assert jax.tree.all(jax.tree.map(np.array_equal, initial(task), again))
    assert not jax.tree.all(jax.tree.map(np.array_equal, initial(task), other))


@each_task
@pytest.mark.parametrize("difference", [-1, 0, 3])
def test_weights_counts_the_weights_at_any_width(task: Task, difference: int) -> None:
    sized = replace(task, width=task.width + difference)
    shapes = jax.eval_shape(sized.init, jax.random.key(0))
    assert sized.weights() == count(shapes) == Task.weights(sized)


@each_task
@pytest.mark.parametrize("width", [2, 3])
def test_narrow_models_have_a_loss(task: Task, width: int) -> None:
    sized = replace(task, width=width)
    batch = tuple(array[:2] for array in sized.splits().train)
    loss = jax.eval_shape(lambda key: sized.loss(sized.init(key), batch), jax.random.key(0))
    assert (loss.shape, loss.dtype) == ((), jnp.float32)


@each_task
def test_untrained_loss_is_that_of_guessing(task: Task) -> None:
    loss = float(jax.jit(task.loss)(initial(task), validation(task)))
    assert math.isfinite(loss)
    assert loss == pytest.approx(UNTRAINED.get(task.name, loss), abs=0.1)


@each_task
def test_every_array_has_a_gradient(task: Task) -> None:
    batch = tuple(array[: task.batch] for array in task.splits().train)
    gradient = jax.jit(jax.grad(task.loss))(initial(task), batch)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.isfinite(leaf).all() and np.any(leaf != 0), jax.tree_util.keystr(path)


@each_task
def test_a_short_training_lowers_the_validation_loss(task: Task) -> None:
    steps, optimizer = 60, optax.adam(0.01)
    train = tuple(map(jnp.asarray, task.splits().train))

    @jax.jit
    def losses(params: Any, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(i: int, carry: Any) -> Any:
            params, state = carry
            gradient = jax.grad(task.loss)(params, tuple(a[indices[i]] for a in train))
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        trained, _ = jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))
        return task.loss(params, validation(task)), task.loss(trained, validation(task))

    before, after = losses(initial(task), batches(task, len(train[0]), 0))
    assert float(after) < 0.95 * float(before)


@each_task
def test_splits_are_disjoint_and_shaped_alike(task: Task) -> None:
    splits = task.splits()
    for arrays in splits:
        assert len({len(a) for a in arrays}) == 1
        assert [a.shape[1:] for a in arrays] == [a.shape[1:] for a in splits.train]
        assert [a.dtype for a in arrays] == [a.dtype for a in splits.train]
    inputs = [{row.tobytes() for row in part[0]} for part in splits]
    for one, other in combinations(inputs, 2):
        # Any text says some things twice within 17 characters (rulers, indentation, phrases).
        assert len(one & other) <= 0.1 * len(other) * (task.name == "text_transformer")


@each_task
def test_validation_costs_little_beside_training(task: Task) -> None:
    forward_passes = len(task.splits().validation[0])
    assert forward_passes < 0.06 * 3 * task.steps * task.batch


@each_task
def test_fingerprint_is_that_of_the_data(task: Task) -> None:
    fingerprint = task.fingerprint()
    assert len(fingerprint) == 16 and int(fingerprint, 16) >= 0
    for loader in (data.documentation_text, data.text_windows, data.digits, data.regression):
        loader.cache_clear()
    assert task.fingerprint() == fingerprint


def test_fingerprint_sees_every_split_and_the_type() -> None:
    class Tiny(Task):
        arrays: Any = (np.zeros(2, np.int32), np.zeros(2, np.int32), np.zeros(2, np.int32))

        def splits(self) -> Any:
            return data.Splits(*((a,) for a in self.arrays))

    tiny = Tiny(name="tiny", width=1, batch=1, steps=1)
    seen = {tiny.fingerprint()}
    for changed in range(3):
        arrays = list(Tiny.arrays)
        arrays[changed] = np.ones(2, np.int32)
        Tiny.arrays = tuple(arrays)
        seen.add(tiny.fingerprint())
    Tiny.arrays = tuple(np.zeros(2, np.float32) for _ in range(3))
    assert len(seen | {tiny.fingerprint()}) == 5


@each_task
def test_data_cannot_be_changed_by_a_caller(task: Task) -> None:
    assert not any(a.flags.writeable for part in task.splits() for a in part)


@each_task
def test_flops_agree_with_the_compiler(task: Task) -> None:
    batch = tuple(array[: task.batch] for array in task.splits().train)
    cost: Any = jax.jit(jax.grad(task.loss)).lower(initial(task), batch).cost_analysis()
    assert task.flops() == pytest.approx(task.steps * cost["flops"], rel=0.35)


@each_task
@pytest.mark.parametrize("rung", RUNGS)
def test_a_rung_scales_weights_batch_and_compute(task: Task, rung: int) -> None:
    larger = task.at(rung)
    assert larger.rung == rung and larger.steps == task.steps and larger.name == task.name
    assert larger.batch == pytest.approx(math.sqrt(rung) * task.batch, abs=0.5)
    target = math.sqrt(rung) * task.weights()
    error = abs(larger.weights() - target)
    for neighbour in (larger.width - 1, larger.width + 1):
        assert error <= abs(replace(larger, width=neighbour).weights() - target)
    flops, base = larger.flops(), task.flops()
    assert flops is not None and base is not None
    assert flops == pytest.approx(rung * base, rel=0.15)


@each_task
@pytest.mark.parametrize("share", [0.01, 0.5, 0.8, 1.0, 4 / 3, 2.0])
def test_a_model_holds_no_more_weights_than_it_may(task: Task, share: float) -> None:
    allowed = share * task.weights()
    sized = task.holding(allowed)
    assert replace(sized, width=task.width) == task
    if task.name == "quadratic":  # its width is the problem's
        assert sized == task
        return
    assert sized.weights() <= allowed or sized.width == 2
    assert replace(sized, width=sized.width + 1).weights() > allowed


def test_a_model_that_does_not_grow_is_left_alone() -> None:
    class Rigid(Task):
        def weights(self) -> int:
            return 7

    task = Rigid(name="rigid", width=4, batch=2, steps=3)
    assert task.holding(14) == task


def test_rungs_refuse_what_they_cannot_do() -> None:
    class Rigid(Task):
        def weights(self) -> int:
            return 7

    rigid = Rigid(name="rigid", width=4, batch=8, steps=10)
    assert rigid.at(1) is rigid
    with pytest.raises(TaskError, match=r"'rigid' has no rung 3; choose one of 1, 10, 100"):
        rigid.at(3)
    with pytest.raises(TaskError, match=r"weights\(\) does not grow with width"):
        rigid.at(10)
    with pytest.raises(TaskError, match="at rung 10 already"):
        CATALOG["quadratic"].at(10).at(100)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_starts_at_its_peak_and_never_rises(schedule: str) -> None:
    rates = replace(CATALOG["quadratic"], schedule=schedule, steps=50).learning_rate()
    assert rates.shape == (50,) and rates.dtype == np.float32
    assert rates[0] == rates.max() == 1 and rates.min() > 0
    assert np.all(np.diff(rates) <= 0)


def test_schedules_have_their_values() -> None:
    halfway = np.array([0.5])
    values = {name: float(schedule(halfway)[0]) for name, schedule in SCHEDULES.items()}
    half = {"sqrt": math.sqrt(0.5), "cosine": 0.5, "linear": 0.5, "constant": 1, "trapezoid": 1}
    assert values == pytest.approx(half)
    assert SCHEDULES["trapezoid"](np.array([0.9]))[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "sqt"}, "unknown schedule 'sqt'; choose one of sqrt, cosine"),
        ({"steps": 0}, "has steps 0, but it must be >= 1"),
        ({"width": -1}, "has width -1"),
    ],
)
def test_a_task_refuses_fields_that_make_no_sense(change: dict, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        replace(CATALOG["quadratic"], **change)


def test_batches_are_a_function_of_their_arguments() -> None:
    task = CATALOG["quadratic"]
    drawn = batches(task, 100, 3)
    assert drawn.shape == (task.steps, task.batch) and drawn.dtype == np.int32
    assert drawn.min() == 0 and drawn.max() == 99
    np.testing.assert_array_equal(drawn, batches(task, 100, 3))
    assert not np.array_equal(drawn, batches(task, 100, 4))


def test_text_windows_continue_and_no_paragraph_recurs() -> None:
    windows = data.text_windows(16).train[0]
    assert windows.max() < data.VOCABULARY
    np.testing.assert_array_equal(windows[0, 8:], windows[1, :9])
    paragraphs = [p for p in data.documentation_text().split("\n\n") if len(p) > 80]
    # Lower-casing may still make two of them equal, or a cut at an indented line.
    assert len(paragraphs) - len(set(paragraphs)) < 0.01 * len(paragraphs)


def test_long_passages_do_not_leak_out_of_the_training_text() -> None:
    text, size = data.documentation_text(), 80
    blocks = [text[i : i + data.BLOCK] for i in range(0, len(text), data.BLOCK)]
    train = [b for i, b in enumerate(blocks) if i % 10 not in (4, 9)]
    known = {b[i : i + size] for b in train for i in range(len(b) - size + 1)}
    other = [b[i : i + size] for b in blocks[4::5] for i in range(0, len(b) - size + 1, size)]
    # 1.7 % with Python 3.11, all from tables; 30 % before repeated paragraphs are dropped.
    assert sum(passage in known for passage in other) < 0.05 * len(other)


def test_unknown_characters_are_rare() -> None:
    text = data.documentation_text()
    assert sum(c not in data.ALPHABET for c in text) < 0.01 * len(text)
    assert len(set(data.ALPHABET)) == len(data.ALPHABET) == 47


def test_transformer_sees_no_future_character() -> None:
    task = CATALOG["text_transformer"]
    windows = jnp.asarray(task.splits().train[0][:2])
    from proxy_tasks.models import language_model

    def logits(tokens: jax.Array) -> jax.Array:
        return language_model(initial(task), tokens, 2).reshape(data.VOCABULARY, 2, 32)

    tokens = windows[:, :-1]
    changed = tokens.at[0, 10].set((tokens[0, 10] + 1) % data.VOCABULARY)
    same = np.all(np.isclose(logits(tokens), logits(changed), atol=1e-6), axis=0)
    assert same[0, :10].all() and same[1].all() and not same[0, 10:].any()


def test_vision_patches_are_squares() -> None:
    from proxy_tasks.models import patches

    images = jnp.arange(2 * 8 * 8).reshape(2, 8, 8)
    columns = np.asarray(patches(images, 2)).reshape(4, 2, 16)
    np.testing.assert_array_equal(columns[:, 0, 0], [0, 1, 8, 9])
    np.testing.assert_array_equal(columns[:, 1, 5], 64 + np.array([18, 19, 26, 27]))


def test_listing_tasks_imports_neither_jax_nor_scikit_learn() -> None:
    code = (
        "import sys; from proxy_tasks.catalog import CATALOG\n"
        "for t in CATALOG.values():\n"
        "    assert t.summary and t.weights() > 0 and t.at(100).flops() > 0\n"
        "print(*({'jax', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


USER_TASK = """
from proxy_tasks.task import Task, Splits
class Mine(Task):
    def splits(self): return Splits((), (), ())
    def init(self, key): return {}
    def loss(self, params, batch): return 0.0
fields = dict(name="mine", width=2, batch=3, steps=4)
task = Mine(**fields)
def factory(): return Mine(**fields)
class Ready(Mine):
    def __init__(self): super().__init__(**fields)
class Holder: inner = task
class Half(Task):
    def splits(self): return Splits((), (), ())
half = Half(**fields)
class Duck:
    def __getattr__(self, member): return lambda *args: None
duck = Duck()
class Lame:
    name, width, batch, steps = "lame", 1, 1, 1
number = 3
def fails(): raise RuntimeError("no such\\ntable")
"""


@pytest.fixture
def user_module(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module of a fresh name that can be imported; gives back its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str = USER_TASK) -> str:
        name = f"user_{tmp_path.name}_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


@pytest.mark.parametrize("name", CATALOG)
def test_resolve_finds_every_registered_task(name: str) -> None:
    assert resolve(name) is CATALOG[name] and resolve(name).name == name


@pytest.mark.parametrize("path", ["task", "factory", "Ready", "Holder.inner"])
def test_resolve_finds_a_users_task(user_module: Any, path: str) -> None:
    assert resolve(f"{user_module()}:{path}").name == "mine"


def test_resolve_accepts_anything_with_the_members(user_module: Any) -> None:
    assert type(resolve(f"{user_module()}:duck")).__name__ == "Duck"


def test_resolve_looks_in_the_working_directory(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user_in_working_directory.py").write_text(USER_TASK)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.chdir(tmp_path)
    assert resolve("user_in_working_directory:task").name == "mine"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("absent", "has no object 'absent' in it"),
        ("Holder.outer", "has no object 'outer' in it"),
        ("half", "lacks init, loss: make it with evolve.torch_task, or subclass proxy_tasks"),
        ("Lame", "lacks schedule, summary, rung, splits, init, loss"),
        ("number", "is none: make it with evolve.torch_task"),
        ("Mine", r"calling it without arguments raised TypeError: .*missing 4 required"),
        ("fails", "calling it without arguments raised RuntimeError: no such table$"),
        ("a b", "is not of the form package.module:object"),
        ("", "is not of the form package.module:object"),
    ],
)
def test_resolve_says_what_is_wrong_with_an_object(
    user_module: Any, path: str, message: str
) -> None:
    name = f"{user_module()}:{path}"
    with pytest.raises(TaskError, match=message) as caught:
        resolve(name)
    assert repr(name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
        ("import nowhere_to_be_found", "raised ModuleNotFoundError: No module named 'nowhere"),
        ("def f(:", "raised SyntaxError"),
        ("raise SystemExit(3)", "raised SystemExit: 3"),
    ],
)
def test_resolve_names_a_module_that_raises(user_module: Any, source: str, message: str) -> None:
    module = user_module(source)
    with pytest.raises(TaskError, match=f"importing '{module}' {message}"):
        resolve(f"{module}:task")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text_transfomer", "no task 'text_transfomer': did you mean 'text_transformer'?"),
        ("imagenet", "no task 'imagenet': choose one of text_transformer, digits_vit"),
        ("", "no task '': choose one of"),
        ("no_such_package.tasks:task", "there is no module 'no_such_package'"),
        ("proxy_tasks.nowhere:task", "there is no module 'proxy_tasks.nowhere'"),
        ("./tasks.py:task", "is not of the form package.module:object"),
        (":task", "is not of the form package.module:object"),
        ("a:b:c", "is not of the form package.module:object"),
    ],
)
def test_resolve_explains_a_name_that_it_cannot_find(name: str, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        resolve(name)
    assert message in str(caught.value)


GOOD = (np.ones((6, 2), np.float32), np.arange(6))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ((GOOD[0], GOOD[1][:5]), "have 6 and 5 rows"),
        ((GOOD[0][:0], GOOD[1][:0]), "has no rows"),
        ((), "has no rows"),
        ((np.where(np.eye(6, 2) > 0, np.nan, 1.0), GOOD[1]), r"array 0 of .* has nan at \[0, 0\]"),
        ((GOOD[0][:, :1], GOOD[1]), "other shapes or types"),
        ((GOOD[0].astype(int), GOOD[1]), "other shapes or types"),
    ],
)
@pytest.mark.parametrize("name", ["train", "validation", "heldout"])
def test_data_that_cannot_be_trained_on_is_told_with_its_place(
    part: tuple[Any, ...], message: str, name: str
) -> None:
    check_splits(Splits(GOOD, GOOD, GOOD))
    with pytest.raises(TaskError, match=message) as error:
        check_splits(Splits(GOOD, GOOD, GOOD)._replace(**{name: part}))
    whose = "validation" if (name, message[:5]) == ("train", "other") else name
    assert f"the {whose} data" in str(error.value)


# The models against their formulas ---------------------------------------------------------


def alike(function: Any, plain: Any, *arguments: Any) -> None:
    """Two functions have the same values and the same gradients."""
    found, pull = jax.vjp(function, *arguments)
    wanted, pull_plain = jax.vjp(plain, *arguments)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    way = jax.random.normal(jax.random.key(9), found.shape)
    for one, other in zip(pull(way), pull_plain(way), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (7, 7), (1, 3)])
def test_a_product_is_that_of_matrices(shape: tuple[int, int]) -> None:
    weight = jax.random.normal(jax.random.key(0), shape)
    x = jax.random.normal(jax.random.key(1), (shape[1], 9))
    alike(models.product, lambda w, x: w @ x, weight, x)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("size", [1.0, 30.0])
def test_attention_is_a_softmax_of_scaled_products(causal: bool, size: float) -> None:
    heads, features, examples, positions = 2, 3, 4, 5
    keys = jax.random.split(jax.random.key(2), 3)
    shape = (heads, features, examples, positions)
    q, k, v = (size * jax.random.normal(key, shape) for key in keys)

    def plain(q: Any, k: Any, v: Any) -> Any:
        scores = jnp.einsum("hcbq,hcbk->hbqk", q, k) / np.sqrt(features)
        if causal:
            scores = jnp.where(np.tril(np.ones((positions, positions), bool)), scores, -jnp.inf)
        return jnp.einsum("hbqk,hcbk->hcbq", jax.nn.softmax(scores), v / size)

    alike(lambda q, k, v: models.attention(q, k, v / size, causal), plain, q, k, v)


@pytest.mark.parametrize("windows", [PART * models.MANY, PART * models.MANY + 1, 3 * PART, 1])
def test_the_loss_of_windows_is_the_mean_of_theirs(windows: int) -> None:
    """However many are taken at once."""
    task = CATALOG["text_transformer"]
    params = initial(task)
    batch = validation(task)[0][:windows]
    each = jax.lax.map(lambda window: task.loss(params, (window[None],)), batch)
    assert float(task.loss(params, (batch,))) == pytest.approx(float(each.mean()), rel=1e-5)
