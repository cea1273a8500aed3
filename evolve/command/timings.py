"""Seconds of one training, as runs on this machine measured them; kept in the user's cache."""

from __future__ import annotations

from statistics import median

from evolve.cache import read_cache, write_cache
from evolve.provenance import machine
from evolve.search.log import RunLog

_FILE = "seconds.json"


def measured_seconds() -> dict[str, float]:
    """Seconds of one training for each `task@xRUNG` measured on this machine before."""
    return dict(_known().get(_key(), {}))


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
    known = _known()
    write_cache(_FILE, {**known, _key(): {**known.get(_key(), {}), f"{name}@x1": seconds}})


def _known() -> dict[str, dict[str, float]]:
    """What the file holds of the right form."""
    data = read_cache(_FILE)
    entries = data.items() if isinstance(data, dict) else ()
    return {machine: seconds for machine, seconds in entries if isinstance(seconds, dict)}


def _key() -> str:
    facts = machine()
    return f"{facts['cpu']} x{facts['cores']}"
