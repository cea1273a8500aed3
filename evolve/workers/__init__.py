"""Pools evaluate programs on workers: one child process, or Ray actors."""

from __future__ import annotations

from evolve.workers.base import Finished, Pool, Setup, time_limit
from evolve.workers.serial import SerialPool

__all__ = ["Finished", "Pool", "SerialPool", "Setup", "open_pool", "time_limit"]


def open_pool(setup: Setup, workers: int, address: str | None = None) -> Pool:
    """A pool with so many workers; 0 means one child process without Ray."""
    if workers == 0 and address is None:
        return SerialPool(setup)
    from evolve.workers.ray import RayPool

    return RayPool(setup, max(workers, 1), address)
