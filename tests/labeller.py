"""Which sign optimizer a program is, decided from its updates alone.

A program is run as a black box on a recorded stream: gradients and weights are supplied,
updates are recorded, nothing of its text is looked at. With that stream,

`lion` is a program whose update is, at every step,

    c sign((1 - beta1) g_t + beta1 m_{t-1}) + d w,    m_t = (1 - beta2) g_t + beta2 m_{t-1}

elementwise, from m = 0, with c > 0 and d functions of the schedule (and of time) alone,
0 < beta1 < 1 and 0 < beta2 < 1, and whose signs differ from those of every one-beta rule
`sign(m_t)` on at least 0.1 % of the elements. If they do not, it is `signum`, or `signsgd` if
they are the signs of g_t on 99.9 %.

What follows from it: a slot may hold any multiple of the average; a positive factor or an
odd increasing function around the argument of the sign changes nothing; x / (|x| + 1e-8) is
a sign; a clip, a norm or a curve before the average makes another average, and no Lion; nor
is one whose betas depend on the schedule, or one that ascends.

Undecidable (`is_lion` None) is what lies near a border:
- signs that agree with the best Lion on 99.8 % to 99.98 % (Lion itself, in float32, does so
  on more). From 99.9 % on the family is still "lion", and the extras say "approximate".
- signs that differ from the best one-beta rule on 0.05 % to 0.15 %;
- betas that the stream cannot tell from 0 or 1 (within about 1e-4; within about 1e-5
  they are taken for 0 or 1);
- updates of equal size only where gradients are about 1, not where they are 1e-3.

Programs of the paper before they were simplified (4 and 8) clip the gradient first and take
its arcsine, so they are not Lion on `full_stream()`; on `small_stream()`, whose gradients
are below every clip, they are. `Label.agreement` says how far from Lion a sign rule is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, NamedTuple, NoReturn

import numpy as np

from primitives.functions import BY_NAME
from primitives.program import GRADIENT, RATE, UPDATE, WEIGHTS, Program

Array = np.ndarray

RUNS, ARRAYS, ELEMENTS, STEPS = 3, 4, 64, 200
#: The largest gradient: float32 still holds exp(x) and exp(-x), times small numbers too.
LARGEST = 60.0
#: A program that is no sign rule shows it in the first steps.
FIRST_STEPS = 12

#: Agreement from which on a rule is taken for the same, and for possibly the same.
SAME, NEARLY, POSSIBLY = 0.9998, 0.999, 0.998
#: Shares of signs that differ from the best one-beta rule: below it is one, above it is not.
ONE_BETA, TWO_BETAS = 0.0005, 0.0015
#: The largest beta2 told from 1.
MOST_BETA2 = 0.9999
#: As many signs of the stream do not tell two rules apart.
FEW = 2.5


class Tier(NamedTuple):
    """How equal the sizes of updates must be for gradients of a size.

    x / (|x| + 1e-8) is 1 up to 0.002 if |x| > 5e-6; that holds for nearly all elements only
    where gradients are large. Only the signs of tiny ones count.

    Attributes:
        least: what most sizes must reach, relative to the common one.
        share: how many must.
        strict: they are no signs otherwise; else it is left open.
    """

    least: float
    share: float
    strict: bool


LARGE, MIDDLE = Tier(0.998, 0.995, True), Tier(0.998, 0.93, True)
SMALL, TINY = Tier(0.95, 0.9, False), Tier(0.0, 0.0, False)


def _tier(decade: float) -> Tier:
    """The tier of gradients from 10^decade on."""
    return LARGE if decade >= -1 else MIDDLE if decade >= -3 else SMALL if decade >= -4 else TINY


# The stream ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """Inputs of `RUNS` runs side by side, arrays `[steps, runs, arrays, elements]`.

    Runs 0 and 1 differ in the weights alone. Run 2 has other weights, and the gradients of
    run 0 in the elements of even number only, so what depends on other elements shows.

    Attributes:
        gradients, weights: float32.
        rates: the schedule `[steps]`, from 1 down to almost 0, in no order, with repeats.
        tiers: the size of the gradients of each array, for the test of the updates' size:
            a `Tier`.
    """

    gradients: Array
    weights: Array
    rates: Array
    tiers: tuple[Tier, ...]

    @cached_property
    def flat(self) -> Array:
        """The gradients of run 0, float64 `[steps, elements of all arrays]`."""
        return self.gradients[:, 0].reshape(STEPS, -1).astype(np.float64)

    @cached_property
    def light(self) -> Stream:
        """The same with weights so small that no decay drowns what is beside it."""
        return replace(self, weights=self.weights * np.float32(1e-5))

    @cached_property
    def grid(self) -> _Grid:
        return _Grid(self.flat)


def _noise(rng: np.random.Generator) -> Array:
    """Noise with correlations in time from none to long; a part has a constant sign."""
    shape = (ARRAYS, ELEMENTS)
    memory = rng.choice([0.0, 0.0, 0.5, 0.9, 0.99, -0.5], shape)
    bias = rng.choice([0.0, 0.0, 0.0, 0.05, -0.3, 1.0, -5.0], shape)
    state, steps = rng.standard_normal(shape), []
    for _ in range(STEPS):
        state = memory * state + np.sqrt(1 - memory**2) * rng.standard_normal(shape)
        # Heavy tails: now and then one gradient outweighs its whole past.
        steps.append((state + bias) * np.exp(0.7 * rng.standard_normal(shape)))
    return np.stack(steps)


def _gradients(rng: np.random.Generator, scales: Array, swing: float) -> Array:
    """One run: noise, times the scale of each element, times swings in time.

    Each array swings by itself, and now and then all are smaller for eight steps.
    """
    phase = rng.uniform(0, 2 * np.pi, (2, ARRAYS, 1))
    time = np.arange(STEPS)[:, None, None]
    waves = np.sin(time / 17 + phase[0]) + np.sin(time / 3.1 + phase[1])
    level = np.repeat(rng.choice([-2.5, -0.8, 0.0, 0.0], STEPS // 8), 8)[:, None, None]
    swings = np.exp(swing * (waves / 2 + level))
    return np.clip(_noise(rng) * scales * swings, -LARGEST, LARGEST)


def _stream(seed: int, decades: list[tuple[float, float]], least: float, swing: float) -> Stream:
    rng = np.random.default_rng(seed)
    scales = 10.0 ** np.stack([rng.uniform(low, high, ELEMENTS) for low, high in decades])
    first, other = _gradients(rng, scales, swing), _gradients(rng, scales, swing)
    mixed = np.where(np.arange(ELEMENTS) % 2, other, first)
    weights = rng.standard_normal((1, RUNS, ARRAYS, ELEMENTS)) * 0.3
    weights = weights + 0.2 * rng.standard_normal((STEPS, RUNS, ARRAYS, ELEMENTS))
    apart = rng.uniform(0.5, 1.5, (STEPS, ARRAYS, ELEMENTS))
    weights[:, 1] = weights[:, 0] + apart * rng.choice([-1.0, 1.0], apart.shape)
    rates = rng.permutation(np.tile(np.geomspace(1.0, least, STEPS // 10), 10))
    tiers = tuple(_tier(low) for low, _ in decades)
    gradients = np.stack([first, first, mixed], axis=1)
    return Stream(*(a.astype(np.float32) for a in (gradients, weights, rates)), tiers)


@cache
def full_stream() -> Stream:
    """Gradients from 1e-6 to 60."""
    return _stream(1, [(-6.0, -5.5), (-3.5, -2.0), (-0.5, 0.5), (-1.0, 1.0)], 0.003, 1.5)


@cache
def small_stream() -> Stream:
    """Gradients about 1e-3: a clip to the schedule or a curve leaves them as they are.

    So does an update's term that vanishes with the gradient: it is not seen here.
    """
    return _stream(2, [(-3.0, -2.5), (-3.0, -2.5), (-3.0, -2.5), (-2.5, -2.3)], 0.5, 0.3)


# Running ------------------------------------------------------------------------------


class _Ops:
    """NumPy on runs side by side `[runs, arrays, elements]`, and the two reductions.

    A per-array value is `[runs, arrays, 1]`; a scalar `[runs, 1, 1]`, or has no axes.
    """

    @staticmethod
    def array_sum(x: Any) -> Any:
        return np.sum(x, axis=-1, keepdims=True) if np.ndim(x) else x

    @staticmethod
    def tree_sum(x: Any) -> Any:
        return np.sum(x, axis=(-2, -1), keepdims=True) if np.ndim(x) else x

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(np, name)


_OPS = _Ops()


class Runner:
    """`primitives.reference.run_step`, for several runs at once; `step` gives the updates."""

    def __init__(self, program: Program, shape: tuple[int, ...]) -> None:
        self.lines = [
            (s.target, BY_NAME[s.function].compute, [_constant_or_name(a) for a in s.arguments])
            for s in program.statements
        ]
        self.slots = {slot: np.zeros(shape, np.float32) for slot in program.slots}

    def step(self, weights: Array, gradients: Array, rate: np.float32) -> Array:
        values: dict[str, Any] = {**self.slots, WEIGHTS: weights, GRADIENT: gradients, RATE: rate}
        for target, compute, arguments in self.lines:
            result = compute(_OPS, *[values[a] if type(a) is str else a for a in arguments])
            values[target] = result if np.ndim(result) else np.float32(result)
        self.slots = {slot: values[slot] for slot in self.slots}
        return values[UPDATE]


def _constant_or_name(argument: Any) -> Any:
    return argument if isinstance(argument, str) else np.float32(argument)


# Updates as signs ---------------------------------------------------------------------


class Signs(NamedTuple):
    """Updates taken apart.

    Attributes:
        signs: int8 `[steps, runs, arrays, elements]`, 0 where the update is about zero.
        decay: the coefficient of the weights `[steps]`.
        size: the common size of the signs `[steps]`.
        soft: the sizes are common only where gradients are about 1.
    """

    signs: Array
    decay: Array
    size: Array
    soft: bool


class _NotSigns(Exception):
    """The updates are no signs; the message says why."""


class _Drowned(_NotSigns):
    """There is nothing beside weight decay that float32 would show."""


def _take_apart(updates: Array, stream: Stream) -> Signs:
    """Updates `[steps, runs, arrays, elements]` as `size * signs + decay * weights`."""
    if not np.isfinite(updates).all():
        raise _NotSigns("the update is not finite")
    updates, weights = updates.astype(np.float64), stream.weights[: len(updates)]
    decay = _decay(updates, weights)
    drift = decay[:, None, None, None] * weights
    rest = np.abs(updates - drift)
    strict = [i for i, tier in enumerate(stream.tiers) if tier.strict]
    size = np.median(rest[:, :, strict].reshape(len(rest), -1), axis=1)
    # What float32 leaves after the subtraction.
    grain = 1.5e-7 * np.abs(decay) * np.abs(weights).max() + 1e-44
    told = size > 100 * grain
    if not told.all():
        _refuse_drowned(rest[~told], np.maximum(size, grain)[~told])
    relative = rest / size[:, None, None, None]
    noise = (grain / size)[:, None, None, None]
    soft = _check_sizes(relative, noise, stream.tiers)
    signs = np.where(relative > 1e-5 + 2 * noise, np.sign(updates - drift), 0).astype(np.int8)
    return Signs(signs, decay, size, soft)


def _refuse_drowned(rest: Array, size: Array) -> NoReturn:
    """Raise for steps at which most updates seem to be nothing but weight decay."""
    if (rest.reshape(len(rest), -1).max(axis=1) > 1000 * size).any():
        raise _NotSigns("the updates are not of equal size")
    raise _Drowned("at some steps there is no update beside weight decay")


def _decay(updates: Array, weights: Array) -> Array:
    """The coefficient of the weights, from the two runs that differ in nothing else."""
    ratio = (updates[:, 0] - updates[:, 1]) / (weights[:, 0] - weights[:, 1])
    return np.median(ratio.reshape(len(ratio), -1), axis=1)


def _check_sizes(relative: Array, noise: Array, tiers: tuple[Tier, ...]) -> bool:
    """Whether sizes are equal only for large gradients; raises if they are not even there."""
    if (relative > 1.002 + 2 * noise).mean() > 1 - SAME:
        raise _NotSigns("the updates are not of equal size")
    soft = False
    for i, tier in enumerate(tiers):
        full = relative[:, :, i] > tier.least - 2 * noise[..., 0]
        # At no step may many differ, even if few do at most steps.
        uneven = full.mean() < tier.share or full.mean(axis=(1, 2)).min() < tier.share - 0.15
        if uneven and tier.strict:
            raise _NotSigns("the updates are not of equal size")
        soft = soft or bool(uneven)
    return soft


def record(program: Program, stream: Stream) -> Signs:
    """Run a program on a stream and take its updates apart; light weights if heavy ones drown it.

    Raises:
        _NotSigns: if they are no signs.
    """
    try:
        return _record(program, stream)
    except _Drowned:
        return _record(program, stream.light)


def _record(program: Program, stream: Stream) -> Signs:
    """Run a program on a stream and take its updates apart.

    Raises:
        _NotSigns: early, if the first steps show it.
    """
    runner = Runner(program, stream.gradients.shape[1:])
    updates = np.empty_like(stream.gradients)
    with np.errstate(all="ignore"):
        for t in range(STEPS):
            updates[t] = runner.step(stream.weights[t], stream.gradients[t], stream.rates[t])
            if t + 1 == FIRST_STEPS:
                _take_apart(updates[:FIRST_STEPS], stream)
        return _take_apart(updates, stream)


# Fitting two betas --------------------------------------------------------------------
#
# Up to a factor the argument of the sign is g + rho S with S_t = g_t + beta2 S_{t-1} of the
# step before; rho = beta1 / (1 - beta1) * (1 - beta2), and rho = beta2 is the one-beta rule.
# For a given beta2 each element's sign says that rho lies above or below -g/S: the best rho
# is where the running count of these votes is highest.


def _sums(gradients: Array, beta2: Array) -> Array:
    """S of the step before, `[candidates, steps, elements]`, zero at the first step."""
    sums = np.zeros((len(beta2), *gradients.shape))
    for t in range(1, len(gradients)):
        sums[:, t] = beta2[:, None] * sums[:, t - 1] + gradients[t - 1]
    return sums


def _logistic(logits: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-logits))


class Fit(NamedTuple):
    """The best of some two-beta rules, with the share of signs it gives right."""

    agreement: float
    rho: float
    beta2: float

    @property
    def beta1(self) -> float:
        return self.rho / (self.rho + 1 - self.beta2)


class _Grid:
    """What can be computed ahead for a stream: votes in order for a grid of beta2."""

    LOGITS = np.arange(-6.0, 12.1, 0.3)
    SAMPLE = 8192

    def __init__(self, gradients: Array) -> None:
        rng = np.random.default_rng(0)
        steps, elements = gradients.shape
        places = np.arange(elements, steps * elements)  # at the first step S is zero
        self.sample = rng.choice(places, self.SAMPLE, replace=False)
        self.beta2 = _logistic(self.LOGITS)
        sums = _sums(gradients, self.beta2)
        drawn = sums.reshape(len(sums), -1)[:, self.sample]
        self.border = -gradients.ravel()[self.sample] / drawn
        self.order = np.argsort(self.border, axis=1)
        self.border = np.take_along_axis(self.border, self.order, axis=1)
        self.side = np.sign(np.take_along_axis(drawn, self.order, axis=1)).astype(np.int8)
        self.first = np.array([np.searchsorted(row, 0.0) for row in self.border])
        one = gradients + self.beta2[:, None, None] * sums
        self.one_beta = np.sign(one).reshape(len(one), -1).astype(np.float32)

    def best(self, signs: Array) -> tuple[Fit, float]:
        """The best two-beta rule for signs `[steps * elements]`; the least agreement of any."""
        drawn = signs[self.sample]
        votes = drawn[self.order] * self.side
        scores = np.cumsum(votes, axis=1, dtype=np.int32) + (votes < 0).sum(axis=1)[:, None]
        scores[np.arange(self.SAMPLE) < self.first[:, None] - 1] = -1  # rho below zero
        row, place = np.unravel_index(np.argmax(scores), scores.shape)
        low, high = self.border[row, place], self.border[row, min(place + 1, self.SAMPLE - 1)]
        rho = max((low + high) / 2, 1e-9)
        total = max(int((drawn != 0).sum()), 1)
        least = np.where(scores < 0, total, scores).min() / total
        share = int(scores[row, place]) / total
        return Fit(share, float(rho), float(self.beta2[row])), float(least)

    def best_one_beta(self, signs: Array) -> int:
        """Which of the grid's betas makes the best one-beta rule."""
        return int(np.argmax(self.one_beta @ signs.astype(np.float32)))


