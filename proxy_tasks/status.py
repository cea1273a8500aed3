"""What is asked of a worker and answered, as plain data (JSON), and how an evaluation can end."""

from typing import Any

Request = dict[str, Any]
Answer = dict[str, Any]

#: Trained to the last step on every task and seed.
FINISHED = "finished"
#: The loss, a weight or a live slot became NaN or infinite.
NOT_FINITE = "not_finite"
#: The training loss rose far above the untrained one.
DIVERGED = "diverged"
#: The validation loss was above a hurdle.
STOPPED = "stopped"
#: An exception in the task or the program's evaluation.
FAILED = "failed"
#: It ran longer than the time limit and was killed.
TIMED_OUT = "timed_out"
#: It asked for more memory than there is.
OUT_OF_MEMORY = "out_of_memory"
#: The process that evaluated it died.
CRASHED = "crashed"
