"""How a run ended, read from its log: champion, comparisons on held-out data, name.

When the search has been judged there is an event `finished`; each stage of the closing
that follows leaves one event more. Stages of an earlier end, before a run went on, no
longer count.
"""

from __future__ import annotations

from typing import Any

from evolve.errors import BadInput, quoted
from evolve.judge.comparison import compare
from evolve.search.log import RunLog
from proxy_tasks.given import is_given

#: The stages of a closing, in order; each is the kind of an event.
TOURNAMENT, CHAMPION, COMPARISONS = "tournament", "champion", "heldout"
OVERFITTING, BASELINE, LEADERS = "overfitting", "baseline", "leaders"
STAGES = (TOURNAMENT, CHAMPION, COMPARISONS, OVERFITTING, BASELINE, LEADERS)
#: What stands between what was left out and the command that does it.
OUTSIDE = "; outside the budget: "
#: The kind of an event that keeps the start program as it was tuned for the closing.
TUNED_START = "tuned start"
#: The kind of an event of `evolve funnel`: outside the budget, so that no run compares it.
RUNG = "rung"


def note_end(log: RunLog, programs: int) -> None:
    """Record that the search ended after so many programs, once."""
    if (programs, "finished", {}) not in log.events("finished"):
        with log.transaction():
            log.add_event(programs, "finished", {})


def finished(log: RunLog) -> int | None:
    """How many programs there were when the search last ended; None if it has not."""
    events = log.events("finished")
    return events[-1][0] if events else None


def require_finished(log: RunLog) -> int:
    """The same.

    Raises:
        BadInput: if the search has not ended.
    """
    found = finished(log)
    if found is None:
        raise BadInput(
            f"the search in '{log.folder}' has not ended; "
            f"'evolve resume {quoted(log.folder)}' ends it"
        )
    return found


def stage(log: RunLog, kind: str) -> dict[str, Any] | None:
    """What a stage of the closing came to; None if it has not been reached."""
    end = finished(log)
    found = [data for at, _, data in log.events(kind) if at == end]
    return found[-1] if found else None


def cost_before(log: RunLog, end: int) -> int:
    """What the closings of earlier ends cost."""
    costs: dict[int, int] = {}
    for at, kind, data in log.events():
        if kind in STAGES and at < end:
            costs[at] = max(costs.get(at, 0), data["cost"])
    return sum(costs.values())


def is_closed(log: RunLog) -> bool:
    """Whether nothing of the closing is missing."""
    share = log.meta("config").get("closing_share", 0)
    ((rows,),) = log.select("SELECT count(*) FROM programs")
    return finished(log) == rows and (not share or stage(log, STAGES[-1]) is not None)


def champion_at_end(log: RunLog) -> int | None:
    """The program of the search that the champion comes from; None before it is known."""
    found = stage(log, TOURNAMENT)
    return None if found is None else int(found["champion"]["id"])


def heldout(log: RunLog) -> list[dict[str, Any]] | None:
    """Champion against tuned start on held-out data, for each task and rung; None before."""
    found = stage(log, COMPARISONS)
    return None if found is None else [_compared(data) for data in _rows(log, found).values()]


def _rows(log: RunLog, found: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """The comparisons of the closing, and those made later, by task and rung."""
    end = finished(log)
    later = [data for at, _, data in log.events(RUNG) if at == end]
    return {(data["task"], data["rung"]): data for data in [*found["comparisons"], *later]}


def _compared(data: dict[str, Any]) -> dict[str, Any]:
    task, who = data["task"], ("baseline", "champion")
    baseline, champion = ({task: data[name]} if data[name] else {} for name in who)
    found = compare(champion, baseline, {task: data["untrained"]})
    facts = {name: data[name] for name in (*who, "programs")}
    comparison = found._asdict() if found else None
    return {"task": task, "rung": f"x{data['rung']}", "comparison": comparison, **facts}


def tournament(log: RunLog) -> dict[str, Any] | None:
    """The structures that were judged at the end, and the champion."""
    found = stage(log, TOURNAMENT)
    return found and {key: value for key, value in found.items() if key not in ("cost", "chain")}


def leaders(log: RunLog) -> list[dict[str, Any]]:
    """For each number of slots the champion, with its name; few slots first."""
    return list((stage(log, LEADERS) or {}).get("leaders", []))


def overfitting(log: RunLog) -> list[dict[str, Any]] | None:
    """The best of the search, one after the other: fitness there and on fresh seeds."""
    found = stage(log, OVERFITTING)
    return found["points"] if found else None


def left_out(log: RunLog) -> list[str]:
    """What the closing left out for want of budget, each with the command that does it."""
    stages = {kind: stage(log, kind) or {} for kind in STAGES}
    if stages[COMPARISONS] and _has_larger_rungs(log, stages[COMPARISONS]):
        del stages[COMPARISONS]  # it was left out, but somebody has done it since
    found = [data.get("left_out") for data in stages.values()]
    if any(map(is_given, log.meta("config")["tasks"])):
        found = [text and text.partition(OUTSIDE)[0] for text in found]  # no command finds them
    return [text.replace(" RUN ", f" {quoted(log.folder)} ") for text in found if text]


def _has_larger_rungs(log: RunLog, found: dict[str, Any]) -> bool:
    """Whether every task was compared at a larger rung, too."""
    rows = _rows(log, found)
    larger = {task for task, rung in rows if rung > 1}
    return larger == {task for task, _ in rows}


def is_start(log: RunLog) -> bool | None:
    """Whether the champion is the start program itself; None before there is one.

    What is left of the start when a statement goes is not.
    """
    found = stage(log, TOURNAMENT)
    if found is None:
        return None
    own = [row["structure"] for row in found["structures"] if (row["id"], row["how"]) == (0, None)]
    return found["champion"]["structure"] in own


def is_discovery(log: RunLog) -> bool | None:
    """Whether the champion is something else than what the run began with; None: not known.

    It is none if the start is the program that the project looks for, as was noted when the
    run began, or if start and champion have the same name.
    """
    if log.meta("discovery") is False:
        return False
    start, champion = stage(log, BASELINE), stage(log, CHAMPION)
    if start is None or champion is None:
        return None
    family = champion["identity"]["family"]
    return None if family is None else family != start["identity"]["family"]