def _agreement(signs: Array, arguments: Array) -> float:
    """The share of the signs that are not zero that the arguments have."""
    told = signs != 0
    return float(((np.sign(arguments) == signs) & told).sum() / max(told.sum(), 1))


def _fit_rho(signs: Array, gradients: Array, sums: Array) -> tuple[float, float]:
    """Of elements `[n]`, the best rho > 0 and how many signs it gives wrong."""
    with np.errstate(all="ignore"):
        border = -gradients / sums
    order = np.argsort(border)
    border, votes = border[order], (signs * np.sign(sums).astype(np.int8))[order]
    scores = np.cumsum(votes, dtype=np.int32)
    first = max(int(np.searchsorted(border, 0.0)) - 1, 0)
    best = first + int(np.argmax(scores[first:]))
    # The middle of all equally good places: ties are many where few votes are near.
    last = len(scores) - 1 - int(np.argmax(scores[::-1] == scores[best]))
    low, high = max(border[best], 0.0), border[min(last + 1, len(border) - 1)]
    wrong = int((votes > 0).sum()) - int(scores[best])
    return float(np.clip((low + high) / 2, 1e-9, 1e9)), wrong


class _Zoom:
    """The elements whose signs tell apart the rules near a rough fit."""

    COUNT = 6000

    def __init__(self, signs: Array, gradients: Array, rough: Fit) -> None:
        self.gradients = gradients
        sums = _sums(gradients, np.array([rough.beta2]))[0]
        size = np.abs(gradients) + rough.rho * np.abs(sums)
        doubt = np.abs(gradients + rough.rho * sums) / size
        doubt[0] = np.inf
        doubt[signs.reshape(doubt.shape) == 0] = np.inf
        self.places = np.argpartition(doubt.ravel(), self.COUNT)[: self.COUNT]
        self.signs, self.near = signs[self.places], gradients.ravel()[self.places]

    def at(self, beta2: Array) -> list[tuple[float, float]]:
        """For each beta2 the best rho, and how many signs it gives wrong."""
        sums = _sums(self.gradients, beta2).reshape(len(beta2), -1)[:, self.places]
        return [_fit_rho(self.signs, self.near, row) for row in sums]


