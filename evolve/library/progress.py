"""What a person sees while a search runs: a panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from importlib.util import find_spec
from typing import Any, NamedTuple

from rich.live import Live
from rich.panel import Panel

from evolve.budget import duration
from evolve.library.console import Console
from evolve.library.numbers import loss, signed
from evolve.search.driver import Driver
from evolve.search.fitness import final_losses
from evolve.search.log import START
from evolve.summary import PAPER_HIT_RATE, PAPER_REDUNDANT_SHARE, best_number, redundant_share
from primitives.abstract import live_program
from primitives.text import from_text, to_text

_PANEL_SECONDS, _LINE_SECONDS = 1.0, 10.0
#: Evaluations per second are taken over this many seconds.
_WINDOW = 60.0


class Snapshot(NamedTuple):
    """The state of a run at one moment, ready to print."""

    phase: str
    elapsed: str
    remaining: str
    generated: int
    evaluated: int
    evals_per_second: float
    hit_rate: float
    redundant: float
    best: str
    program: str


class Progress:
    """Shows a driver's progress; call it often.

    Arguments:
        console: where to print.
        quiet: print nothing.
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._live: Live | None = None
        self._next = 0.0
        self._rates: deque[tuple[float, int]] = deque()

    def __enter__(self) -> Progress:
        # Rich draws over what it drew in a notebook only with ipywidgets.
        widgets = self._console.is_jupyter and find_spec("ipywidgets") is not None
        shown = self._console.is_terminal or widgets
        if shown and not self._quiet:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, driver: Driver) -> None:
        now = time.monotonic()
        if self._quiet or now < self._next:
            return
        snapshot = self._snapshot(driver)
        took = time.monotonic() - now  # longer, the more programs there are
        self._next = now + max(_PANEL_SECONDS if self._live else _LINE_SECONDS, 50 * took)
        if self._live:
            self._live.update(_panel(snapshot), refresh=True)
        else:
            self._console.print(_line(snapshot), soft_wrap=True, highlight=False, markup=False)

    def _snapshot(self, driver: Driver) -> Snapshot:
        state = driver.state
        committed = state.evaluated - state.in_flight
        return Snapshot(
            phase=driver.phase,
            elapsed=duration(driver.seconds),
            remaining=f"{max(0.0, driver.left()):.0%}",
            generated=state.generated,
            evaluated=committed,
            evals_per_second=self._rate(committed),
            hit_rate=(state.generated - state.evaluated) / max(state.generated, 1),
            redundant=redundant_share(driver.log) or 0.0,
            best=_best(driver),
            program=_program(driver),
        )

    def _rate(self, evaluated: int) -> float:
        now = time.monotonic()
        self._rates.append((now, evaluated))
        while now - self._rates[0][0] > _WINDOW:
            self._rates.popleft()
        seconds = now - self._rates[0][0]
        return (evaluated - self._rates[0][1]) / seconds if seconds else 0.0


def _champion(driver: Driver) -> int:
    return best_number(driver.log) or START


def _best(driver: Driver) -> str:
    race = driver.state.race
    if not race:
        return "-"
    number = _champion(driver)
    value, losses = race[number].fitness or 0.0, _losses(driver, number)
    return f"#{number} {signed(value)} loss {losses} (tuned start {_losses(driver, START)})"


def _program(driver: Driver) -> str:
    best = driver.log.record(_champion(driver))
    return to_text(live_program(from_text(best.program))) if best else ""


def _losses(driver: Driver, number: int) -> str:
    losses = final_losses(driver.state.race[number].marks or {})
    return ", ".join(loss(sum(v) / len(v)) for v in losses.values() if v)


def _line(s: Snapshot) -> str:
    return (
        f"{s.elapsed} ({s.remaining} left) | {s.phase} | {s.generated:,} programs, "
        f"{s.evaluated:,} trained, {s.evals_per_second:.1f}/s | hits {s.hit_rate:.1%}, "
        f"redundant {s.redundant:.1%} | best {s.best}"
    )


def _panel(s: Snapshot) -> Any:
    rows = [
        f"elapsed    {s.elapsed}, {s.remaining} of the budget left",
        f"now        {s.phase}",
        f"programs   {s.generated:,} generated, {s.evaluated:,} trained "
        f"({s.evals_per_second:.1f} a second)",
        f"cache hits {s.hit_rate:.1%} (paper {PAPER_HIT_RATE:.1%})    "
        f"redundant {s.redundant:.1%} (paper {PAPER_REDUNDANT_SHARE:.1%})",
        f"best       {s.best}",
        "",
        s.program.rstrip(),
    ]
    return Panel("\n".join(rows).replace("[", r"\["), title="evolve", title_align="left")
