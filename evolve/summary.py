"""What a run came to so far, read from its log: the fields of `evolve inspect --json`."""

from __future__ import annotations

from typing import Any

from evolve.judge import ending
from evolve.search.fitness import final_losses
from evolve.search.log import START, Record, RunLog
from primitives.abstract import live_program
from primitives.text import from_text, to_text
from proxy_tasks.status import FINISHED

#: What the paper reports, for comparison (arXiv 2302.06675, section 2.3).
PAPER_HIT_RATE, PAPER_REDUNDANT_SHARE = 0.891, 0.698

#: A fitness on few seeds is partly luck, and the best of many such is mostly so.
FITTEST = "trained DESC, fitness DESC, number"

_CANDIDATES = f"number > {START} AND source IS NULL AND outcome = '{FINISHED}'"


def summarize(log: RunLog) -> dict[str, Any]:
    """The summary, as plain data; a field that is not known yet is None."""
    with log.in_memory():
        return _summary(log)


def _summary(log: RunLog) -> dict[str, Any]:
    counts = _counts(log)
    ((seconds,),) = log.select("SELECT total(seconds) FROM sessions")
    state = "finished" if ending.finished(log) == programs(log) else "unfinished"
    return {
        "run": str(log.folder),
        "state": state,
        "running": log.is_written(),
        **counts,
        "seconds": seconds,
        "evals_per_second": counts["evaluated"] / seconds if seconds else None,
        "outcomes": dict(
            log.select(
                "SELECT outcome, count(*) FROM proposals "
                "WHERE source IS NULL AND outcome IS NOT NULL GROUP BY outcome ORDER BY outcome"
            )
        ),
        "baseline": _baseline(log),
        "champion": _champion(log),
        "heldout": ending.heldout(log),
        "discovery": ending.is_discovery(log),
        "tournament": ending.tournament(log),
        "leaders": ending.leaders(log),
        "overfitting": ending.overfitting(log),
        "closed": ending.is_closed(log),
        "left_out": ending.left_out(log),
        "training_steps": log.training_steps(),
        "hall_of_fame": hall_of_fame(log),
        "provenance": _provenance(log),
    }


def programs(log: RunLog) -> int:
    """How many rows there are; the highest number is one less."""
    ((count,),) = log.select("SELECT count(*) FROM programs")
    return int(count)


