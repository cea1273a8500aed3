"""A worker process: `python -m evolve.workers.worker EVALUATOR` reads requests, writes answers.

One JSON list of them a line, on standard input and output. What the tasks print goes
to standard error, so that it cannot be taken for an answer, and what they read
from standard input is nothing. The process ends when its input does, and when the thread that
started it has gone: even if the driver was killed, and a task hangs in code that lets no
other thread run.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from queue import SimpleQueue
from typing import TextIO

from evolve.processes import end_with
from evolve.workers.base import settle_environment
from proxy_tasks.status import Request


def main() -> None:
    """Answer requests until standard input ends."""
    end_with(int(sys.argv[2]))
    settle_environment()
    answers, lines = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(0))
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    batches: SimpleQueue[list[Request]] = SimpleQueue()
    threading.Thread(target=_read, args=(lines, batches), daemon=True).start()
    from proxy_tasks.evaluation import answer, find_evaluator

    evaluator = find_evaluator(sys.argv[1])
    while True:
        batch = [answer(evaluator, request) for request in batches.get()]
        print(json.dumps(batch), file=answers, flush=True)


def _read(lines: TextIO, batches: SimpleQueue[list[Request]]) -> None:
    for line in lines:
        batches.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
