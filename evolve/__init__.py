"""Symbolic discovery of optimizers: search for them, take them apart, and train with them.

    import evolve

    run = evolve.run(budget="20m", tasks=[my_task])   # a search; Ctrl-C leaves it to be resumed
    run = evolve.open("runs/1").resume(budget="10m")
    run.champion, run.hall_of_fame, run.history

    my_task = evolve.torch_task(train, steps=1000)    # a training function in PyTorch

    lion = evolve.load("lion")          # a name, RUN#ID, a run folder, a file, or a text
    lion.identity, lion.simplify(), lion.explain(), evolve.compare([lion, "adamw"])
    lion.to_torch(model.parameters(), lr=1e-4)        # also to_optax, to_keras and source

What the commands do, these do. Importing this loads no framework: neither JAX nor Ray nor PyTorch.
"""

from evolve.errors import BadInput, EvolveError, PoolError, RunBusy
from evolve.library.optimizer import Optimizer, Simplified, compare, load
from evolve.library.runs import Run, run
from evolve.library.runs import open_run as open
from evolve.library.tables import Table
from proxy_tasks.torch_task import torch_task

__all__ = [
    "BadInput",
    "EvolveError",
    "Optimizer",
    "PoolError",
    "Run",
    "RunBusy",
    "Simplified",
    "Table",
    "compare",
    "load",
    "open",
    "run",
    "torch_task",
]
