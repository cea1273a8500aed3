"""A step on PyTorch tensors of which none depends on another: batched where that is safe."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from evolve.export.runtime.torch_base import _exact, _Optimizer, _store, _wide


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
