"""Algebra in a child process, since it can take for ever."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys

from evolve.processes import end_with
from primitives.program import Program
from primitives.text import from_text, to_text

#: A child whose processor is busy with something else may take so many times as long.
_SLOWER = 10


def ask(module: str, program: Program, seconds: float) -> subprocess.CompletedProcess[str]:
    """What `python -m module` prints of a program that it reads with `read`.

    Its limit is in seconds of the processor, not of the clock, so that a busy machine comes to the
    same; and it holds when nobody waits for the child any more. See `was_ended`.
    """
    command = [sys.executable, "-m", module, str(math.ceil(seconds)), str(os.getpid())]
    try:
        return subprocess.run(
            command,
            input=to_text(program),
            capture_output=True,
            text=True,
            timeout=_SLOWER * math.ceil(seconds),
        )
    except subprocess.TimeoutExpired as expired:
        partial = expired.stdout or b""
        output = partial.decode() if isinstance(partial, bytes) else partial
        return subprocess.CompletedProcess(command, -signal.SIGXCPU, output, "")


def was_ended(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether it took too long; what it printed before is there all the same."""
    return done.returncode == -signal.SIGXCPU


def read() -> Program:
    """In the child: the program, after its limits were set."""
    end_with(int(sys.argv[2]))
    limit, (_, most) = int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_CPU)
    if most == resource.RLIM_INFINITY or limit < most:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, most))
    return from_text(sys.stdin.read())
