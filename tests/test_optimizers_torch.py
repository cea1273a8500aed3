"""What PyTorch expects of an optimizer, asked of Lion as shipped and of exported programs."""

import copy
import io
import math
import pickle
from functools import partial

import numpy as np
import optimizers
import pytest
import torch

from discovered.torch import Lion
from evolve.export import replay
from evolve.export import torch as target
from evolve.export.runtime.rounding import _rounded_by_bits
from primitives.text import from_text
from primitives.zoo import zoo


def shipped_lion(params, lr=1e-4, peak_lr=None, **options):
    """The shipped Lion, which has no peak of its own."""
    return Lion(params, lr, **options)


MAKES = optimizers.makes(
    "torch", discovered=shipped_lion, compensated=partial(shipped_lion, compensated=True)
)
#: Those that have a batched form.
BATCHED = {
    name: make for name, make in MAKES.items() if "foreach" in make([torch.ones(1)]).defaults
}
kinds = optimizers.each(MAKES)
batched = optimizers.each(BATCHED)
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
    make = MAKES["paper-program-5"]  # its decay is the dot of all gradients and weights
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


@batched
def test_foreach_and_one_by_one_agree_bit_for_bit(make):
    results = []
    for foreach in (None, False, True):
        params = weights()
        results.append(run(make(params, foreach=foreach), params, 5))
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@batched
@pytest.mark.parametrize(("foreach", "together"), [(None, [4]), (True, [4]), (False, [0] * 4)])
def test_foreach_computes_many_tensors_together(make, foreach, together, monkeypatch):
    params = weights()
    optimizer = make(params, foreach=foreach)
    step, sizes = optimizer._step, []

    def counted(do, info, lr, group, w, *rest):
        sizes.append(len(w) if isinstance(w, list) else 0)
        return step(do, info, lr, group, w, *rest)

    monkeypatch.setattr(optimizer, "_step", counted)
    run(optimizer, params, 1)
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
    optimizer = MAKES["adamw"](params, slot_dtype=torch.float32)
    run(optimizer, params)
    assert {x.dtype for s in optimizer.state.values() for x in s.values()} == {torch.float32}
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = MAKES["adamw"](other := weights(torch.bfloat16))
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
    tolerance, far = (1e-5, 0.0) if dtype == torch.float64 else (0.05, 0.1)
    pairs = list(zip(one, run(optimizer, exact), strict=True))
    near = [torch.isclose(x.float(), y, tolerance, tolerance).flatten() for x, y in pairs]
    # What rounding leaves of a number near zero may have the other sign, and few are.
    assert 1 - torch.cat(near).float().mean() <= far


@kinds
def test_copying_and_pickling(make):
    params = weights()
    optimizer = make(params, lr=0.1, peak_lr=1.0)
    run(optimizer, params)
    twins = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    expected = run(optimizer, params)
    for twin in twins:
        got = run(twin, twin.param_groups[0]["params"])
        assert all(torch.equal(x, y) for x, y in zip(got, expected, strict=True))


def test_constants_are_keywords_and_the_peak_is_the_default():
    make = MAKES["paper-program-8"]
    group = make(weights()).param_groups[0]
    assert group["lr"] == group["peak_lr"] == 0.00021717617
    assert (group["betas"], group["weight_decay"]) == ((0.9, 1.109133), 0.46019784)


# The learning rate, and what drives it --------------------------------------------------------

SCHEDULERS = {
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.5, total_steps=10),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
    "warm-up": lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=5),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1.0 / (1 + step)),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
}


@kinds
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers(make, name):
    """Each step is the one of the rate, and of the betas, that the scheduler sets."""
    params, same = weights(), weights()
    optimizer, plain = make(params, lr=0.25, peak_lr=1.0), make(same, lr=0.25, peak_lr=1.0)
    betas = len(optimizer.defaults.get("betas", ()))
    if name == "one cycle" and not betas:
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.5, total_steps=10, cycle_momentum=False
        )
    else:
        scheduler = SCHEDULERS[name](optimizer)
    rates = set()
    for step in range(4):
        for key in ("lr", *(["betas"] if betas else [])):
            plain.param_groups[0][key] = optimizer.param_groups[0][key]
        rates.add(optimizer.param_groups[0]["lr"])
        for each in (params, same):
            give_gradients(each, step)
        optimizer.step()
        plain.step()
        scheduler.step(*([1.0] if name == "plateau" else []))
        assert all(torch.equal(x, y) for x, y in zip(params, same, strict=True))
    assert len(rates) > 1


