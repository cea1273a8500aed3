"""The language's functions on PyTorch tensors: the table's definitions over lists of tensors.

A tree is a list of tensors, one for each parameter; a per-array value a list of 0-d tensors. A
number that depends on no tensor is a `np.float32`, one that does a 0-d tensor. What is computed
on all tensors at once goes through PyTorch's `_foreach_` functions, of which one call does for
all, as in PyTorch's own optimizers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from primitives.functions import BY_NAME, EPSILON

#: 2 to this power twice makes every number but 0 as large as 1 at least.
_LARGE = 2.0**75


class Value:
    """A tree or a per-array value: tensors, with arithmetic on all of them."""

    __array_ufunc__ = None  # NumPy's numbers on the left leave it to the methods below
    __slots__ = ("parts",)

    def __init__(self, parts: list[Tensor]) -> None:
        self.parts = parts

    def __add__(self, other: Any) -> Value:
        return _arithmetic(torch._foreach_add, operator.add, self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Value:
        return _arithmetic(torch._foreach_sub, operator.sub, self, other)

    def __rsub__(self, other: Any) -> Value:
        return _each(lambda x, y: y - x, self, _plain(other))

    def __mul__(self, other: Any) -> Value:
        return _arithmetic(torch._foreach_mul, operator.mul, self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Value:
        return _arithmetic(torch._foreach_div, operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return _each(lambda x, y: y / x, self, _plain(other))

    def __neg__(self) -> Value:
        return Value(list(torch._foreach_neg(self.parts)))


def _arithmetic(
    together: Callable[..., Any], one: Callable[[Any, Any], Tensor], left: Value, right: Any
) -> Value:
    if isinstance(right, Value):
        return Value(list(together(left.parts, right.parts)))
    if isinstance(right, Tensor):
        return Value([one(x, right) for x in left.parts])
    return Value(list(together(left.parts, float(right))))


def _each(function: Callable[..., Any], *arguments: Any) -> Value:
    """A function of tensors and numbers, tensor by tensor."""
    count = next(len(a.parts) for a in arguments if isinstance(a, Value))
    rows = ([a.parts[i] if isinstance(a, Value) else a for a in arguments] for i in range(count))
    return Value([function(*row) for row in rows])


class _Ops:
    """What the table's definitions call: NumPy's names, on `Value`s, tensors and numbers."""

    @staticmethod
    def array_sum(x: Any) -> Any:
        """One number per array; a number is its own sum."""
        return _each(torch.sum, x) if isinstance(x, Value) else x

    @staticmethod
    def tree_sum(x: Any) -> Any:
        """One number for the whole tree; a number is its own sum."""
        if not isinstance(x, Value):
            return x
        return torch.stack([part.sum() for part in x.parts]).sum()

    @staticmethod
    def row_mean(x: Any) -> Any:
        """One number for each row of every array: `[m, 1, ...]`."""
        return _each(_row_mean, x) if isinstance(x, Value) else x

    @staticmethod
    def column_mean(x: Any) -> Any:
        """One number for each column of every array: `[1, n, ...]`."""
        return _each(_column_mean, x) if isinstance(x, Value) else x

    @staticmethod
    def by_matrix(x: Any, function: Callable[..., Any], otherwise: Callable[..., Any]) -> Any:
        """A function of every array as a matrix; another one of what is none."""

        def of(part: Tensor) -> Tensor:
            if part.dim() < 2:
                return otherwise(OPS, part)
            if not part.numel():
                return part.clone()
            return function(torch, part.reshape(len(part), -1)).reshape(part.shape)

        return _each(of, x) if isinstance(x, Value) else otherwise(OPS, x)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def function(*arguments: Any) -> Any:
            if any(isinstance(a, Value) for a in arguments):
                together = _TOGETHER.get(name)
                if together is not None:
                    return Value(list(together(arguments[0].parts)))
                return _each(_on_tensors(name), *map(_plain, arguments))
            if any(isinstance(a, Tensor) for a in arguments):
                return _on_tensors(name)(*map(_plain, arguments))
            return np.float32(getattr(np, name)(*arguments))

        return function


# No result is its argument: it may be written over.


def _row_mean(x: Tensor) -> Tensor:
    return _mean(x, list(range(1, x.dim()))) if x.dim() > 1 else x.clone()


def _column_mean(x: Tensor) -> Tensor:
    return _mean(x, [0]) if x.dim() else x.clone()


def _mean(x: Tensor, axes: list[int]) -> Tensor:
    """The mean of nothing is 0."""
    return x.mean(dim=axes, keepdim=True) if x.numel() else x.sum(dim=axes, keepdim=True)


#: What PyTorch computes on a list of tensors in one call.
_TOGETHER: dict[str, Callable[..., Any]] = {
    "abs": torch._foreach_abs,
    "sqrt": torch._foreach_sqrt,
    "exp": torch._foreach_exp,
    "expm1": torch._foreach_expm1,
    "log": torch._foreach_log,
    "log2": torch._foreach_log2,
    "log10": torch._foreach_log10,
    "sin": torch._foreach_sin,
    "cos": torch._foreach_cos,
    "tan": torch._foreach_tan,
    "sinh": torch._foreach_sinh,
    "cosh": torch._foreach_cosh,
    "tanh": torch._foreach_tanh,
    "arcsin": torch._foreach_asin,
    "arccos": torch._foreach_acos,
    "arctan": torch._foreach_atan,
    "sign": lambda parts: signs(parts, fresh=False),
}


def _plain(value: Any) -> Any:
    """What PyTorch takes: Python's numbers in the place of NumPy's."""
    return float(value) if isinstance(value, np.floating) else value


def _on_tensors(name: str) -> Callable[..., Tensor]:
    """The function of PyTorch that is NumPy's of this name."""
    if name in ("maximum", "minimum"):
        return lambda x, y: getattr(torch, name)(_tensor(x, y), _tensor(y, x))
    if name == "power":
        return lambda x, y: torch.pow(x, y)
    if name == "cbrt":
        return _cbrt
    if name == "sign":
        return lambda x: signs([x], fresh=False)[0]
    found: Callable[..., Tensor] = getattr(torch, name)
    return found


