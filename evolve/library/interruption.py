"""SIGINT and SIGTERM end a session in peace: what was committed stays."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from evolve.errors import Told

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds within which most steps end: algebra, or compiling a task, may take a minute.
_SOON = 2.0
_STOPPING = b"evolve: stopping at the next step; a second signal stops at once\n"


class Interrupted(Told, KeyboardInterrupt):
    """A signal ended the session; what was committed stays."""

    def __init__(self, signal_number: int, command: str) -> None:
        super().__init__(f"interrupted; go on with: {command}")
        self.exit_code = 128 + signal_number


class Interruption:
    """SIGINT or SIGTERM, turned into `Interrupted`; the log is sound whenever that happens.

    While the workers start, it is raised at once. Before that, when there may be no run to go on
    with yet, and later, when the driver looks up often, only by `check`: an exception raised in
    the middle of native code may be lost there, or come back as another. A second signal ends
    the process at once: the workers notice, and what was committed stays all the same.

    Arguments:
        command: what goes on with the run.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._received: int | None = None
        self._answer: threading.Timer | None = None
        self.at_once = False

    def check(self) -> None:
        """Raise `Interrupted` if a signal came."""
        if self._received is not None:
            self._silence()
            raise Interrupted(self._received, self._command)

    def _silence(self) -> None:
        if self._answer is not None:
            self._answer.cancel()

    def _receive(self, number: int, frame: object) -> None:
        if self._received is not None:
            os.write(2, f"evolve: {Interrupted(number, self._command)}\n".encode())
            os._exit(128 + number)
        self._received = number
        if self.at_once:
            self.check()
        self._answer = threading.Timer(_SOON, os.write, (2, _STOPPING))
        self._answer.daemon = True
        self._answer.start()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Receive signals inside; in a thread nobody can, so there it does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._receive) for each in _SIGNALS}
        try:
            yield
        except BaseException:  # Ray may turn a signal into an exit of its own
            self.check()
            raise
        finally:
            self._silence()
            for each, handler in before.items():
                signal.signal(each, handler)
