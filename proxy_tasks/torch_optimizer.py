"""A program as a PyTorch optimizer, interpreted: nothing is written out, nothing is executed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from primitives.abstract import analyse, live_program
from primitives.functions import BY_NAME, SCALAR, TREE
from primitives.program import GRADIENT, RATE, UPDATE, WEIGHTS, Program
from primitives.reference import narrowed
from proxy_tasks.torch_values import Value, apply

#: Elements of a tensor that stay in a core's cache with all that is computed of them.
_CACHED = 1 << 17
#: Where the state has slots that are one number.
NUMBERS = "numbers"


@dataclass(frozen=True)
class _Line:
    """One statement: for each argument a name or a number, and whether it may be written over."""

    target: str
    function: str
    arguments: tuple[str | np.float32, ...]
    free: tuple[bool, ...]


class Plan:
    """A program made ready to be interpreted often.

    Attributes:
        lines: its live statements.
        slots: its live slots.
        kinds: the kind of each.
    """

    def __init__(self, program: Program) -> None:
        analyse(program)
        program = live_program(program)
        self.slots = program.slots
        self.kinds = {slot: program.kind_of(slot) for slot in program.slots}
        functions = [BY_NAME[statement.function] for statement in program.statements]
        #: Whether no number depends on another of its tensor.
        self.elementwise = not program.narrow and not any(f.reduces or f.shaped for f in functions)
        self.lines = tuple(_lines(program))


def _lines(program: Program) -> Iterable[_Line]:
    kinds = program.inputs()
    ends = {UPDATE, *program.slots}
    # The weights and the gradient are not the program's to write over.
    own = set(program.slots)
    for index, statement in enumerate(program.statements):
        later = program.statements[index + 1 :]
        arguments = statement.arguments
        found = [kinds[a] if isinstance(a, str) else SCALAR for a in arguments]
        kind = BY_NAME[statement.function].signatures[tuple(found)]
        free = tuple(
            isinstance(a, str)
            and a in own
            and kinds[a] == kind != SCALAR
            and arguments.count(a) == 1
            and not _read(a, statement.target, later, ends)
            for a in arguments
        )
        numbers = (a if isinstance(a, str) else np.float32(a) for a in arguments)
        yield _Line(statement.target, statement.function, tuple(numbers), free)
        kinds[statement.target] = kind
        own.add(statement.target)


def _read(name: str, target: str, later: Iterable[Any], ends: set[str]) -> bool:
    """Whether the value that a name has now is read after a statement that gives `target`."""
    if name == target:
        return False
    for statement in later:
        if name in statement.arguments:
            return True
        if statement.target == name:
            return False
    return name in ends


class Interpreted(torch.optim.Optimizer):
    """A program as an optimizer.

    All parameters that have a gradient are one tree. What has fewer than 32 bits is computed in
    float32 and copied back. The rate that the program sees is the schedule's value times the
    `lr` of the parameter group, which is 1 until somebody changes it, as PyTorch's own schedulers
    do.

    Arguments:
        params: parameters or parameter groups.
        plan: of the program.
        rates: the schedule, its value at each step; after the last it stays.
        stepped: called after each step.
    """

    #: A gradient scaler always calls `step`, which then takes the scale out.
    _step_supports_amp_scaling = True

    def __init__(
        self,
        params: Any,
        plan: Plan,
        rates: np.ndarray,
        stepped: Callable[[Interpreted], None] = lambda optimizer: None,
    ) -> None:
        super().__init__(params, {"lr": 1.0})
        self._plan = plan
        self._rates = rates
        self._stepped = stepped
        self.steps = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the closure, if there is one, computes the loss and the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        given = [(p, group["lr"]) for group in self.param_groups for p in group["params"]]
        given = [(p, lr) for p, lr in given if p.grad is not None]
        if given and self._unscaled([p.grad for p, _ in given]):
            with np.errstate(all="ignore"):
                self._update([p for p, _ in given], [lr for _, lr in given])
        self.steps += 1
        self._stepped(self)
        return loss

    def _unscaled(self, gradients: list[Any]) -> bool:
        """Take a gradient scaler's factor out of them; False if some are not finite."""
        if float(getattr(self, "found_inf", None) or 0.0):
            return False
        scale = getattr(self, "grad_scale", None)
        if scale is not None:
            torch._foreach_div_(gradients, float(scale))
        return True

    def _update(self, params: list[Tensor], rates: list[Any]) -> None:
        weights = [_wide(p.detach()) for p in params]
        gradients = [_wide(p.grad) for p in params]  # type: ignore[arg-type]
        kinds = self._plan.kinds
        slots = {
            slot: [self._slot(p, slot, kind) for p in params]
            for slot, kind in kinds.items()
            if kind != SCALAR
        }
        rate = self._rate(rates, weights)
        columns = [weights, gradients, *slots.values()]
        whole = not self._plan.elementwise or isinstance(rate, Value)
        for w, g, *own in [columns] if whole else _parts(columns):
            self._step(w, g, dict(zip(slots, own, strict=True)), rate)
        for p, wide in zip(params, weights, strict=True):
            if p.dtype != wide.dtype:
                p.copy_(wide)
        for slot, tensors in slots.items():
            for p, tensor in zip(params, tensors, strict=True):
                self.state[p][slot] = tensor

    def _step(
        self,
        weights: list[Tensor],
        gradients: list[Tensor],
        slots: dict[str, list[Tensor]],
        rate: Any,
    ) -> None:
        """A step of some tensors: the weights change, and so do the slots."""
        env: dict[str, Any] = {WEIGHTS: Value(weights), GRADIENT: Value(gradients), RATE: rate}
        for slot, kind in self._plan.kinds.items():
            number = kind == SCALAR
            env[slot] = (
                self._numbers().get(slot, np.float32(0)) if number else Value([*slots[slot]])
            )
        for line in self._plan.lines:
            values = [env[a] if isinstance(a, str) else a for a in line.arguments]
            env[line.target] = apply(line.function, values, line.free)
        torch._foreach_sub_(weights, env[UPDATE].parts)
        _keep_apart(slots, env)
        for slot, kind in self._plan.kinds.items():
            if kind == SCALAR:
                self._numbers()[slot] = env[slot]
                continue
            for old, new in zip(slots[slot], env[slot].parts, strict=True):
                if new is not old:
                    old.copy_(new.reshape(old.shape))

    def _numbers(self) -> dict[str, Any]:
        """The slots that are one number; PyTorch saves what stands there as it is."""
        state: dict[Any, Any] = self.state
        found: dict[str, Any] = state[NUMBERS]
        return found

    def _rate(self, rates: list[Any], beside: list[Tensor]) -> Any:
        """One number, or where parameter groups differ one for each parameter."""
        schedule = self._rates[min(self.steps, len(self._rates) - 1)]
        if all(rate == rates[0] for rate in rates):
            return np.float32(schedule * np.float32(float(rates[0])))
        products = (float(np.float32(schedule * np.float32(float(rate)))) for rate in rates)
        pairs = zip(products, beside, strict=True)
        return Value([torch.tensor(x, dtype=w.dtype, device=w.device) for x, w in pairs])

    def _slot(self, parameter: Tensor, name: str, kind: str) -> Tensor:
        state, wide = self.state[parameter], _wide_dtype(parameter.dtype)
        if name not in state and kind == TREE:
            state[name] = torch.zeros_like(parameter, dtype=wide)
        elif name not in state:
            shape = narrowed(tuple(parameter.shape), kind)
            state[name] = torch.zeros(shape, dtype=wide, device=parameter.device)
        # PyTorch gives what it loads the dtype of the parameter.
        found: Tensor = state[name].to(wide)
        return found

    def finite(self) -> bool:
        """Whether all weights and slots are finite."""
        tensors = [p.detach() for group in self.param_groups for p in group["params"]]
        values = [value for state in self.state.values() for value in state.values()]
        tensors += [value for value in values if isinstance(value, Tensor)]
        sums = [t.sum(dtype=torch.float64) for t in tensors if t.numel()]
        numbers = [float(value) for value in values if not isinstance(value, Tensor)]
        finite = bool(torch.stack(sums).isfinite().all()) if sums else True
        return finite and bool(np.isfinite(numbers).all())


