"""Seconds of one training, as runs on this machine measured them; kept in the user's cache."""

from __future__ import annotations

from statistics import median

from evolve.cache import read_cache, write_cache
from evolve.provenance import machine
from evolve.search.log import RunLog
from evolve.summary import seconds_to_the_end

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
    trainings = seconds_to_the_end(log)
    if not trainings:
        return
    seconds = median(trainings) / config["replicates"][0]
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
