"""What a person sees while programs are trained outside of a search: how many, how long still."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO

from evolve.budget import duration
from evolve.workers import Finished, Pool

#: Seconds between two lines, on a terminal (where the last is replaced) and elsewhere.
_TERMINAL, _ELSEWHERE = 1.0, 10.0


class Watched:
    """A pool that tells on standard error how far its trainings are.

    Arguments:
        pool: that trains.
        total: about so many trainings, if that is known: then it tells how long it may take.
        file: to print to.
    """

    def __init__(self, pool: Pool, total: int | None = None, file: TextIO | None = None) -> None:
        self._pool = pool
        self._total = total
        self._file = file or sys.stderr
        self._done = 0
        self._began = self._shown = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def __enter__(self) -> Watched:
        self._pool.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown != self._began and self._file.isatty():
            print(file=self._file)
        self._pool.__exit__(kind, error, trace)

    def next(self, seconds: float) -> Finished | None:
        """As the pool's."""
        finished = self._pool.next(seconds)
        self._done += finished is not None
        now = time.monotonic()
        if now - self._shown > (_TERMINAL if self._file.isatty() else _ELSEWHERE):
            self._shown = now
            end = "\r" if self._file.isatty() else "\n"
            print(self._line(now - self._began), end=end, file=self._file, flush=True)
        return finished

    def _line(self, seconds: float) -> str:
        if not self._total or not self._done:
            return f"{self._done:,} trainings in {duration(seconds)}"
        left = max(self._total - self._done, 0) * seconds / self._done
        return (
            f"{self._done:,} of about {self._total:,} trainings in {duration(seconds)}, "
            f"about {duration(left)} left   "
        )
