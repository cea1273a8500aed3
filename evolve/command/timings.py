"""Seconds of one training, as runs on this machine measured them; kept in the user's cache."""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import median

from evolve.search.log import RunLog
from evolve.search.provenance import machine


def _file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "evolve" / "seconds.json"


def measured_seconds() -> dict[str, float]:
    """Seconds of one training for each `task@xRUNG` measured on this machine before."""
    try:
        known: dict[str, dict[str, float]] = json.loads(_file().read_text())
        return dict(known.get(_key(), {}))
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def remember_seconds(log: RunLog) -> None:
    """Keep what a run measured; without a writable cache nothing is kept.

    A run of one task tells seconds per training step, from programs trained to the end.
    """
    config = log.meta("config")
    if len(config["tasks"]) != 1:
        return
    (name,) = config["tasks"]
    rows = log.select(
        "SELECT seconds FROM timings JOIN proposals USING (number) "
        "WHERE outcome = 'finished' AND number > 0 ORDER BY number DESC LIMIT 200"
    )
    if not rows:
        return
    seconds = median(value for (value,) in rows) / config["replicates"][0]
    path = _file()
    try:
        known = json.loads(path.read_text()) if path.is_file() else {}
        known.setdefault(_key(), {})[f"{name}@x1"] = seconds
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known, indent=2))
    except (OSError, ValueError, TypeError, AttributeError):
        return


def _key() -> str:
    facts = machine()
    return f"{facts['cpu']} x{facts['cores']}"