@kinds
def test_nothing_is_read_back_from_the_device(make):
    """A step on tensors without data, with a learning rate that is one: it can be captured."""
    p = torch.nn.Parameter(torch.zeros(3, 2, device="meta"))
    optimizer = make([p], lr=torch.tensor(0.1, device="meta"), peak_lr=1.0)
    for _ in range(2):
        p.grad = torch.ones(3, 2, device="meta")
        optimizer.step()
    assert all(x.is_meta for slots in optimizer.state.values() for x in slots.values())


@kinds
def test_differing_devices_and_dtypes_in_one_group(make):
    """Each tensor comes out as it does alone; whole-tree programs add up over all of them."""
    dtypes = (torch.float32, torch.float64, torch.bfloat16, torch.float32)
    params = [torch.nn.Parameter(p.detach().to(d)) for p, d in zip(weights(), dtypes, strict=True)]
    alone = copy.deepcopy(params)
    optimizer = make(params, lr=0.1, peak_lr=1.0)
    got = run(optimizer, params)
    assert [p.dtype for p in params] == list(dtypes)
    if make in BATCHED.values():
        elsewhere = torch.nn.Parameter(torch.zeros(5, device="meta"))
        elsewhere.grad = torch.zeros(5, device="meta")
        mixed = copy.deepcopy(alone)
        both = make([*mixed, elsewhere], lr=0.1, peak_lr=1.0)
        close(run(both, mixed), got, 0.0)
        for i, x in enumerate(got):
            single = copy.deepcopy(alone)
            close(run(make([single[i]], lr=0.1, peak_lr=1.0), single)[i : i + 1], [x], 0.0)


@kinds
def test_a_group_added_later(make):
    params, together = weights(), weights()
    optimizer = make(params[:2], lr=0.25, peak_lr=1.0)
    optimizer.add_param_group({"params": params[2:], "lr": 0.5})
    groups = [{"params": together[:2]}, {"params": together[2:], "lr": 0.5}]
    other = make(groups, lr=0.25, peak_lr=1.0)
    close(run(optimizer, params), run(other, together), 0.0)
    with pytest.raises(ValueError, match=r"^lr is nan; it must be at least 0$"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": math.nan})
    assert len(optimizer.param_groups) == 2


@kinds
@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, torch.tensor(-1.0), np.float32(-1)])
def test_a_learning_rate_that_makes_no_sense(make, bad):
    with pytest.raises(ValueError, match=r"^lr is (-1.0|nan|inf); it must be at least 0$"):
        make(weights(), lr=bad)


@kinds
def test_hyperparameters_that_make_no_sense(make):
    defaults = make(weights()).defaults
    betas = defaults.get("betas")
    if betas:
        for wrong in ((*betas[:-1], math.nan), (*betas, 0.5), betas[:-1], 0.9):
            with pytest.raises(ValueError, match=r"^betas"):
                make(weights(), betas=wrong)
        if 0.0 <= betas[0] <= 1.0:
            with pytest.raises(ValueError, match=r"^betas\[0\] is 1.5; it must be from 0 to 1$"):
                make(weights(), betas=(1.5, *betas[1:]))
    if "weight_decay" in defaults:
        with pytest.raises(ValueError, match=r"^weight_decay is -1.0; it must be at least 0$"):
            make(weights(), weight_decay=-1.0)
    for name in (key for key in defaults if key.startswith("c") and key[1:].isdigit()):
        with pytest.raises(ValueError, match=rf"^{name} is nan; it must be finite$"):
            make(weights(), **{name: math.nan})


