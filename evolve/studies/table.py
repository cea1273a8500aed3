"""The table of the rediscovery study, from the digests of its units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np
from scipy.stats import binomtest, ttest_1samp

#: What the names of the default search's units begin with: the study's seeds, and those after it.
SEED, FURTHER = "seed-", "further-"
#: Against whose champions each control's is held: what the units' names begin with.
SEARCHES = {
    "constants-only-equal-memory": SEED,
    "random-search-equal-memory": SEED,
    "constants-only-loss": "objective-loss",
    "random-search-loss": "objective-loss",
}


def table(rows: dict[str, dict[str, Any]], later: dict[str, dict[str, Any]] | None = None) -> str:
    """Markdown: a line for each unit, and how many seeds found Lion, with a 95 % interval.

    Arguments:
        rows: the digests, by unit.
        later: what champions came to with all ablations, which runs may have left out.
    """
    later = later or {}
    head = ["run", "champion", "name", "exact", "with all ablations", "best of one slot"]
    head += ["held out, x1", "held out, x10", "first like Lion: programs generated", "trained"]
    head += ["training steps", "steps in all", "cache hits", "redundant"]
    lines = [head, ["---"] * len(head)]
    for name, row in rows.items():
        identity, first = row["champion"]["identity"] or {}, row["first_lion"]
        (alone,) = [x["identity"] or {} for x in row["leaders"] if x["slots"] == 1] or [{}]
        lines.append(
            [
                name,
                f"#{row['champion']['id']}",
                identity.get("family") or "none",
                "yes" if identity.get("exact") else "no",
                named(later[name]["identity"]) if name in later else "-",
                alone.get("family") or "none",
                heldout(row, "x1"),
                heldout(row, "x10"),
                *([f"{first[k]:,}" for k in ("generated", "trained", "steps")] if first else "---"),
                f"{row['training_steps']:,}",
                f"{row['cache_hit_rate']:.1%}",
                f"{row['redundant_share']:.1%}",
            ]
        )
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    groups = (" ".join(summary(rows, later, unit)) for unit in (SEED, FURTHER))
    return "\n\n".join([text, *filter(None, groups), *controls(rows)])


def summary(
    rows: dict[str, dict[str, Any]], later: dict[str, dict[str, Any]], unit: str
) -> Iterator[str]:
    """What the runs whose names begin so came to, in words."""
    seeds = {name: row for name, row in rows.items() if name.startswith(unit)}
    if not seeds:
        return
    names = ", ".join(name.removeprefix(unit) for name in seeds)
    yield f"Seeds {names}."
    yield f"Named by the runs themselves: {counted([r['champion'] for r in seeds.values()])}."
    if known := [later[name] for name in seeds if name in later]:
        yield f"With all ablations: {counted(known)}."
    yield from first_lions(list(seeds.values()))


def named(identity: dict[str, Any]) -> str:
    """A name in short."""
    return f"{identity['family'] or 'none'}{', exact' if identity['exact'] else ''}"


def counted(found: Sequence[dict[str, Any]]) -> str:
    """How many of some programs are Lion, in words."""
    lions = [f["identity"] for f in found if (f["identity"] or {}).get("family") == "lion"]
    exact = sum(identity["exact"] for identity in lions)
    interval = binomtest(len(lions), len(found)).proportion_ci(method="exact")
    return (
        f"Lion in {len(lions)} of {len(found)} seeds "
        f"(95 % interval {interval.low:.0%} to {interval.high:.0%}), exact in {exact}"
    )


def first_lions(seeds: Sequence[dict[str, Any]]) -> Iterator[str]:
    """After how much there was a Lion, in words."""
    first = [s["first_lion"] for s in seeds if s["first_lion"]]
    if first:
        to = [f"{median(f[k] for f in first):,.0f}" for k in ("generated", "trained", "steps")]
        yield (
            f"To the first program that steps like Lion, median: {to[0]} programs, "
            f"{to[1]} trained, {to[2]} training steps."
        )


def heldout(row: dict[str, Any], rung: str) -> str:
    """The comparisons with the tuned start at a rung, in short."""
    found = [one for one in row["heldout"] or [] if one["rung"] == rung]
    named = [f"{one['task']} " if len(found) > 1 else "" for one in found]
    texts = [f"{t}{compared(one['comparison'])}" for t, one in zip(named, found, strict=True)]
    return "; ".join(texts) or "-"


def compared(comparison: dict[str, Any] | None) -> str:
    """A paired comparison in short."""
    if comparison is None or comparison["error"] is None:
        return "-"
    chance = "" if comparison["p"] is None else f", p = {comparison['p']:.2g}"
    return f"{comparison['mean']:+.4f} ± {comparison['error']:.4f}{chance}"


def controls(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """For each control by how much its held-out loss is above that of the search, in words."""
    for name in (name for name in SEARCHES if name in rows):
        searched = [row for unit, row in rows.items() if unit.startswith(SEARCHES[name])]
        found = [(rung, worse(rows[name], searched, rung)) for rung in ("x1", "x10")]
        words = "; ".join(f"at {rung} {text or 'not measured'}" for rung, text in found)
        yield f"{name}: held-out loss of its champion less that of the search's champions: {words}."


def worse(control: dict[str, Any], searched: Sequence[dict[str, Any]], rung: str) -> str | None:
    """The difference in loss, paired seed by seed; None if not measured.

    Standard error and p are over the seeds that these champions were judged on, not over
    searches. With several runs of the search: against their mean, then the least and the most.
    """
    losses = [_losses(row, rung) for row in (control, *searched)]
    given = [row for row in losses if row is not None]
    if len(given) < max(len(losses), 2):
        return None
    differences = given[0] - np.array(given[1:])
    mean = differences.mean(axis=0)
    error, chance = mean.std(ddof=1) / len(mean) ** 0.5, ttest_1samp(mean, 0.0).pvalue
    text = f"{mean.mean():+.4f} ± {error:.4f} (p = {chance:.2g}"
    each = differences.mean(axis=1)
    if len(each) > 1:
        text += f"; {each.min():+.4f} to {each.max():+.4f} for the {len(each)} runs"
    return text + ")"


def _losses(row: dict[str, Any], rung: str) -> np.ndarray | None:
    """The champion's held-out losses at a rung, [seeds], mean over tasks."""
    found = [one["champion"] for one in row["heldout"] or [] if one["rung"] == rung]
    return np.mean(found, axis=0) if found and all(found) else None