def _refine(signs: Array, gradients: Array, rough: Fit) -> Fit:
    """Narrow a fit down, six times, each time a grid of a quarter of the last one's step."""
    logit, step = float(np.log(rough.beta2 / (1 - rough.beta2))), 0.3
    zoom, rho = _Zoom(signs, gradients, rough), rough.rho
    for level in range(6):
        logits = logit + step * np.linspace(-1.25, 1.25, 9)
        found = zoom.at(_logistic(logits))
        least = min(wrong for _, wrong in found)
        ties = [i for i, (_, wrong) in enumerate(found) if wrong == least]
        middle = ties[len(ties) // 2]
        logit, rho, step = float(logits[middle]), found[middle][0], step / 3.2
        if level == 1:  # the rough fit chose other elements
            zoom = _Zoom(signs, gradients, Fit(0.0, rho, float(_logistic(np.float64(logit)))))
    beta2 = float(_logistic(np.float64(logit)))
    sums = _sums(gradients, np.array([beta2]))[0]
    return Fit(_agreement(signs, (gradients + rho * sums).ravel()), rho, beta2)


def _at_beta2(signs: Array, gradients: Array, near: Fit, beta2: float) -> Fit:
    """The best two-beta rule with this beta2."""
    sums = _sums(gradients, np.array([beta2]))[0]
    rho, _ = _Zoom(signs, gradients, near).at(np.array([beta2]))[0]
    return Fit(_agreement(signs, (gradients + rho * sums).ravel()), rho, beta2)


def _polish(signs: Array, gradients: Array, best: Fit) -> Fit:
    """A slow search around a fit that ties and few votes may have led astray."""
    if best.beta2 > MOST_BETA2:
        best = _at_beta2(signs, gradients, best, MOST_BETA2)
    middle, top = (float(np.log(beta / (1 - beta))) for beta in (best.beta2, MOST_BETA2))
    logits = np.concatenate([middle + np.linspace(-1, 1, 41), np.linspace(middle, top, 41)])
    logits = np.minimum(logits, top)
    found = _Zoom(signs, gradients, best).at(_logistic(logits))
    least = min(wrong for _, wrong in found)
    near = [i for i, (_, wrong) in enumerate(found) if wrong <= least + 1]
    betas = [float(_logistic(logits[i])) for i in near[:: max(len(near) // 8, 1)]]
    others = [_at_beta2(signs, gradients, best, beta2) for beta2 in betas]
    return max([best, *others], key=lambda fit: fit.agreement)


def _one_beta_agreement(signs: Array, gradients: Array, beta: float) -> float:
    arguments = gradients + beta * _sums(gradients, np.array([beta]))[0]
    return _agreement(signs, arguments.ravel())


def _one_beta(signs: Array, stream: Stream) -> tuple[float, float]:
    """The best one-beta rule: its beta and its agreement."""
    grid, gradients = stream.grid, stream.flat
    logit, step = float(grid.LOGITS[grid.best_one_beta(signs)]), 0.3
    best = (0.0, -1.0)
    for _ in range(6):
        logits = logit + step * np.linspace(-1.25, 1.25, 9)
        betas = _logistic(logits)
        arguments = gradients + betas[:, None, None] * _sums(gradients, betas)
        shares = [_agreement(signs, a.ravel()) for a in arguments]
        ties = np.flatnonzero(np.array(shares) == max(shares))
        middle = ties[len(ties) // 2]
        best = max(best, (float(shares[middle]), float(betas[middle])))
        logit, step = float(logits[middle]), step / 3.2
    return best[1], best[0]


# The label ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Label:
    """What a program is.

    Attributes:
        is_lion: None if it lies too near a border to say.
        family: "lion", "signum" (one beta), "signsgd", or None for all else; where
            `is_lion` is None, the nearer guess.
        reason: why, in words.
        beta1, beta2: of the best two-beta rule; for signum both are its beta; None where
            the updates are no signs.
        agreement: the share of signs that the best two-beta rule gives right; 0 where the
            updates are no signs.
        one_beta_agreement: that of the best one-beta rule.
        decay: the median over the steps of decay over size: 0.1 for Lion in the zoo.
        extras: "approximate", "soft" (equal size for large gradients only), "weight decay",
            "negative weight decay", "scale changes with time".
    """

    is_lion: bool | None
    family: str | None
    reason: str
    beta1: float | None = None
    beta2: float | None = None
    agreement: float = 0.0
    one_beta_agreement: float = 0.0
    decay: float = 0.0
    extras: tuple[str, ...] = ()


def label(program: Program, stream: Stream | None = None) -> Label:
    """Label a valid program by its updates on a stream, by default `full_stream()`."""
    stream = stream or full_stream()
    try:
        signs = record(program, stream)
    except _NotSigns as why:
        return Label(False, None, str(why))
    return _label_signs(signs, stream)


def _label_signs(found: Signs, stream: Stream) -> Label:
    return _Judge(found, stream).verdict()


class _Judge:
    """Compares signs with the rules that are known, the simplest first."""

    def __init__(self, found: Signs, stream: Stream) -> None:
        self.found, self.stream = found, stream
        self.signs, self.gradients = found.signs[:, 0].reshape(-1), stream.flat
        self.extras = _extras(found, stream)
        self.fitted: dict[str, float] = {}

    def verdict(self) -> Label:
        zero_memory = _agreement(self.signs, self.gradients.ravel())
        if zero_memory > 1 - ONE_BETA:
            self._fit_is(Fit(zero_memory, 0.0, 0.0), zero_memory)
            return self._label(False, "signsgd", "the signs of the gradient")
        beta, one = _one_beta(self.signs, self.stream)
        best, least = self.stream.grid.best(self.signs)
        if best.agreement > 0.9:
            best = _refine(self.signs, self.gradients, best)
        self._fit_is(best, one)
        dependence = _dependence(self.found.signs)
        if dependence > 1 - POSSIBLY:
            reason = "the signs depend on the weights or on other elements"
            return self._label(False, None, reason)
        if one > 1 - TWO_BETAS:
            # With rho = beta2 both betas are the one.
            self._fit_is(Fit(max(best.agreement, one), beta, beta), one)
            return self._near_one_beta(beta, one, zero_memory)
        if best.agreement < POSSIBLY:
            ascends = 1 - least > 0.99
            reason = "it ascends" if ascends else "no two-beta rule has these signs"
            return self._label(False, None, reason)
        return self._at_an_edge(best) or self._near_two_betas(dependence)

    def _fit_is(self, best: Fit, one_beta_agreement: float) -> None:
        self.fitted = {
            "agreement": max(best.agreement, one_beta_agreement),
            "beta1": best.beta1,
            "beta2": best.beta2,
            "one_beta_agreement": one_beta_agreement,
        }

    def _label(self, is_lion: bool | None, family: str | None, reason: str) -> Label:
        if self.found.soft and is_lion:
            is_lion = None
        size = self.found.size
        decay = float(np.median(self.found.decay / size))
        return Label(is_lion, family, reason, decay=decay, extras=self.extras, **self.fitted)

    def _near_one_beta(self, beta: float, one: float, zero_memory: float) -> Label:
        is_lion = False if one > 1 - ONE_BETA else None
        if zero_memory > NEARLY:
            return self._label(is_lion, "signsgd", "almost the signs of the gradient")
        if beta > MOST_BETA2 and _one_beta_agreement(self.signs, self.gradients, 1.0) >= one:
            return self._label(False, None, "the signs of a sum")
        return self._label(is_lion, "signum", "the signs of one average, or almost")

    def _at_an_edge(self, best: Fit) -> Label | None:
        """A label if betas that are 0 or 1 fit as well; a better fit may come of looking closer."""
        edge, reason = _edges(self.signs, self.gradients, best)
        if edge <= POSSIBLY:
            return None
        close = _polish(self.signs, self.gradients, best)
        self._fit_is(close, self.fitted["one_beta_agreement"])
        ahead = (close.agreement - edge) * np.count_nonzero(self.signs)
        if ahead <= -FEW and (edge == 1 or max(edge, best.agreement) < SAME):
            return self._label(False, None, reason)
        return self._label(None, self._nearer(), reason) if ahead < FEW else None

    def _near_two_betas(self, dependence: float) -> Label:
        if self.fitted["agreement"] < SAME or dependence > 1 - SAME:
            self.extras = (*self.extras, "approximate")
            return self._label(None, self._nearer(), "almost a two-beta rule")
        if not _other_run_agrees(self.found.signs, self.stream, self.fitted):
            return self._label(False, None, "other gradients give other betas")
        return self._label(True, "lion", "the signs of two averages")

    def _nearer(self) -> str | None:
        return "lion" if self.fitted["agreement"] >= NEARLY else None


def _dependence(signs: Array) -> float:
    """How many signs change with the weights, or with the gradients of other elements."""
    first, reweighted, mixed = signs[:, 0], signs[:, 1], signs[:, 2]
    pairs = ((first, reweighted), (first[..., ::2], mixed[..., ::2]))
    return max(float(((a != b) & (a != 0) & (b != 0)).mean()) for a, b in pairs)


def _edges(signs: Array, gradients: Array, best: Fit) -> tuple[float, str]:
    """How well betas fit that are no Lion's, being 0 or 1: the best agreement, and which."""
    latest = _sums(gradients, np.array([best.beta2]))[0]
    latest[0] = gradients[0]
    edges = {
        "beta1 is 1 or cannot be told from it": _agreement(signs, latest.ravel()),
        "beta2 is 1 or cannot be told from it": _at_beta2(signs, gradients, best, 1.0).agreement,
        "beta2 is 0 or cannot be told from it": _at_beta2(signs, gradients, best, 0.0).agreement,
    }
    return max((agreement, reason) for reason, agreement in edges.items())


def _other_run_agrees(signs: Array, stream: Stream, fitted: dict[str, float]) -> bool:
    gradients = stream.gradients[:, 2].reshape(STEPS, -1).astype(np.float64)
    beta1, beta2 = fitted["beta1"], fitted["beta2"]
    rho = beta1 / (1 - beta1) * (1 - beta2)
    arguments = gradients + rho * _sums(gradients, np.array([beta2]))[0]
    return _agreement(signs[:, 2].reshape(-1), arguments.ravel()) >= SAME - 0.0003


def _extras(found: Signs, stream: Stream) -> tuple[str, ...]:
    decay = np.median(found.decay / found.size)
    scale = {rate: found.size[stream.rates == rate] for rate in set(stream.rates.tolist())}
    steady = all(np.ptp(sizes) < 5e-3 * sizes.max() for sizes in scale.values())
    named = {
        "soft": found.soft,
        "weight decay": decay > 1e-6,
        "negative weight decay": decay < -1e-6,
        "scale changes with time": not steady,
    }
    return tuple(name for name, holds in named.items() if holds)