def _tensor(x: Any, beside: Any) -> Tensor:
    if isinstance(x, Tensor):
        return x
    return torch.tensor(x, dtype=beside.dtype, device=beside.device)


def _cbrt(x: Tensor) -> Tensor:
    return torch.copysign(x.double().abs().pow(1.0 / 3.0), x).to(x.dtype)


def signs(parts: list[Tensor], fresh: bool) -> list[Tensor]:
    """The signs; NaN stays NaN, which `torch.sign` makes 0.

    Arguments:
        fresh: whether the tensors may be written over.
    """
    if fresh:
        torch._foreach_mul_(parts, _LARGE)
    else:
        parts = list(torch._foreach_mul(parts, _LARGE))
    torch._foreach_mul_(parts, _LARGE)
    torch._foreach_clamp_min_(parts, -1.0)
    torch._foreach_clamp_max_(parts, 1.0)
    return parts


OPS = _Ops()


def apply(function: str, arguments: list[Any], free: tuple[bool, ...] = (False,) * 3) -> Any:
    """One function of the table.

    Arguments:
        function: its name.
        arguments: `Value`s, 0-d tensors and `np.float32`s.
        free: for each argument whether it is a `Value` that may be written over, as nobody reads
            it again and it is of the kind of the result.
    """
    kernel = _KERNELS.get(function)
    if kernel is not None:
        result = kernel(arguments, free)
        if result is not None:
            return result
    result = BY_NAME[function].compute(OPS, *arguments)
    return result if isinstance(result, Value | Tensor) else np.float32(result)


# -- the same definitions with fewer passes over memory --------------------------------
#
# Each gives None where it does not apply: then the table's own definition is computed.


def _commutative(in_place: Callable[..., Any]) -> Callable[..., Any]:
    def kernel(arguments: list[Any], free: tuple[bool, ...]) -> Value | None:
        x, y = arguments
        if not free[0] and free[1]:
            x, y, free = y, x, free[::-1]
        if not free[0] or isinstance(y, Tensor):
            return None
        in_place(x.parts, y.parts if isinstance(y, Value) else float(y))
        return x

    return kernel


def _subtract(arguments: list[Any], free: tuple[bool, ...]) -> Value | None:
    x, y = arguments
    if not free[0] or isinstance(y, Tensor):
        return None
    torch._foreach_sub_(x.parts, y.parts if isinstance(y, Value) else float(y))
    return x


def _divide(arguments: list[Any], free: tuple[bool, ...]) -> Value | None:
    x, y = arguments
    if isinstance(y, Tensor) or not isinstance(x, Value):
        return None
    if isinstance(y, Value):
        divisor: Any = y.parts
        if free[1]:
            torch._foreach_add_(divisor, EPSILON)
        else:
            divisor = torch._foreach_add(divisor, EPSILON)
    else:
        divisor = float(np.float32(y) + np.float32(EPSILON))
        if divisor == 0.0:
            return None
    if free[0]:
        torch._foreach_div_(x.parts, divisor)
        return x
    return Value(list(torch._foreach_div(x.parts, divisor)))


def _unary(in_place: Callable[..., Any]) -> Callable[..., Any]:
    def kernel(arguments: list[Any], free: tuple[bool, ...]) -> Value | None:
        (x,) = arguments
        if not free[0]:
            return None
        in_place(x.parts)
        return x

    return kernel


def _square(arguments: list[Any], free: tuple[bool, ...]) -> Value | None:
    (x,) = arguments
    if not free[0]:
        return None
    torch._foreach_mul_(x.parts, x.parts)
    return x


def _sqrt(arguments: list[Any], free: tuple[bool, ...]) -> Value | None:
    (x,) = arguments
    if not isinstance(x, Value):
        return None
    if free[0]:
        torch._foreach_abs_(x.parts)
    else:
        x = Value(list(torch._foreach_abs(x.parts)))
    torch._foreach_sqrt_(x.parts)
    return x


def _sign(arguments: list[Any], free: tuple[bool, ...]) -> Value | None:
    (x,) = arguments
    return Value(signs(x.parts, fresh=free[0])) if isinstance(x, Value) else None


def _interp(arguments: list[Any], free: tuple[bool, ...]) -> Value | None:
    """(1 - a) x + a y, as one product and one product added."""
    x, y, a = arguments
    if not (isinstance(x, Value) and isinstance(y, Value) and isinstance(a, np.floating)):
        return None
    if any(p.shape != q.shape for p, q in zip(x.parts, y.parts, strict=True)):
        return None
    first, second = float(np.float32(1.0) - a), float(a)
    if free[1]:
        x, y, first, second = y, x, second, first
    if free[0] or free[1]:
        torch._foreach_mul_(x.parts, first)
    else:
        x = Value(list(torch._foreach_mul(x.parts, first)))
    torch._foreach_add_(x.parts, y.parts, alpha=second)
    return x


_KERNELS: dict[str, Callable[[list[Any], tuple[bool, ...]], Value | None]] = {
    "add": _commutative(torch._foreach_add_),
    "multiply": _commutative(torch._foreach_mul_),
    "subtract": _subtract,
    "abs": _unary(torch._foreach_abs_),
    "negative": _unary(torch._foreach_neg_),
    "divide": _divide,
    "square": _square,
    "sqrt": _sqrt,
    "sign": _sign,
    "interp": _interp,
}
