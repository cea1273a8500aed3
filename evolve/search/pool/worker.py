"""A worker process: `python -m evolve.search.pool.worker` reads requests, writes answers.

One JSON object a line, on standard input and output. Whatever the tasks print
goes to standard error, so that it cannot be taken for an answer.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from proxy_tasks.evaluation import Evaluator, answer

    evaluator = Evaluator()
    for line in sys.stdin:
        print(json.dumps(answer(evaluator, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
