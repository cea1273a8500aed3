"""Child processes that end when their parent does."""

from __future__ import annotations

import ctypes
import os
import signal

#: Of Linux: the signal that a process gets when the thread that started it ends.
_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """End this process when its parent does, however that ends and whatever this one does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it has gone already
        os._exit(0)
