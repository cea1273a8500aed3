"""Lion for PyTorch: the sign of an average, with two decay rates and one slot.

One step, for weights w with gradient g and learning rate lr. Slots that start at zero: m.

    update = (1.0 - b1) * g + b1 * m
    update = sign(update)
    m = (1.0 - b2) * g + b2 * m
    wd = w * weight_decay
    update = update + wd
    update = update * lr
    w = w - update

A step is about as large as the learning rate in every weight, so the learning rate is 3 to
10 times smaller than AdamW's and the weight decay as much larger; for language models
(b1, b2) = (0.95, 0.98). See `discovered.conversion`. A NaN in a gradient gives NaN in that
weight.

Hyperparameters:
    lr: the peak times the schedule.
    betas[0], above b1: the weight of the second of two averaged terms (default: 0.9).
    betas[1], above b2: the weight of the second of two averaged terms (default: 0.99).
    weight_decay: decoupled, times the learning rate; 0 switches it off (default: 0.1 in the
        program, here 0.0).

Provenance:
    source: paper
    reference: Chen et al. 2023, arXiv 2302.06675, Program 1
    program: discovered/programs/lion.txt
    largest difference from the reference interpreter in 20 steps: 1.2e-07
    written by: python -m evolve.export.shipped
"""

from __future__ import annotations

import math
import numbers
from itertools import chain
from types import SimpleNamespace

import torch


def _check(bounds, given):
    """Raise ValueError unless each number is finite and within its bounds.

    What is no number (a schedule, an array, None) is left to the framework.
    """
    for name, low, high in bounds:
        value = given[name]
        if not isinstance(value, numbers.Real):
            continue
        if not (math.isfinite(value) and low <= value <= high):
            least = "finite" if low == -math.inf else f"at least {low:g}"
            must = least if high == math.inf else f"from {low:g} to {high:g}"
            raise ValueError(f"{name} is {value}; it must be {must}")


def _rounded_by_bits(x, dtype):
    """The float32 tensor `x` with the precision of a 16-bit dtype, by integer arithmetic.

    A cast there and back is dropped by `torch.compile`, and with it all that it would lose.
    """
    import torch

    drop = 16 if dtype is torch.bfloat16 else 13
    bits = x.view(torch.int32)
    near = bits + ((1 << (drop - 1)) - 1) + ((bits >> drop) & 1)
    rounded = ((near >> drop) << drop).view(torch.float32)
    if dtype is torch.float16:
        # The spacing of its subnormals is that of float32 at 0.75; above 65504 it is infinite.
        magic = torch.copysign(torch.full_like(x, 0.75), x)
        rounded = torch.where(x.abs() < 2.0**-14, (x + magic) - magic, rounded)
        huge = torch.copysign(torch.full_like(x, float("inf")), x)
        rounded = torch.where(rounded.abs() > 65504, huge, rounded)
    return torch.where(x.isfinite(), rounded, x)


#: The options of every optimizer here, for the state of a version that had none.
_OPTIONS = {"foreach": None, "maximize": False, "slot_dtype": None, "compensated": False}