def redundant_share(log: RunLog) -> float | None:
    """The mean share of dead statements over the last tenth of the programs."""
    ((share,),) = log.select(
        "SELECT avg(1.0 - live * 1.0 / statements) FROM programs "
        "WHERE statements > 0 AND number >= ?",
        (programs(log) * 9 // 10,),
    )
    return None if share is None else float(share)


def fittest(log: RunLog, count: int) -> list[tuple[Record, int]]:
    """The fittest programs of the search, and on how many seeds each was trained."""
    rows = log.select(
        f"SELECT number, trained FROM proposals WHERE {_CANDIDATES} AND fitness IS NOT NULL "
        f"ORDER BY {FITTEST} LIMIT ?",
        (count,),
    )
    records = [(log.record(number), trained) for number, trained in rows]
    return [(record, trained) for record, trained in records if record is not None]


def seconds_to_the_end(log: RunLog) -> list[float]:
    """How long the last 200 programs took that were trained to the end."""
    rows = log.select(
        "SELECT seconds FROM timings JOIN proposals USING (number) "
        f"WHERE {_CANDIDATES} ORDER BY number DESC LIMIT 200"
    )
    return [seconds for (seconds,) in rows]


def _counts(log: RunLog) -> dict[str, Any]:
    ((generated, hits, invalid, passed),) = log.select(
        "SELECT count(*), total(source IS NOT NULL), total(rejected), total(passed) FROM proposals"
    )
    ((evaluated,),) = log.select(
        "SELECT count(*) FROM proposals WHERE source IS NULL AND outcome IS NOT NULL"
    )
    return {
        "generated": generated,
        "evaluated": evaluated,
        "invalid": int(invalid),
        "passed_over": int(passed),
        "cache_hit_rate": hits / generated if generated else None,
        "redundant_share": redundant_share(log),
    }


def baseline_number(log: RunLog) -> int | None:
    """The start program, whose constants are tuned; None before it was trained."""
    rows = log.select(f"SELECT outcome FROM programs WHERE number = {START}")
    return START if rows and rows[0][0] else None


def best_number(log: RunLog) -> int | None:
    """The fittest program of the search; None if none is better than the baseline."""
    rows = log.select(
        f"SELECT number FROM proposals WHERE {_CANDIDATES} AND fitness > 0 "
        f"ORDER BY {FITTEST} LIMIT 1"
    )
    return rows[0][0] if rows else None


def champion_number(log: RunLog) -> int | None:
    """The champion's as it was found, or else the fittest, or else the baseline."""
    for number in (ending.champion_at_end(log), best_number(log), baseline_number(log)):
        if number is not None:
            return number
    return None


def is_better(log: RunLog) -> bool:
    """Whether the champion, or the fittest so far, is another program than the tuned start."""
    judged = ending.is_start(log)
    if judged is not None:
        return not judged
    return champion_number(log) not in (None, baseline_number(log))


def champion_text(log: RunLog) -> str | None:
    """The champion as it was judged: simplified, its constants tuned; None before it is known."""
    found = ending.stage(log, ending.TOURNAMENT)
    return None if found is None else str(found["chain"]["simplified"])


def _baseline(log: RunLog) -> dict[str, Any] | None:
    number = baseline_number(log)
    if number is None:
        return None
    record = log.record(number)
    assert record is not None
    return {
        **_entry(record, ending.stage(log, ending.BASELINE)),
        "losses": _final(record),
        "tuned": log.meta("tuned_start"),
    }


def _champion(log: RunLog) -> dict[str, Any] | None:
    number = champion_number(log)
    if number is None:
        return None
    record = log.record(number)
    assert record is not None
    found = ending.stage(log, ending.CHAMPION)
    judged = ending.stage(log, ending.TOURNAMENT)
    entry = {**_entry(record, found), "chain": judged and judged["chain"]}
    entry |= {"simplified": champion_text(log), "is_start": not is_better(log)}
    while record.source is not None:  # it took an earlier result
        record = log.record(record.source)
        assert record is not None
    return {**entry, "losses": _final(record)}


def _entry(record: Record, named: dict[str, Any] | None) -> dict[str, Any]:
    """A program; `named` is what the closing found of it."""
    return {
        "id": record.number,
        "fitness": record.fitness,
        "program": record.program,
        "live_program": to_text(live_program(from_text(record.program))),
        "simplified": named and named["chain"]["simplified"],
        "identity": named and named["identity"],
    }


def _final(record: Record) -> dict[str, list[float]] | None:
    return None if record.losses is None else final_losses(record.losses)


def hall_of_fame(log: RunLog) -> list[dict[str, Any]]:
    """For each number of live slots and live statements the best of those on most seeds."""
    fields = ("id", "fitness", "slots", "statements", "seeds", "program")
    rows = log.select(
        "SELECT number, best.fitness, best.slots, best.live, trained, program FROM ("
        "SELECT number, fitness, slots, live, trained, "
        f"row_number() OVER (PARTITION BY slots, live ORDER BY {FITTEST}) AS place "
        f"FROM proposals WHERE {_CANDIDATES} AND fitness IS NOT NULL) AS best "
        "JOIN programs USING (number) WHERE place = 1 ORDER BY best.slots, best.live"
    )
    return [dict(zip(fields, row, strict=True)) for row in rows]


def front(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the hall of fame that no other beats in fitness, slots and statements at once.

    Only those on most seeds are compared: where seeds differ, so does luck.
    """
    entries = on_most_seeds(entries)

    def beaten(entry: dict[str, Any]) -> bool:
        return any(
            other is not entry
            and other["fitness"] >= entry["fitness"]
            and other["slots"] <= entry["slots"]
            and other["statements"] <= entry["statements"]
            for other in entries
        )

    return [entry for entry in entries if not beaten(entry)]


def on_most_seeds(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the hall of fame that were trained on as many seeds as any."""
    most = max((entry["seeds"] for entry in entries), default=0)
    return [entry for entry in entries if entry["seeds"] == most]


def _provenance(log: RunLog) -> dict[str, Any]:
    config = log.meta("config")
    return {
        **log.meta("provenance"),
        "data": {name: task["fingerprint"] for name, task in (log.meta("tasks") or {}).items()},
        "seed": config["seed"],
        "config": config,
    }
