"""`SerialPool`: one child process on this machine, without Ray."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

from evolve.workers.base import ENVIRONMENT, Died, Pool, Setup, Worker
from proxy_tasks.status import Answer, Request

#: What workers print is thrown away beyond this; a task may print at every step.
_LOG_BYTES = 10_000_000


class ChildProcess:
    """A worker in a child process, spoken to over pipes; see `worker`."""

    def __init__(self, setup: Setup) -> None:
        self._log = setup.log or os.devnull
        path = os.pathsep.join([*setup.path, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
        try:
            errors = os.open(
                self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644
            )
        except OSError:  # somebody removed the run, which the driver will tell; or made it a link
            self._log = os.devnull
            errors = os.open(self._log, os.O_WRONLY)
        with os.fdopen(errors, "ab"):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "evolve.workers.worker", setup.evaluator, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
                # An interrupt at the terminal is the driver's to handle.
                start_new_session=True,
            )
        assert self._process.stdin and self._process.stdout
        self.pid = self._process.pid
        self._requests = self._process.stdin
        self.answers = self._process.stdout
        self._received = b""
        self._died_before = False

    def send(self, requests: list[Request]) -> None:
        with suppress(FileNotFoundError):
            if os.path.getsize(self._log) > _LOG_BYTES:
                os.truncate(self._log, 0)
        try:
            self._requests.write(json.dumps(requests).encode() + b"\n")
            self._requests.flush()
        except BrokenPipeError:
            self._died_before = True  # `receive` finds the end of the pipe

    def receive(self) -> list[Answer] | Died | None:
        while b"\n" not in self._received:
            if not select.select([self.answers], [], [], 0)[0]:
                return None
            data = os.read(self.answers.fileno(), 1 << 16)
            if not data:
                return self._died()
            self._received += data
        line, self._received = self._received.split(b"\n", 1)
        answers: list[Answer] = json.loads(line)
        return answers

    def _died(self) -> Died:
        code = self._process.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        detail = f"the worker process ended with {how}"
        return Died(detail, infrastructure=self._died_before)

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # what a task has started, too
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(BrokenPipeError):  # a request that was never read
            self._requests.close()
        self.answers.close()


class SerialPool(Pool):
    """One killable child process."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, size=1)

    def _new_worker(self) -> Worker:
        return ChildProcess(self.setup)

    @property
    def process_ids(self) -> list[int]:
        """The worker's, as the system knows it."""
        return [s.worker.pid for s in self._seats if isinstance(s.worker, ChildProcess)]

    def _wait(self, workers: list[Worker], seconds: float) -> list[Worker]:
        pipes = {w.answers: w for w in workers if isinstance(w, ChildProcess)}
        ready: list[Worker] = [pipes[pipe] for pipe in select.select([*pipes], [], [], seconds)[0]]
        return ready