def _keep_apart(slots: dict[str, list[Tensor]], env: dict[str, Any]) -> None:
    """What a slot ends with may lie where another one was, which is overwritten first."""
    owners = {t.data_ptr(): slot for slot, own in slots.items() for t in own if t.numel()}
    for slot in slots:
        parts = env[slot].parts
        if any(owners.get(t.data_ptr(), slot) != slot for t in parts):
            env[slot] = Value([t.clone() for t in parts])


def _parts(columns: list[list[Tensor]]) -> Iterator[list[list[Tensor]]]:
    """Of tensors that belong together, as many at a time as stay in a cache, large ones in pieces.

    All as they are where they are small, do not lie in one piece, or not on a CPU, as elsewhere a
    call costs more.
    """
    small = sum(t.numel() for t in columns[0]) <= _CACHED
    if small or not all(
        t.is_contiguous() and t.device.type == "cpu" for column in columns for t in column
    ):
        yield columns
        return
    pieces = [[part for t in column for part in t.view(-1).split(_CACHED)] for column in columns]
    begin, count = 0, 0
    for place, part in enumerate(pieces[0]):
        count += part.numel()
        if count >= _CACHED or place == len(pieces[0]) - 1:
            yield [column[begin : place + 1] for column in pieces]
            begin, count = place + 1, 0


def _wide(tensor: Tensor) -> Tensor:
    if tensor.is_sparse:
        raise ValueError("sparse gradients are not supported; use dense ones")
    wide = _wide_dtype(tensor.dtype)
    return tensor if tensor.dtype == wide else tensor.to(wide)


def _wide_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.itemsize < 4 else dtype
