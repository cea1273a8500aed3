"""Starting, watching and ending processes, by what /proc tells."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def _table() -> dict[int, tuple[int, str, str]]:
    """Parent, state and command line of every process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            found[int(entry.name)] = (int(fields[1]), fields[0], command)
    return found


def descendants(pid: int, command: str = "") -> list[int]:
    """The living descendants of a process whose command line contains some text."""
    table = _table()
    family, grown = {pid}, True
    while grown:
        children = {p for p, (parent, _, _) in table.items() if parent in family}
        grown = not children <= family
        family |= children
    return [p for p in family - {pid} if table[p][1] != "Z" and command in table[p][2]]


def gone(pids: Iterable[int], seconds: float = 20.0) -> bool:
    """Whether all of the processes, and their threads, end within some seconds."""

    def ended(pid: int) -> bool:
        state = _table().get(pid, (0, "X", ""))[1]
        if state != "Z":  # a zombie has ended when its other threads have
            return state == "X"
        try:
            return len(os.listdir(f"/proc/{pid}/task")) == 1
        except OSError:
            return True

    return eventually(lambda: all(ended(pid) for pid in pids), seconds)


def eventually(holds: Callable[[], Any], seconds: float = 60.0) -> bool:
    """Whether something becomes true within some seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """`evolve` with these arguments, in a process group of its own."""
    command = [sys.executable, "-m", "evolve.cli", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def finish(process: subprocess.Popen[str], seconds: float = 120.0) -> tuple[int, str, str]:
    """Wait for a process: `(exit code, standard output, standard error)`."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def evolve(*arguments: object, **options: Any) -> tuple[int, str, str]:
    """Run `evolve` to its end."""
    return finish(start(*arguments, **options))


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with some changes."""
    return {**os.environ, **changes}
