"""The user's cache: small JSON files that spare work; without them nothing is lost but time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def cache_file(name: str) -> Path:
    """The path of a file of ours in the user's cache folder, whether it exists or not.

    Raises:
        RuntimeError: if the user has no home folder, as some containers' have not.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "evolve" / name


def read_cache(name: str) -> Any:
    """What a file holds; None if it cannot be read."""
    try:
        return json.loads(cache_file(name).read_text())
    except (OSError, ValueError, RuntimeError):
        return None


def write_cache(name: str, data: Any) -> None:
    """Keep something; without a writable cache nothing is kept."""
    try:
        path = cache_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{name}.{os.getpid()}")
        part.write_text(json.dumps(data, indent=2))
        part.replace(path)  # a reader never meets half a file
    except (OSError, RuntimeError):
        return
