"""Tasks that go wrong: some at the start, and one on the programs that ask for it.

`trouble` looks at its weights: a program that sets them to 10 times a number
below gets that trouble at the next loss.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxy_tasks.task import Splits, Task

NAN, HANG, EXIT, MEMORY, RAISE, PRINT, SEGFAULT, ABORT, KILLED, HOLD, START = range(1, 12)
FIELDS: dict[str, Any] = {"name": "trouble", "width": 2, "batch": 2, "steps": 8}


@dataclass(frozen=True, kw_only=True)
class Fine(Task):
    """The mean square of three weights."""

    def splits(self) -> Splits:
        part = (np.ones((4, 1), np.float32),)
        return Splits(part, part, part)

    def init(self, key: Any) -> Any:
        import jax

        return {"w": 1.0 + 0.01 * jax.random.normal(key, (3,))}

    def loss(self, params: Any, batch: Any) -> Any:
        import jax.numpy as jnp

        return jnp.mean(params["w"] ** 2) * jnp.mean(batch[0])


class Trouble(Fine):
    def loss(self, params: Any, batch: Any) -> Any:
        import jax
        import jax.numpy as jnp

        which = jax.lax.stop_gradient(jnp.round(params["w"][0] / 10.0).astype(jnp.int32))
        branches = [_nothing, _nan, _hang, *[_called] * (START - HANG)]
        return super().loss(params, batch) + jax.lax.switch(which, branches, which)


class Poisoned(Fine):
    """Some weights that a program may come to end the process, each in a way of its own."""

    def loss(self, params: Any, batch: Any) -> Any:
        import jax
        import jax.numpy as jnp

        digits = jax.lax.stop_gradient(jnp.abs(params["w"][0]) * 1e5).astype(jnp.int32) % 400
        ends = jnp.array([EXIT, SEGFAULT, ABORT, KILLED, RAISE], jnp.int32)
        which = jnp.where(digits < len(ends), ends[jnp.minimum(digits, len(ends) - 1)], 0)
        poison = jax.lax.cond(which > 0, _called, _nothing, which)
        return super().loss(params, batch) + poison


def _nothing(which: Any) -> Any:
    import jax.numpy as jnp

    return jnp.float32(0.0)


def _nan(which: Any) -> Any:
    import jax.numpy as jnp

    return jnp.float32(jnp.nan)


def _hang(which: Any) -> Any:
    """A loop in native code without an end."""
    import jax

    return jax.lax.while_loop(lambda x: x >= 0.0, lambda x: x * 0.5, which.astype("float32"))


def _called(which: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return jax.pure_callback(_act, jax.ShapeDtypeStruct((), jnp.float32), which)


def _act(which: Any) -> Any:
    match int(which):
        case 3:
            os._exit(17)
        case 4:
            raise MemoryError("no room")
        case 5:
            raise ValueError("out of order")
        case 6:
            print('{"outcome": "finished", "losses": {}, "steps": 0}', flush=True)
            os.write(1, b'{"tasks": {}}\n')
            os.write(2, b"to the log\n")
            assert sys.stdin.read() == ""
        case 7:
            ctypes.string_at(0)
        case 8:
            os.abort()
        case 9:  # as the kernel does when memory runs out
            os.kill(os.getpid(), signal.SIGKILL)
        case 10:  # native code that lets no thread of Python run
            ctypes.PyDLL(None).sleep(3600)
        case 11:
            subprocess.Popen(["sleep", "3600"])
    return np.float32(0.0)


class RaisesInInit(Fine):
    def init(self, key: Any) -> Any:
        raise RuntimeError("no such table\nsecond line")


class RaisesInLoss(Fine):
    def loss(self, params: Any, batch: Any) -> Any:
        raise KeyError("width")


class RaisesInSplits(Fine):
    def splits(self) -> Splits:
        raise FileNotFoundError("data.npz is missing")


class Leaves(Fine):
    def init(self, key: Any) -> Any:
        sys.exit("goodbye")


class NanAtOnce(Fine):
    def loss(self, params: Any, batch: Any) -> Any:
        return super().loss(params, batch) * np.float32("nan")


class NoParameters(Fine):
    def init(self, key: Any) -> Any:
        return {}

    def loss(self, params: Any, batch: Any) -> Any:
        import jax.numpy as jnp

        return jnp.mean(batch[0])


class NotScalar(Fine):
    def loss(self, params: Any, batch: Any) -> Any:
        return params["w"]


class Unlearnable(Fine):
    """Its loss has nothing to do with its weights."""

    def loss(self, params: Any, batch: Any) -> Any:
        import jax.numpy as jnp

        return 1.0 + 0.0 * jnp.mean(params["w"])


fine = Fine(**FIELDS)
trouble = Trouble(**FIELDS)
poisoned = Poisoned(**FIELDS)
raises_in_init = RaisesInInit(**FIELDS)
raises_in_loss = RaisesInLoss(**FIELDS)
raises_in_splits = RaisesInSplits(**FIELDS)
leaves = Leaves(**FIELDS)
nan_at_once = NanAtOnce(**FIELDS)
no_parameters = NoParameters(**FIELDS)
not_scalar = NotScalar(**FIELDS)
unlearnable = Unlearnable(**FIELDS)
