"""The PyTorch target: against the reference, and everything PyTorch expects of an optimizer."""

import copy
import io
import sys
from functools import partial

import numpy as np
import pytest
import torch
from export_checks import TOLERANCE, all_programs, allowance, lint
from strategies import wide_program

from discovered.torch import Lion
from evolve.export import replay
from evolve.export import torch as target
from primitives.text import from_text
from primitives.zoo import zoo

PROGRAMS = all_programs(60)
#: With `_foreach`, with sums over all arrays, with a schedule, without state.
KINDS = ("adamw", "paper-program-5", "paper-program-8", "sgd")


def optimizer_class(name):
    module_name = "exported_" + name.replace("-", "_")
    module = replay.load(target.emit(zoo(name), name.replace("-", "_"), {}), module_name)
    sys.modules[module_name] = module  # torch.compile looks there
    return next(v for v in vars(module).values() if isinstance(v, type))


CLASSES = {name: optimizer_class(name) for name in KINDS}


def shipped_lion(params, lr=1e-4, peak_lr=None, **options):
    """The shipped Lion, which has no peak of its own."""
    return Lion(params, lr, **options)


MAKES = {
    **CLASSES,
    "discovered": shipped_lion,
    "compensated": partial(shipped_lion, compensated=True),
}
kinds = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
SHAPES = ((3, 4), (), (5,), (0, 2))


