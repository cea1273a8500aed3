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
    b1: the weight of the second of two averaged terms (0.9 in the program).
    b2: the weight of the second of two averaged terms (0.99 in the program).
    weight_decay: decoupled, times the learning rate (0.1 in the program).

Provenance:
    source: paper
    reference: Chen et al. 2023, arXiv 2302.06675, Program 1
    program: discovered/programs/lion.txt
    largest difference from the reference interpreter in 20 steps: 1.2e-07
    written by: python -m evolve.export.shipped
"""

from __future__ import annotations

import torch

_SLOTS = ("m",)
#: How many elements of each tensor are computed together on a CPU.
_PIECE = 2**17
#: Far below any gradient; its inverse is finite in float32.
_BOUND = 2.0**-120


class Lion(torch.optim.Optimizer):
    """See the top of the file.

    Arguments besides the hyperparameters:
        foreach: False computes one tensor after the other; else many are computed together,
            on a CPU as many as stay in its cache.
        maximize: go uphill.
        slot_dtype: dtype of the slots; None stands for that of the weights.
        compensated: keep what rounding takes from 16-bit weights in one more slot of their
            dtype, so that small steps are not lost.
    """

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
        if not lr >= 0.0:
            raise ValueError(f"the learning rate is {lr}; it must not be negative")
        if not all(0.0 <= beta <= 1.0 for beta in betas):
            raise ValueError(f"betas are {betas}; each must lie between 0 and 1")
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

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            for key, value in self.defaults.items():
                group.setdefault(key, value)

    def load_state_dict(self, state_dict):
        """As ever, except that each slot keeps the dtype that it was saved with."""
        super().load_state_dict(state_dict)
        saved = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for i, p in zip(saved, params, strict=True):
            for key, value in state_dict["state"].get(i, {}).items():
                self.state[p][key] = value.to(p.device, copy=True)

    def _tensors(self, group):
        """Weight, gradient and slots of each weight with a gradient; complex ones as real."""
        found = []
        for p in group["params"]:
            if p.grad is None:
                continue
            if p.grad.layout != torch.strided:
                raise RuntimeError("the gradient is sparse; only dense ones are taken (to_dense)")
            state = self.state[p]
            if not state:
                self._start(state, p, group)
            tensors = [p, p.grad, *(state[slot] for slot in _SLOTS)]
            if p.is_complex():
                tensors = [torch.view_as_real(x.resolve_conj()) for x in tensors]
            found.append([*tensors, state.get("error")])
        return found

    @staticmethod
    def _start(state, p, group):
        """Zeros for each slot, and for the errors of 16-bit weights."""
        if group["compensated"] and p.dtype in (torch.bfloat16, torch.float16):
            state["error"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        for slot in _SLOTS:
            state[slot] = torch.zeros_like(p, memory_format=torch.preserve_format)
            if group["slot_dtype"] is not None and not p.is_complex():
                state[slot] = state[slot].to(group["slot_dtype"])

    @torch.no_grad()
    def step(self, closure=None):
        """One step; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for batch in _batches(self._tensors(group), group["foreach"]):
                _apply(batch, group)
        return loss


def _batches(tensors, foreach):
    """What is computed together: on a CPU as much as stays in its cache, else everything."""
    batch, size = [], 0
    for xs in tensors:
        cpu = xs[0].device.type == "cpu"
        for piece in _pieces(xs) if cpu else [xs]:
            batch.append(piece)
            size += piece[0].numel()
            if foreach is False or (cpu and size >= _PIECE):
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _pieces(xs):
    """Views of parts of large tensors; nothing depends on more than one element."""
    arrays = [x for x in xs if x is not None]
    if xs[0].numel() <= 2 * _PIECE or not all(x.is_contiguous() for x in arrays):
        return [xs]
    others = [None] * (len(xs) - len(arrays))
    parts = zip(*(x.view(-1).split(_PIECE) for x in arrays), strict=True)
    return [[*part, *others] for part in parts]


def _apply(batch, group):
    """One step of some tensors: computed in float32 at least, and written back."""
    weights, gradients, *slots, errors = (list(xs) for xs in zip(*batch, strict=True))
    dtypes = [torch.promote_types(w.dtype, torch.float32) for w in weights]
    lists = [
        [x.to(dtype) for x, dtype in zip(xs, dtypes, strict=True)]
        for xs in (weights, gradients, *slots)
    ]
    # A weight is the sum of what is stored and of its error; see `compensated`.
    lists[0] = [x if e is None else x + e for x, e in zip(lists[0], errors, strict=True)]
    if group["maximize"]:
        lists[1] = torch._foreach_neg(lists[1])
    lr = group["lr"]
    if isinstance(lr, torch.Tensor) and not torch.compiler.is_compiling():
        lr = lr.item()
    b1, b2 = group["betas"]
    weight_decay = group["weight_decay"]
    after = _step(*lists, lr, b1, b2, weight_decay)
    for old, new in zip((weights, *slots), after, strict=True):
        for x, y in zip(old, new, strict=True):
            if x is not y:
                x.copy_(y)
    for x, old, error in zip(after[0], weights, errors, strict=True):
        if error is not None:
            error.copy_(x - old)


def _step(w, g, m, lr, b1, b2, weight_decay):
    """The lists of weights, which change in place, and of slots after the step."""
    update = torch._foreach_lerp(m, g, 1.0 - b1)
    # The sign times _BOUND; torch.sign would make 0 of NaN.
    update = [x.clamp_(-_BOUND, _BOUND) for x in update]
    torch._foreach_lerp_(m, g, 1.0 - b2)
    if weight_decay != 0:
        torch._foreach_mul_(w, 1.0 - lr * weight_decay)
    _subtract(w, update, lr / _BOUND)
    return w, m


def _subtract(w, update, lr):
    """`w -= lr * update`; the learning rate is a tensor when this is compiled."""
    if isinstance(lr, torch.Tensor):
        torch._foreach_sub_(w, torch._foreach_mul(update, lr))
    else:
        torch._foreach_add_(w, update, alpha=-lr)
