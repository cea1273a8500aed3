"""What every optimizer exported to PyTorch is built on."""

from __future__ import annotations

from itertools import chain

import torch

from evolve.export.runtime.checks import _check
from evolve.export.runtime.rounding import _rounded_by_bits

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
