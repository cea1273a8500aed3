"""`make bench`: one JSON object a line. Run it on a machine that does nothing else."""

from __future__ import annotations

import os
import sys

from evolve.workers.base import ENVIRONMENT

os.environ.update(ENVIRONMENT)  # before JAX is imported: one thread, as in a worker

from tests.benchmarks import (
    export_bench,
    machine_bench,
    muon_bench,
    search_bench,
    simplify_bench,
    step_bench,
    torch_bench,
)

FIGURES = {
    figure.__name__: figure
    for figure in (
        machine_bench.machine_over_fused,
        machine_bench.compile_each_over_machine,
        machine_bench.compile_seconds,
        step_bench.step_flops_share,
        step_bench.step_kernels,
        search_bench.propose_per_second,
        search_bench.workers_2_over_1,
        search_bench.search_run,
        search_bench.driver_rate,
        search_bench.cheap_run,
        search_bench.simulated_cluster,
        search_bench.long_run,
        search_bench.worker_memory,
        export_bench.optax_lion_over_optax,
        export_bench.torch_lion_over_others,
        export_bench.keras_lion_over_keras,
        export_bench.state_over_adamw,
        muon_bench.optax_muon_over_by_hand,
        muon_bench.torch_muon_over_by_hand,
        simplify_bench.simplify_seconds,
        torch_bench.torch_step_over_adamw,
        torch_bench.torch_worker_memory,
    )
}


def main(names: list[str]) -> None:
    """Measure the figures named, or all."""
    for name in names or FIGURES:
        if name not in FIGURES:
            sys.exit(f"there is no figure '{name}'; the figures are {', '.join(FIGURES)}")
        FIGURES[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