def test_gradient_scaler():
    """A step with an infinite gradient is left out, and the scale goes down."""
    for make in MAKES.values():
        (p,) = weights()[:1]
        before = p.detach().clone()
        optimizer = make([p], lr=0.1, peak_lr=1.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        scaler.scale(p.sum() * math.inf).backward()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(p, before) and scaler.get_scale() == 2.0
        optimizer.zero_grad()
        scaler.scale((p**2).sum()).backward()
        scaler.step(optimizer)
        same = torch.nn.Parameter(before.clone())
        same.grad = 2 * before
        make([same], lr=0.1, peak_lr=1.0).step()
        close([p], [same])


# Checkpoints ----------------------------------------------------------------------------------


def trained(make, count=3):
    """An optimizer after some steps, its parameters, and what it saves."""
    params = weights()[:count]
    optimizer = make(params, lr=0.1, peak_lr=1.0)
    run(optimizer, params)
    return optimizer, params, optimizer.state_dict()


def fresh(make, params):
    """The same before its first step."""
    copied = [torch.nn.Parameter(p.detach().clone()) for p in params]
    return make(copied, lr=0.1, peak_lr=1.0), copied


@kinds
def test_a_hook_may_drop_rename_and_reorder_what_is_loaded(make):
    optimizer, params, saved = trained(make)
    if not saved["state"]:
        return
    slot = next(iter(saved["state"][0]))

    # Dropped: the slots of the second weight begin at zero, the others go on.
    again, copied = fresh(make, params)
    again.register_load_state_dict_pre_hook(
        lambda _, d: {**d, "state": {i: x for i, x in d["state"].items() if i != 1}}
    )
    again.load_state_dict(saved)
    assert copied[1] not in again.state
    assert torch.equal(again.state[copied[0]][slot], optimizer.state[params[0]][slot])

    # Renamed, as where a checkpoint of another name is adapted.
    renamed = {i: {f"exp_{k}": v for k, v in x.items()} for i, x in saved["state"].items()}
    again, copied = fresh(make, params)
    again.register_load_state_dict_pre_hook(
        lambda _, d: {
            **d,
            "state": {i: {k[4:]: v for k, v in x.items()} for i, x in renamed.items()},
        }
    )
    again.load_state_dict({**saved, "state": renamed})
    assert again.state[copied[0]].keys() == optimizer.state[params[0]].keys()

    # Reordered: each weight gets its own slots.
    order = [2, 0, 1]
    again, _ = fresh(make, [params[i] for i in order])
    again.register_load_state_dict_pre_hook(
        lambda _, d: {**d, "state": {place: d["state"][i] for place, i in enumerate(order)}}
    )
    again.load_state_dict(saved)
    for p, i in zip(again.param_groups[0]["params"], order, strict=True):
        assert torch.equal(again.state[p][slot], optimizer.state[params[i]][slot])


@kinds
def test_a_hook_after_loading_sees_and_keeps_the_last_word(make):
    _, params, saved = trained(make)
    again, copied = fresh(make, params)

    def ones(optimizer):
        for slots in optimizer.state.values():
            for x in slots.values():
                x.fill_(1.0)

    again.register_load_state_dict_post_hook(ones)
    again.load_state_dict(saved)
    assert all((x == 1.0).all() for p in copied for x in again.state.get(p, {}).values())
    assert not again._optimizer_load_state_dict_pre_hooks


@kinds
def test_state_that_is_no_tensor_is_kept(make):
    optimizer, params, _ = trained(make)
    for p in params:
        optimizer.state[p]["note"] = {"seen": 3}
    again, copied = fresh(make, params)
    again.load_state_dict(optimizer.state_dict())
    assert all(again.state[p]["note"] == {"seen": 3} for p in copied)
    assert all(
        torch.equal(x, y) for x, y in zip(run(again, copied), run(optimizer, params), strict=True)
    )


@kinds
@pytest.mark.parametrize("other", [torch.optim.AdamW, partial(torch.optim.SGD, momentum=0.9)])
def test_the_state_of_another_optimizer_is_refused(make, other):
    params = weights()
    foreign = other(params, lr=0.1)
    run(foreign, params)
    optimizer, copied = fresh(make, params)
    before = run(copy.deepcopy(optimizer), copy.deepcopy(copied), 0)
    groups = copy.deepcopy(optimizer.param_groups)
    with pytest.raises(ValueError, match=r"^this is the state of another optimizer: it holds "):
        optimizer.load_state_dict(foreign.state_dict())
    assert not optimizer.state and optimizer.param_groups[0]["lr"] == groups[0]["lr"]
    assert all(torch.equal(x, y) for x, y in zip(copied, before, strict=True))
    run(optimizer, copied)  # it goes on as if nothing had been


@kinds
def test_the_state_of_an_older_version(make):
    """Options that it did not have get their defaults, slots that it lacks begin at zero."""
    optimizer, params, saved = trained(make)
    for group in saved["param_groups"]:
        for key in ("foreach", "maximize", "slot_dtype", "compensated"):
            group.pop(key, None)
    if len(optimizer._slots) > 1:
        for slots in saved["state"].values():
            del slots[optimizer._slots[-1]]
    again, copied = fresh(make, params)
    again.load_state_dict(saved)
    assert again.param_groups[0].keys() >= optimizer.param_groups[0].keys()
    run(again, copied)
    assert all(again.state[p].keys() >= set(optimizer._slots) for p in copied if optimizer._slots)


@kinds
def test_compensation_may_begin_with_a_checkpoint_that_has_none(make):
    params = weights(torch.bfloat16)
    optimizer = make(params, lr=0.1, peak_lr=1.0)
    run(optimizer, params)
    saved = optimizer.state_dict()
    again, copied = fresh(make, params)
    again.load_state_dict(saved)
    again.param_groups[0]["compensated"] = True
    run(again, copied)
    assert all(again.state[p]["error"].dtype == torch.bfloat16 for p in copied)


# The sign ---------------------------------------------------------------------------------------

HALF_SIGN = """def train(w, g, lr):
    update = sign(g)
    update = update * 0.5
    update = update * lr
    return update
"""


def test_nan_goes_into_the_weight():
    half = optimizers.written("torch", "half_sign", from_text(HALF_SIGN))
    others = [optimizers.written("torch", name, zoo(name)) for name in ("powersign", "lion")]
    for make in (half, *others, Lion):
        p = torch.nn.Parameter(torch.ones(3))
        p.grad = torch.tensor([1.0, np.nan, -1.0])
        make([p]).step()
        assert p.isnan().tolist() == [False, True, False]


SIGNS = """def train(w, g, lr):
    update = sign(g)
    update = update * lr
    return update
"""
#: Lion's with momentum at zero, a bare sign before the learning rate, and one before a factor.
SIGNED = {
    "discovered": partial(Lion, betas=(0.0, 0.0)),
    "bare": optimizers.written("torch", "bare_sign", from_text(SIGNS)),
    "factor": optimizers.written("torch", "half_sign", from_text(HALF_SIGN)),
}


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("foreach", [None, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_every_number_has_its_sign(name, foreach, dtype):
    """All sizes, the least subnormal among them; zero stays zero, and NaN NaN."""
    info = torch.finfo(dtype)
    sizes = [info.smallest_normal, info.max, 1.0, 1e-30, 1e-37, 1e-38, 1e30]
    sizes += [info.smallest_normal / 2**k for k in range(1, 60)]
    positive = torch.tensor(
        [x for x in sizes if 0 < torch.tensor(x, dtype=dtype) < math.inf], dtype=torch.float64
    )
    g = torch.cat([positive, -positive, torch.tensor([0.0, -0.0, math.nan])]).to(dtype)
    for lr in (0.5, 2.0**-20, 2.0**10):
        p = torch.nn.Parameter(torch.zeros_like(g))
        p.grad = g
        SIGNED[name]([p], lr=lr, foreach=foreach).step()
        moved = lr * (0.5 if name == "factor" else 1.0)
        expected = torch.where(g.isnan(), g, -moved * torch.sign(g))
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lr", [2.0**100, 1e-30])
def test_large_and_small_rates_do_not_overflow(dtype, lr):
    for foreach in (None, False):
        p = torch.nn.Parameter(torch.zeros(3, dtype=dtype))
        p.grad = torch.tensor([1.0, -1e-38, 0.0], dtype=dtype)
        Lion([p], lr=lr, foreach=foreach).step()
        torch.testing.assert_close(p.detach(), torch.tensor([-lr, lr, 0.0], dtype=dtype))


def test_flushed_subnormals_have_no_sign():
    """Where PyTorch is told to take subnormals for zero, they are zero here too."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormals")
    try:
        p = torch.nn.Parameter(torch.zeros(2))
        p.grad = torch.tensor([1e-40, 1e-30])
        Lion([p], lr=0.5, betas=(0.0, 0.0)).step()
    finally:
        torch.set_flush_denormal(False)
    assert p.tolist() == [0.0, -0.5]


# What a review found --------------------------------------------------------------------------

HEAVY_BALL = """def train(w, g, m, lr):
    m = g + m
    update = sign(m)
    lr = lr * 0.01
    update = update * lr
    return update, m
"""


def test_a_slot_whose_sign_is_taken_stays_what_it_is():
    program = from_text(HEAVY_BALL)
    source = target.emit(program, "heavy_ball", {})
    assert replay.largest_difference("torch", source, "heavy_ball", program) < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_by_bits_is_that_of_a_cast(dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50_000, generator=generator) * 10.0 ** torch.randint(
        -9, 6, (50_000,), generator=generator
    )
    x = torch.cat([x, torch.tensor([0.0, -0.0, math.inf, -math.inf, 65519.0, 65520.0, 6e-8])])
    assert torch.equal(_rounded_by_bits(x, dtype), x.to(dtype).float())
    assert _rounded_by_bits(torch.tensor([math.nan]), dtype).isnan().all()


@kinds
def test_compensation_is_the_same_when_compiled(make):
    ends = []
    for compiled in (False, True):
        params = weights(torch.bfloat16)[:3]
        optimizer = make(params, lr=1e-3, peak_lr=1.0)
        optimizer.param_groups[0]["compensated"] = True
        step = torch.compile(optimizer.step, backend="eager") if compiled else optimizer.step
        for i in range(3):
            give_gradients(params, i)
            step()
        ends.append([*params, *(optimizer.state[p]["error"] for p in params)])
    for x, y in zip(*ends, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-2, atol=1e-5)


@kinds
def test_a_learning_rate_of_one_element(make):
    params, same = weights(), weights()
    one, two = (
        make(params, lr=torch.tensor([0.125]), peak_lr=1.0),
        make(same, lr=0.125, peak_lr=1.0),
    )
    close(run(one, params), run(two, same))


@kinds
def test_an_infinite_weight_stays_where_only_decay_reads_it(make):
    if "weight_decay" not in make(weights()).defaults:
        return
    p = torch.nn.Parameter(torch.tensor([-math.inf, 1.0]))
    optimizer = make([p], lr=1e-3, peak_lr=1.0, weight_decay=0.1)
    if optimizer.__class__.__mro__[1].__name__ == "_Whole":
        return
    p.grad = torch.tensor([0.1, 0.1])
    optimizer.step()
    assert p[0].item() == -math.inf and p[1].isfinite()


@kinds
def test_a_step_of_nothing_changes_nothing(make):
    """As `torch.distributed.checkpoint` takes one, to make the slots appear."""
    params = weights()
    before = [p.detach().clone() for p in params]
    optimizer = make(params, lr=0.0, peak_lr=1.0)
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert all(torch.equal(p, x) for p, x in zip(params, before, strict=True))


def test_a_whole_optimizer_of_an_older_version():
    params = weights()
    optimizer = Lion(params)
    run(optimizer, params)
    state = optimizer.__getstate__()
    for options in (state["defaults"], *state["param_groups"]):
        options.pop("compensated")
    again = Lion(weights())
    again.__setstate__(state)
    run(again, again.param_groups[0]["params"])


def test_weights_with_a_negative_bit_are_trained():
    z = torch.randn(4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    p = torch.nn.Parameter(z.conj().imag)
    assert p.is_neg()
    before = p.detach().clone()
    p.grad = torch.ones(4)
    Lion([p], lr=0.5).step()
    torch.testing.assert_close(p.detach(), before - 0.5)


def test_weights_that_fsdp1_hides_are_refused_where_sums_go_over_all():
    (p,) = weights()[:1]
    p._is_flat_param = True
    p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match=r"^this optimizer takes sums over all weights, which"):
        MAKES["paper-program-5"]([p]).step()
    Lion([p]).step()
