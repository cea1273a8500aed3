"""What a run came to at its end, in words; from the summary of its log."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

from evolve.errors import quoted
from evolve.library.numbers import loss, signed, with_error

_SAME = "the champion is the tuned start program itself; nothing better was found"
_NOT_A_DISCOVERY = "not a discovery: the run began with this family of programs"


def closing_lines(s: dict[str, Any]) -> Iterator[str]:
    """How the champion did on held-out data, its name, and what was left out."""
    champion, heldout = s["champion"], s["heldout"]
    if heldout is not None and champion["is_start"]:
        yield f"held out   {_SAME}"
    elif heldout is not None:
        yield from (f"held out   {compared(row)}" for row in heldout)
    if s["overfitting"]:
        yield f"overfitting {_overfitting(s['overfitting'])}"
    if champion["identity"] is not None:
        yield f"name       {_name(champion['identity'])}"
    for leader in s["leaders"]:
        if leader["id"] != champion["id"]:
            yield _leader(leader)
    if s["discovery"] is False:
        yield f"           {_NOT_A_DISCOVERY}"
    for text in s["left_out"]:
        yield f"left out   {text}"
    if s["state"] == "finished" and not s["closed"]:
        if s["running"]:
            yield "unfinished the search has ended, and its best are being judged"
        else:
            yield f"unfinished the closing was interrupted; evolve resume {quoted(s['run'])}"


def compared(row: dict[str, Any]) -> str:
    """Champion against the tuned start on one task and rung."""
    return f"on {row['task']} at {row['rung']} {failure(row) or verdict(row['comparison'])}"


def failure(row: dict[str, Any]) -> str | None:
    """Whose training failed on fresh seeds, and what the other came to; None if none did."""
    who = {"baseline": "the tuned start", "champion": "the champion"}
    failed = [name for key, name in who.items() if not row.get(key)]
    if not failed:
        return None
    other = next((key for key in who if row.get(key)), None)
    text = f"no comparison: on fresh seeds a training of {' and of '.join(failed)} failed"
    if other is None:
        return text
    return f"{text}; the mean loss of {who[other]} is {loss(fmean(row[other]))}"


def verdict(comparison: dict[str, Any] | None) -> str:
    """Champion against the tuned start."""
    if comparison is None or comparison["error"] is None:
        return "no comparison: a training on fresh seeds failed"
    mean, error, p = comparison["mean"], comparison["error"], comparison["p"]
    word = (
        "better than" if mean > 2 * error else "worse than" if mean < -2 * error else "level with"
    )
    chance = "" if p is None else f", p = {p:.2g}"
    return (
        f"{word} the tuned start: {with_error(mean, error)} (mean and standard error over "
        f"{comparison['pairs']} fresh seeds, better on {comparison['wins']}{chance})"
    )


def simplified(s: dict[str, Any]) -> str | None:
    """The champion's simplified form under a heading; None if it is not known, or no other."""
    champion, chain = s["champion"], s["champion"]["chain"]
    if chain is None or chain["simplified"] == champion["live_program"]:
        return None
    kinds = [step["kind"] for step in chain["steps"]]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f"simplified ({counts}):\n\n{chain['simplified']}"


def _leader(leader: dict[str, Any]) -> str:
    slots = f"{leader['slots']} slot{'' if leader['slots'] == 1 else 's'}"
    score = "" if leader["score"] is None else f": {signed(leader['score'])}"
    return f"{slots:11}the best is #{leader['id']}{score}; {_name(leader['identity'])}"


def _overfitting(points: list[dict[str, Any]]) -> str:
    last = points[-1]
    fresh = "failed" if last["fresh"] is None else signed(last["fresh"])
    return (
        f"the search's best, #{last['id']}: {signed(last['fitness'])} there, {fresh} on fresh seeds"
    )


def constants(identity: dict[str, Any]) -> str:
    """The constants of a family in brackets; nothing if it has none."""
    values = ", ".join(f"{name} {value:.6g}" for name, value in identity["parameters"].items())
    return f" ({values})" if values else ""


def _name(identity: dict[str, Any]) -> str:
    if identity["family"] is None:
        near = identity["nearest"]
        nearest = f"; nearest {near}, distance {identity['distance']:.2f}" if near else ""
        return f"none ({identity['reason']}{nearest})"
    extra = f", with {', '.join(identity['extra'])}" if identity["extra"] else ""
    return f"{identity['family']}{constants(identity)}{extra}"
