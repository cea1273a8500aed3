"""How a run ended, read from its log: champion, comparisons on held-out data, name.

When the search has been judged there is an event `finished`; each stage of the closing
that follows leaves one event more. Stages of an earlier end, before a run went on, no
longer count.
"""

from __future__ import annotations

from typing import Any

from evolve.errors import BadInput
from evolve.judge import final_selection
from evolve.search.fitness import Losses
from evolve.search.log import RunLog

#: The stages of a closing, in order; each is the kind of an event.
OVERFITTING, FUNNEL, BASELINE, CHAMPION = "overfitting", "funnel", "baseline", "champion"
LEADERS = "leaders"
STAGES = (OVERFITTING, FUNNEL, BASELINE, CHAMPION, LEADERS)
#: The kind of an event of `evolve funnel`: outside the budget, so that no run compares it.
RUNG = "rung"


def finished(log: RunLog) -> tuple[int, dict[str, Any]] | None:
    """How many programs there were when the search last ended, and its facts."""
    events = log.events("finished")
    return (events[-1][0], events[-1][2]) if events else None


def require_finished(log: RunLog) -> tuple[int, dict[str, Any]]:
    """The same.

    Raises:
        BadInput: if the search has not ended.
    """
    found = finished(log)
    if found is None:
        raise BadInput(
            f"the search in '{log.folder}' has not ended; 'evolve resume {log.folder}' ends it"
        )
    return found


def stage(log: RunLog, kind: str) -> dict[str, Any] | None:
    """What a stage of the closing came to; None if it has not been reached."""
    end = finished(log)
    found = [data for at, _, data in log.events(kind) if end and at == end[0]]
    return found[-1] if found else None


def is_closed(log: RunLog) -> bool:
    """Whether nothing of the closing is missing."""
    share = log.meta("config").get("closing_share", 0)
    return finished(log) is not None and (not share or stage(log, STAGES[-1]) is not None)


def champion_at_end(log: RunLog) -> int | None:
    """The program that was best on fresh seeds, at all rungs; None before the end."""
    end = finished(log)
    if end is None:
        return None
    funnel = stage(log, FUNNEL)
    return int((funnel or {}).get("champion", end[1]["champion"]))


def heldout(log: RunLog, untrained: Losses) -> dict[str, Any] | None:
    """Champion against baseline, on seeds and data that nothing was chosen on."""
    end = finished(log)
    champion = champion_at_end(log)
    if end is None:
        return None
    losses = log.judgements(end[0], final_selection.HELDOUT)
    funnel = stage(log, FUNNEL) or {}
    # The funnel may have chosen another one than the judgement before it.
    mine = losses[champion] if champion in losses else funnel["champion_losses"]
    return {
        **_compared(losses[end[1]["baseline"]], mine, untrained),
        "rungs": _rungs(log, champion),
    }


def _rungs(log: RunLog, champion: int | None) -> dict[str, Any]:
    """For each larger rung the last comparison of this champion."""
    end = finished(log)
    events = [(at, data.get("heldout")) for at, _, data in log.events(FUNNEL)]
    events += [(at, data) for at, _, data in log.events(RUNG)]
    found = {}
    for at, data in events:
        if end and at == end[0] and data and data["id"] == champion:
            compared = _compared(data["baseline"], data["champion"], data["untrained"])
            found[f"x{data['rung']}"] = {**compared, "programs": data["programs"]}
    return found


def _compared(baseline: Losses, champion: Losses, untrained: Losses) -> dict[str, Any]:
    comparison = final_selection.compare(champion, baseline, untrained)
    return {
        "baseline": baseline,
        "champion": champion,
        "comparison": comparison._asdict() if comparison else None,
    }


def finalists(log: RunLog) -> list[dict[str, Any]]:
    """The programs that were judged again: fitness in the search, on fresh seeds, by rung."""
    return list((stage(log, FUNNEL) or {}).get("finalists", []))


def leaders(log: RunLog) -> list[dict[str, Any]]:
    """For each number of slots the champion, with its name; few slots first."""
    return list((stage(log, LEADERS) or {}).get("leaders", []))


def overfitting(log: RunLog) -> list[dict[str, Any]] | None:
    """The best of the search, one after the other: fitness there and on fresh seeds."""
    found = stage(log, OVERFITTING)
    return found["points"] if found else None


def left_out(log: RunLog) -> list[str]:
    """What the closing left out for want of budget, each with the command that does it."""
    found = [(stage(log, kind) or {}).get("left_out") for kind in STAGES]
    return [text.replace("RUN", str(log.folder)) for text in found if text]


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