class _Optimizer(torch.optim.Optimizer):
    """Slots, parameter groups and checkpoints; what is the program's stands in a subclass.

    Slots are zero at first. They keep the dtype they were saved with, and those that a
    checkpoint lacks begin at zero.
    """

    _slots = ()
    _bounds = ()
    _betas = 0
    _narrow = ()

    def add_param_group(self, param_group):
        """As ever; a hyperparameter that makes no sense is a ValueError."""
        given = {**self.defaults, **param_group}
        if self._betas:
            betas = given["betas"]
            if not isinstance(betas, (tuple, list)) or len(betas) != self._betas:
                raise ValueError(f"betas is {betas}; it must be a tuple of {self._betas}")
            given |= {f"betas[{i}]": beta for i, beta in enumerate(betas)}
        if isinstance(given["lr"], torch.Tensor) and not given["lr"].is_meta:
            given["lr"] = given["lr"].item()
        _check(self._bounds, given)
        super().add_param_group(param_group)

    def __setstate__(self, state):
        """As ever; options that an older version did not have get their defaults."""
        super().__setstate__(state)
        for group in self.param_groups:
            for key, value in {**_OPTIONS, **self.defaults}.items():
                group.setdefault(key, value)

    def load_state_dict(self, state_dict):
        """As ever, hooks included, except that slots keep the dtype they were saved with."""
        final = []
        # The last hook before the state is taken over, and the first one after it.
        before = self.register_load_state_dict_pre_hook(
            lambda _, given: final.append(self._own(given))
        )
        after = self.register_load_state_dict_post_hook(
            lambda _: self._restore(final[-1]), prepend=True
        )
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _own(self, state_dict):
        """The state, unless it is another optimizer's."""
        for i in chain.from_iterable(group["params"] for group in state_dict["param_groups"]):
            values = state_dict["state"].get(i, {})
            tensors = [key for key, x in values.items() if isinstance(x, torch.Tensor)]
            if tensors and not {*self._slots, "error"} & set(tensors):
                own = ", ".join(self._slots) or "no tensors"
                raise ValueError(
                    f"this is the state of another optimizer: it holds {', '.join(tensors)}, "
                    f"that of {type(self).__name__} holds {own}"
                )
        return state_dict

    def _restore(self, state_dict):
        """Copies of the saved tensors whose dtype was changed, or that would be shared."""
        saved = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        params = chain.from_iterable(group["params"] for group in self.param_groups)
        for i, p in zip(saved, params, strict=True):
            for key, x in state_dict["state"].get(i, {}).items():
                loaded = self.state[p].get(key)
                if not isinstance(x, torch.Tensor) or not isinstance(loaded, torch.Tensor):
                    continue
                if loaded is x or loaded.dtype != x.dtype:
                    self.state[p][key] = x.to(p.device, copy=True)

    def _tensors(self, group):
        """Of each weight with a gradient: itself, the gradient, the slots, the error or None.

        Complex ones are seen as pairs of real numbers.
        """
        for p in group["params"]:
            if p.grad is None:
                continue
            if p.grad.layout != torch.strided:
                raise RuntimeError("the gradient is sparse; only dense ones are taken (to_dense)")
            error = group["compensated"] and p.dtype in (torch.bfloat16, torch.float16)
            names = [*self._slots, "error"] if error else self._slots
            state = self.state[p] if names else {}
            for name in names:
                if name not in state:
                    dtype = None if name == "error" else group["slot_dtype"]
                    state[name] = _zeros(p, dtype, dict(self._narrow).get(name))
            tensors = [p, p.grad, *[state[name] for name in names]]
            if p.is_complex():
                tensors[1] = tensors[1].resolve_conj()
                tensors = [torch.view_as_real(x) for x in tensors]
            yield tensors if error else [*tensors, None]

    @torch.no_grad()
    def step(self, closure=None):
        """One step; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._update()
        return loss


def _zeros(p, dtype, shape=None):
    """A slot before the first step; `shape` gives its shape if it is not the weights'."""
    if shape is not None:
        return torch.zeros(shape(p.shape), dtype=dtype or p.dtype, device=p.device)
    zeros = torch.zeros_like(p, memory_format=torch.preserve_format)
    return zeros if dtype is None or p.is_complex() else zeros.to(dtype)


def _wide(w, x):
    """Computed is in float32 at least."""
    return x.to(torch.promote_types(w.dtype, torch.float32))


def _exact(w, error):
    """A weight is the sum of what is stored and of its error; see `compensated`."""
    return w if error is None else w + error


def _store(old, new, error=None):
    """Write a value back, and what rounding took from it."""
    if error is None:
        if old is not new:
            old.copy_(new)
        return
    if torch.compiler.is_compiling():
        stored = _rounded_by_bits(new, old.dtype)
        old.copy_(stored)
        error.copy_(new - stored)
    else:
        old.copy_(new)
        error.copy_(new - old)


class _Elementwise(_Optimizer):
    """Weights one by one, or many together where all that is touched is plain.

    Plain are dense tensors of exactly the types `Tensor` and `Parameter`. Those of one device
    and dtype are computed together, by `torch._foreach_*`; on a CPU as many as stay in its
    cache, elsewhere as many as keep the temporary memory small. All else, such as a sharded
    DTensor, is computed whole, by operations that every kind of tensor has.

    With `_split` large tensors are computed in pieces; not where a sum of one is read.
    """

    _split = True

    def _update(self):
        for group in self.param_groups:
            batches = {}
            for xs in self._tensors(group):
                if group["foreach"] is not False and _plain(xs):
                    dtypes = [x.dtype for x in xs if x is not None]
                    batches.setdefault((xs[0].device, *dtypes), []).append(xs)
                else:
                    self._apply(_ONE, group, xs, xs)
            for batch in batches.values():
                for part in _parts(batch, self._split):
                    self._apply(_MANY, group, part[0], list(map(list, zip(*part, strict=True))))

    def _apply(self, do, group, example, tensors):
        """One step of one weight, or of lists with many like the example."""
        w, _, *slots, error = tensors
        arrays = tensors[:-1]
        dtype = torch.promote_types(example[0].dtype, torch.float32)
        compensated = example[-1] is not None
        if any(x.dtype != dtype for x in example[:-1]):
            arrays = [do.each(_wide, w, x) for x in arrays]
        if compensated:
            arrays[0] = do.each(_exact, arrays[0], error)
        if group["maximize"]:
            arrays[1] = do.neg(arrays[1])
        lr = group["lr"]
        if isinstance(lr, torch.Tensor):
            lr = lr.to(example[0].device).reshape(())
        new, *after = self._step(do, torch.finfo(dtype), lr, group, *arrays)
        if new is not w:
            do.each(_store, w, new, *([error] if compensated else []))
        for old, new in zip(slots, after, strict=True):
            if old is not new:
                do.each(_store, old, new)