def weights(dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shaped = [torch.randn(shape, generator=generator) for shape in SHAPES]
    return [torch.nn.Parameter(x.to(dtype)) for x in shaped]


def give_gradients(params, seed=1, sign=1.0):
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = (sign * torch.randn(p.shape, generator=generator)).to(p.dtype)


def run(optimizer, params, steps=3, sign=1.0):
    for step in range(steps):
        give_gradients(params, step, sign)
        optimizer.step()
    return [p.detach().clone() for p in params]


def close(xs, ys, tolerance=1e-6):
    for x, y in zip(xs, ys, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=tolerance, check_dtype=False)


@pytest.mark.parametrize("name", PROGRAMS)
def test_torch_computes_what_the_reference_computes(name):
    program = PROGRAMS[name]
    source = target.emit(program, name, {})
    limit = allowance(program) if name.startswith("random") else TOLERANCE
    assert replay.largest_difference("torch", source, name, program) <= limit


def test_both_ways_to_write_lines_are_covered():
    sources = [target.emit(program, "x", {}) for program in PROGRAMS.values()]
    whole = ["def _apply(batch, groups)" in source for source in sources]
    assert 10 < sum(whole) < len(whole) - 10


def test_the_replay_sees_a_wrong_constant():
    source = target.emit(zoo("lion"), "lion", {}).replace("b2=0.99", "b2=0.9")
    assert replay.largest_difference("torch", source, "lion", zoo("lion")) > 1e-5


def test_torch_passes_the_linter(tmp_path):
    for name, program in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(target.emit(program, name, {"source": "x " * 90}))
    for seed in range(5):
        (tmp_path / f"w{seed}.py").write_text(target.emit(wide_program(seed, 60, 6), "wide", {}))
    lint(tmp_path)


@kinds
def test_parameter_groups_have_their_own_hyperparameters(make):
    params, alone = weights(), weights()
    run(
        make([{"params": params[:1], "lr": 0.5}, {"params": params[1:]}], lr=0.25, peak_lr=1.0),
        params,
        1,
    )
    for lr, part in ((0.5, slice(0, 1)), (0.25, slice(1, None))):
        everything = weights()
        run(make(everything, lr=lr, peak_lr=1.0), everything, 1)
        close(params[part], everything[part])
    run(make(alone, lr=0.5, peak_lr=1.0), alone, 1)
    assert not torch.allclose(params[2], alone[2])


def test_sums_go_over_all_groups():
    params, together = weights(), weights()
    make = CLASSES["paper-program-5"]  # its decay is the dot of all gradients and weights
    groups = [{"params": [p]} for p in params]
    close(run(make(groups), params), run(make(together), together))
    first = weights()[:1]
    run(make(first), first)
    assert not torch.allclose(first[0], together[0])


def test_sums_go_over_weights_with_gradients_only():
    text = "def train(w, g, lr):\n    k = global_norm(w)\n    update = g * k\n    return update\n"
    module = replay.load(target.emit(from_text(text), "normed", {}))
    params = [torch.nn.Parameter(torch.full((2,), x)) for x in (3.0, 4.0, 100.0)]
    for p in params[:2]:
        p.grad = torch.ones(2)
    module.Normed([{"params": [p]} for p in params]).step()
    moved = 50.0**0.5  # of 3, 3, 4, 4
    close(params, [torch.full((2,), x) for x in (3.0 - moved, 4.0 - moved, 100.0)])


@kinds
def test_closure(make):
    params = weights()
    optimizer = make(params, lr=0.01, peak_lr=1.0)

    def closure():
        optimizer.zero_grad()
        loss = sum((p**2).sum() for p in params)
        loss.backward()
        return loss

    before = sum((p**2).sum() for p in params).item()
    assert optimizer.step(closure).item() == pytest.approx(before)
    assert closure().item() < before
    assert optimizer.step() is None


def test_foreach_and_one_by_one_agree_bit_for_bit():
    results = []
    for foreach in (None, False, True):
        params = weights()
        results.append(run(CLASSES["adamw"](params, foreach=foreach), params, 5))
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", ["adamw", "discovered"])
@pytest.mark.parametrize(("foreach", "together"), [(None, [4]), (True, [4]), (False, [1] * 4)])
def test_foreach_computes_many_tensors_together(name, foreach, together, monkeypatch):
    make = MAKES[name]
    module = sys.modules["discovered.torch" if name == "discovered" else make.__module__]
    apply, sizes = module._apply, []

    def counted(batch, *rest):
        sizes.append(len(batch))
        return apply(batch, *rest)

    monkeypatch.setattr(module, "_apply", counted)
    params = weights()
    run(make(params, foreach=foreach), params, 1)
    assert sizes == together


@kinds
@pytest.mark.parametrize("foreach", [None, False])
def test_large_tensors_are_computed_in_pieces(make, foreach):
    """A contiguous tensor is split, its transpose is not: every element comes out the same."""
    x = torch.randn(600, 500, generator=torch.Generator().manual_seed(0))
    options = {"foreach": foreach} if "foreach" in make(weights()).defaults else {}
    straight, turned = torch.nn.Parameter(x.clone()), torch.nn.Parameter(x.t().contiguous().t())
    assert straight.is_contiguous() and not turned.is_contiguous()
    close(
        run(make([straight], lr=0.1, peak_lr=1.0, **options), [straight], 2),
        run(make([turned], lr=0.1, peak_lr=1.0, **options), [turned], 2),
        1e-5,
    )


def test_an_array_whose_norm_counts_stays_whole():
    text = "def train(w, g, lr):\n    k = norm(g)\n    update = g * k\n    return update\n"
    module = replay.load(target.emit(from_text(text), "normed", {}))
    (p,) = [torch.nn.Parameter(torch.zeros(2**19))]
    p.grad = torch.full((2**19,), 0.5)
    module.Normed([p]).step()
    torch.testing.assert_close(p.detach(), torch.full((2**19,), -0.25 * 2**9.5))


@kinds
def test_maximize_goes_uphill_and_leaves_the_gradient_alone(make):
    up, down = weights(), weights()
    # Decay does not turn round, so it is left out.
    options = {"weight_decay": 0.0} if "weight_decay" in make([*weights()]).defaults else {}
    first = run(make(up, lr=0.1, peak_lr=1.0, maximize=True, **options), up)
    last = [p.grad.clone() for p in up]
    close(first, run(make(down, lr=0.1, peak_lr=1.0, **options), down, sign=-1.0))
    give_gradients(down, 2)
    assert all(torch.equal(x, p.grad) for x, p in zip(last, down, strict=True))


@kinds
def test_complex_weights_are_pairs_of_real_ones(make):
    start = torch.randn(4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    z = [torch.nn.Parameter(start.clone())]
    pair = [torch.nn.Parameter(torch.view_as_real(start).clone())]
    one, two = make(z, lr=0.1, peak_lr=1.0), make(pair, lr=0.1, peak_lr=1.0)
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        z[0].grad = torch.randn(4, dtype=torch.complex64, generator=generator)
        pair[0].grad = torch.view_as_real(z[0].grad).clone()
        one.step()
        two.step()
    assert torch.equal(torch.view_as_real(z[0].detach()), pair[0].detach())
    for slot in one.state[z[0]].values():
        assert slot.is_complex()


@kinds
def test_sparse_gradients_are_refused(make):
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3).to_sparse()
    with pytest.raises(RuntimeError, match=r"^the gradient is sparse; only dense ones are taken"):
        make([p]).step()


@kinds
def test_weights_without_gradient_stay_and_have_no_state(make):
    params = weights()
    give_gradients(params[:1])
    before = params[2].detach().clone()
    optimizer = make(params)
    optimizer.step()
    assert torch.equal(params[2], before) and params[2] not in optimizer.state
    for p in params:
        p.grad = None
    optimizer.step()  # nothing to do


@kinds
def test_memory_format_does_not_matter(make):
    plain = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    turned = torch.nn.Parameter(plain.t().contiguous().t())
    straight = torch.nn.Parameter(plain.clone())
    assert not turned.is_contiguous()
    close(run(make([turned]), [turned]), run(make([straight]), [straight]))


@kinds
def test_the_learning_rate_may_be_a_tensor_and_may_change(make):
    params, same = weights(), weights()
    one, two = make(params, lr=torch.tensor(0.125), peak_lr=1.0), make(same, lr=0.125, peak_lr=1.0)
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(o, 0.5) for o in (one, two)]
    close(run(one, params), run(two, same))
    for scheduler in schedulers:
        scheduler.step()
    assert float(one.param_groups[0]["lr"]) == two.param_groups[0]["lr"] == 0.0625
    close(run(one, params), run(two, same))


