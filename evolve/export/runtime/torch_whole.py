"""A step on PyTorch tensors in which a number may depend on all of them."""

from __future__ import annotations

import torch

from evolve.export.runtime.torch_base import _exact, _Optimizer, _store, _wide


class _Whole(_Optimizer):
    """All weights of all parameter groups in one step, each with the numbers of its group.

    Numbers are 0-dimensional tensors, so that nothing is read back from a device. Sums over the
    weights of a model that is sharded as DTensors (FSDP2) are taken over all processes. Other
    ways to shard hide from an optimizer what the other processes have.
    """

    def _update(self):
        groups, rows = [], []
        for group in self.param_groups:
            found = list(self._tensors(group))
            rows += found
            groups += [group] * len(found)
        if not rows or _is_idle(groups, rows):
            return
        if any(
            hasattr(row[0], "_is_flat_param") or hasattr(row[0], "_fsdp_flattened") for row in rows
        ):
            raise RuntimeError(
                "this optimizer takes sums over all weights, which FSDP1 hides; use fully_shard"
            )
        weights, gradients, *slots, errors = (list(xs) for xs in zip(*rows, strict=True))
        arrays = [
            [_wide(w, x) for w, x in zip(weights, xs, strict=True)]
            for xs in (weights, gradients, *slots)
        ]
        arrays[0] = [_exact(w, error) for w, error in zip(arrays[0], errors, strict=True)]
        signs = [-1.0 if group["maximize"] else 1.0 for group in groups]
        arrays[1] = [x * sign for x, sign in zip(arrays[1], signs, strict=True)]

        def number(key, place=None):
            """What each tensor's group says."""
            values = [group[key] if place is None else group[key][place] for group in groups]
            pairs = zip(values, arrays[0], strict=True)
            return [
                torch.as_tensor(x, dtype=w.dtype, device=w.device).reshape(()) for x, w in pairs
            ]

        after = self._step(number, *arrays)
        for old, new, error in zip(weights, after[0], errors, strict=True):
            _store(old, new, error)
        for olds, news in zip(slots, after[1:], strict=True):
            for old, new in zip(olds, news, strict=True):
                _store(old, new if new.shape == old.shape else new.reshape(old.shape))


def _is_idle(groups, rows):
    """Whether the rate is zero and so are all gradients: how checkpoints make the slots appear.

    Then nothing is to change, though a norm of zero may make NaN of it.
    """
    if any(isinstance(group["lr"], torch.Tensor) or group["lr"] != 0 for group in groups):
        return False
    return all(float(_local(torch.sum(torch.abs(row[1])))) == 0.0 for row in rows)


def _tree_sum(arrays):
    """The sum over all arrays, on the first one's device."""
    return sum(_local(torch.sum(x)).to(arrays[0].device) for x in arrays)


def _local(x):
    """A number as a plain tensor; what is spread over processes is added up."""
    return x.full_tensor() if hasattr(x, "full_tensor") else x