def _plain(xs):
    """Whether tensors are dense ones of no other type than PyTorch's own."""
    w = xs[0]
    for x in xs:
        if x is None:
            continue
        own = type(x) is torch.Tensor or type(x) is torch.nn.Parameter
        if not own or x.layout != torch.strided or x.device != w.device or x.is_neg():
            return False
    return True


def _parts(batch, split):
    """What is computed together."""
    size = 2**17 if batch[0][0].device.type == "cpu" else 2**24
    part, count = [], 0
    for xs in batch:
        for piece in _pieces(xs, size) if split else [xs]:
            part.append(piece)
            count += piece[0].numel()
            if count >= size:
                yield part
                part, count = [], 0
    if part:
        yield part


def _pieces(xs, size):
    """Views of parts of large tensors."""
    arrays = [x for x in xs if x is not None]
    if xs[0].numel() <= 2 * size or not all(x.is_contiguous() for x in arrays):
        return [xs]
    others = [None] * (len(xs) - len(arrays))
    parts = zip(*(x.view(-1).split(size) for x in arrays), strict=True)
    return [[*part, *others] for part in parts]


def _each(function, *lists):
    return [function(*xs) for xs in zip(*lists, strict=True)]


#: The operations that a step may use, on one tensor (`_ONE`) and on lists of them (`_MANY`).
_NAMES = [name[9:] for name in dir(torch) if name.startswith("_foreach_")]
_ONE = SimpleNamespace(
    each=lambda function, *xs: function(*xs),
    **{name: getattr(torch.Tensor, name) for name in _NAMES if hasattr(torch.Tensor, name)},
)
_MANY = SimpleNamespace(each=_each, **{name: getattr(torch, f"_foreach_{name}") for name in _NAMES})


def _signs(do, info, x):
    """The signs of `x`, in place and times `2 * info.eps`: exactly, subnormals included.

    Unlike torch.sign it keeps NaN. The least subnormal times `2 / tiny` is `2 * eps`, and all
    that is larger is clamped to that. A list is added to itself, which takes a fifth of the
    time of a product with a number.
    """
    do.add_(x, x, alpha=2.0 / info.tiny)
    do.clamp_min_(x, -2.0 * info.eps)
    do.clamp_max_(x, 2.0 * info.eps)
    return x


def _decay(do, w, factor):
    """`w *= factor`, in place. On a CPU a list takes a tensor in a fifth of a number's time."""
    if do is _MANY and not isinstance(factor, torch.Tensor) and w[0].device.type == "cpu":
        factor = torch.tensor(factor, dtype=w[0].dtype)
    do.mul_(w, factor)


def _subtract(do, w, update, lr):
    """`w -= lr * update`, in place; a learning rate that is a tensor is never read."""
    if isinstance(lr, torch.Tensor):
        do.sub_(w, do.mul(update, lr))
    else:
        do.add_(w, update, alpha=-lr)


class Lion(_Elementwise):
    """See the top of the file.

    Arguments besides the hyperparameters:
        foreach: False computes one tensor after the other; else many plain ones are computed
            together. What is not plain, as a sharded DTensor, is computed on its own.
        maximize: go uphill.
        slot_dtype: dtype of the slots; None stands for that of the weights.
        compensated: keep what rounding takes from 16-bit weights in one more slot of their
            dtype, so that small steps are not lost.
    """

    _slots = ("m",)
    _betas = 2
    _bounds = (
        ("lr", 0.0, math.inf),
        ("betas[0]", 0.0, 1.0),
        ("betas[1]", 0.0, 1.0),
        ("weight_decay", 0.0, math.inf),
    )

    def __init__(
        self,
        params,
        lr=1e-4,
        betas=(0.9, 0.99),
        weight_decay=0.0,
        *,
        foreach=None,
        maximize=False,
        slot_dtype=None,
        compensated=False,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "slot_dtype": slot_dtype,
            "compensated": compensated,
        }
        super().__init__(params, defaults)

    @staticmethod
    def _step(do, info, lr, group, w, g, m):
        """The weights, which change in place, and the slots after the step."""
        b1, b2 = group["betas"]
        weight_decay = group["weight_decay"]
        update = do.lerp(m, g, 1.0 - b1)
        update = _signs(do, info, update)
        do.lerp_(m, g, 1.0 - b2)
        if weight_decay != 0:
            _decay(do, w, 1.0 - lr * weight_decay)
        _subtract(do, w, update, lr / (2.0 * info.eps))
        return w, m
