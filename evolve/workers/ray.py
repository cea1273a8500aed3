"""`RayPool`: workers as Ray actors, on this machine or on a cluster."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

# `uv run` would otherwise make every worker resolve the environment again.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray
    from ray import exceptions

from evolve.errors import BadInput
from evolve.workers.base import ENVIRONMENT, Died, Pool, Setup, Worker, settle_environment
from proxy_tasks.status import Answer, Request

#: What Ray says of an actor whose machine was lost: no candidate is to blame.
_NODE_DIED = "node has died"
#: Results are a few hundred bytes, so the smallest object store will do.
_OBJECT_STORE = 80 * 1024 * 1024


class _Evaluations:
    """What runs in the actor; JAX is imported there only."""

    def __init__(self, path: tuple[str, ...], evaluator: str) -> None:
        sys.path[:0] = [entry for entry in path if entry not in sys.path]
        settle_environment()
        from proxy_tasks.evaluation import find_evaluator

        self._evaluator = find_evaluator(evaluator)

    def answer(self, requests: list[Request]) -> list[Answer]:
        from proxy_tasks.evaluation import answer

        return [answer(self._evaluator, request) for request in requests]


class ActorWorker:
    """A worker that is a Ray actor, with what its tasks need."""

    def __init__(self, setup: Setup) -> None:
        actor: Any = ray.remote(_Evaluations)
        self._actor: Any = actor.options(
            num_cpus=setup.resources.cpus,
            num_gpus=setup.resources.gpus,
            memory=setup.resources.memory,
            max_restarts=0,
            max_task_retries=0,
            enable_task_events=False,  # nobody reads them, and they cost the driver time
            runtime_env={"env_vars": {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(setup.path)}},
        ).remote(setup.path, setup.evaluator)
        self.reference: Any = None

    def send(self, requests: list[Request]) -> None:
        self.reference = self._actor.answer.remote(requests)

    def receive(self) -> list[Answer] | Died | None:
        if not ray.wait([self.reference], timeout=0)[0]:
            return None
        try:
            answers: list[Answer] = ray.get(self.reference)
        except exceptions.OutOfMemoryError as error:
            return Died(_line(error), out_of_memory=True)
        except (exceptions.NodeDiedError, exceptions.ActorUnavailableError) as error:
            return Died(_line(error), infrastructure=True)
        except exceptions.RayActorError as error:
            return Died(_line(error), infrastructure=_NODE_DIED in str(error))
        except exceptions.RayError as error:
            return Died(_line(error), infrastructure=True)
        return answers

    def kill(self) -> None:
        ray.kill(self._actor, no_restart=True)


class RayPool(Pool):
    """Workers as Ray actors.

    Arguments:
        size: how many.
        address: of a cluster (`ray://host:port` or `auto`); by default Ray is
            started on this machine, and never joins one that runs there already.
    """

    def __init__(self, setup: Setup, size: int, address: str | None = None) -> None:
        super().__init__(setup, size)
        # In the main thread Ray would put handlers of its own in the place of ours; they exit,
        # and an exit raised within a callback (after a fork, say) is lost. Ray's processes
        # end with the thread that started them, so it stays.
        self._thread = ThreadPoolExecutor(1)
        try:
            with _signals_at_the_end():
                self._thread.submit(self._start, size, address).result()
            self.size = min(size, self._room())
        except BaseException:
            self.close()
            raise

    def _room(self) -> int:
        """So many workers have the GPUs that there are; any number where they need none.

        Raises:
            BadInput: if there are fewer than one worker needs.
        """
        gpus = self.setup.resources.gpus
        if not gpus:
            return self.size
        there = float(ray.cluster_resources().get("GPU", 0.0))
        if there < gpus:
            raise BadInput(
                f"a worker needs {gpus:g} GPUs, and there are {there:g}; "
                "give the task fewer, or a cluster that has them with --address"
            )
        return int(there / gpus + 1e-9)

    def _start(self, size: int, address: str | None) -> None:
        if address is not None:
            _check_address(address)
        options: dict[str, Any] = {
            "address": address or "local",
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "ignore_reinit_error": True,
        }
        if address is None:
            # Ray would write a token to the home folder, which may be read-only.
            if "RAY_AUTH_TOKEN_PATH" not in os.environ:
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            options |= {
                "num_cpus": size * self.setup.resources.cpus,
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE,
            }
        try:
            ray.init(**options)
        except (ConnectionError, ValueError) as error:
            if address is None:
                raise
            raise _no_cluster(address, error) from None

    def _new_worker(self) -> Worker:
        return ActorWorker(self.setup)

    def _wait(self, workers: list[Worker], seconds: float) -> list[Worker]:
        by_reference: dict[Any, Worker] = {
            worker.reference: worker for worker in workers if isinstance(worker, ActorWorker)
        }
        if not by_reference:
            return []
        every = list(by_reference)
        # One call tells of all, however many there are.
        ready = ray.wait(every, num_returns=len(every), timeout=0)[0]
        ready = ready or ray.wait(every, timeout=seconds)[0]
        return [by_reference[reference] for reference in ready]

    def close(self) -> None:
        super().close()
        ray.shutdown()
        self._thread.shutdown()


@contextmanager
def _signals_at_the_end() -> Iterator[None]:
    """Signals that come inside reach their handlers at the end: half a Ray cannot be shut down."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main one's
        yield
        return
    received: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, frame: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if received:
            signal.alarm(0)  # Ray would abort this process 3 seconds after a signal
        for each in received:  # a second one ends the process at once
            signal.raise_signal(each)


def _check_address(address: str) -> None:
    """Ray itself waits for minutes before it says that nobody answers."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():  # else it is `auto`, or something that Ray refuses
        try:
            socket.create_connection((host, int(port)), timeout=5.0).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: Exception) -> BadInput:
    return BadInput(f"no Ray cluster answers at '{address}' ({_line(error)}); check --address")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
