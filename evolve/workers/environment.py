"""The environment of a worker, which must be set before JAX is imported there."""

from __future__ import annotations

#: One XLA thread per worker: needed for bit-identical results as well as for speed.
ENVIRONMENT = {
    "PJRT_NPROC": "1",
    "NPROC": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "OMP_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