@kinds
@pytest.mark.parametrize("tensor", [False, True])
def test_compiled(make, tensor):
    params, same = weights()[:3], weights()[:3]
    lr = torch.tensor(0.125) if tensor else 0.125
    optimizer, plain = make(params, lr=lr, peak_lr=1.0), make(same, lr=0.125, peak_lr=1.0)

    @torch.compile(backend="eager")
    def step():
        optimizer.step()

    for i in range(2):
        give_gradients(params, i)
        give_gradients(same, i)
        step()
        plain.step()
    close(params, same)


@kinds
def test_state_dict_round_trip(make):
    params = weights()
    optimizer = make(params, lr=0.1, peak_lr=1.0)
    run(optimizer, params)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    copied = [torch.nn.Parameter(p.detach().clone()) for p in params]
    again = make(copied)
    again.load_state_dict(saved)
    again.load_state_dict(saved)  # the saved tensors are copied, not shared
    assert again.param_groups[0]["lr"] == 0.1
    expected = run(optimizer, params)
    close(run(again, copied), expected, 0.0)
    last = make(twice := [torch.nn.Parameter(p.detach().clone()) for p in params])
    last.load_state_dict(saved)
    assert all(
        torch.equal(x, y)
        for p, i in zip(twice, saved["state"], strict=False)
        for x, y in zip(last.state[p].values(), saved["state"][i].values(), strict=True)
    )


def test_slots_keep_their_dtype_through_a_checkpoint():
    params = weights(torch.bfloat16)
    optimizer = CLASSES["adamw"](params, slot_dtype=torch.float32)
    run(optimizer, params)
    assert {x.dtype for s in optimizer.state.values() for x in s.values()} == {torch.float32}
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = CLASSES["adamw"](other := weights(torch.bfloat16))
    again.load_state_dict(torch.load(file, weights_only=True))
    for p, q in zip(params, other, strict=True):
        for x, y in zip(optimizer.state[p].values(), again.state[q].values(), strict=True):
            assert x.dtype == y.dtype and torch.equal(x, y)


@kinds
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes(make, dtype):
    params, exact = weights(dtype), weights()
    one = run(make(params, lr=0.1, peak_lr=1.0), params)
    assert all(p.dtype == dtype for p in one)
    optimizer = make(exact, lr=0.1, peak_lr=1.0)
    tolerance = 1e-5 if dtype == torch.float64 else 0.05
    for x, y in zip(one, run(optimizer, exact), strict=True):
        torch.testing.assert_close(x.float(), y, rtol=tolerance, atol=tolerance)


@kinds
def test_pickling_and_copying(make):
    params = weights()
    optimizer = make(params)
    run(optimizer, params)
    twin = copy.deepcopy(optimizer)
    for group, other in zip(optimizer.param_groups, twin.param_groups, strict=True):
        assert all(other[key] == value for key, value in group.items() if key != "params")
    twin.__setstate__({"param_groups": [{"params": params}], "state": {}, "defaults": {}})


def test_constants_are_keywords_and_the_peak_is_the_default():
    make = CLASSES["paper-program-8"]
    group = make(weights()).param_groups[0]
    assert group["lr"] == group["peak_lr"] == 0.00021717617
    assert (group["b1"], group["b2"], group["weight_decay"]) == (0.9, 1.109133, 0.46019784)


HALF_SIGN = """def train(w, g, lr):
    update = sign(g)
    update = update * 0.5
    update = update * lr
    return update
"""


def test_nan_goes_into_the_weight():
    half = replay.load(target.emit(from_text(HALF_SIGN), "half_sign", {})).HalfSign
    for make in (half, optimizer_class("powersign"), optimizer_class("lion"), Lion):
        p = torch.nn.Parameter(torch.ones(3))
        p.grad = torch.tensor([1.0, np.nan, -1.0])
        make([p]).step()
        assert p.isnan().tolist() == [False, True, False]
