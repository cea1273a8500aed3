"""The name of what a simplification ends with: by its formula, or by what its ablations show."""

from __future__ import annotations

from dataclasses import replace

from evolve.understand.identify import Identity, identify
from evolve.understand.simplify import Chain
from primitives.text import from_text


def name(chain: Chain) -> Identity:
    """What a simplified program is.

    One whose formula has no name, and whose statement that matters least leaves, taken away,
    an optimizer of the zoo, is that optimizer with the statement as an extra, not exact: how
    much the statement is worth has been measured, and everything else is worth more.

    Raises:
        EvolveError: if the algebra failed.
    """
    found = identify(chain.simplified)
    measured = [kept for kept in chain.kept if kept["loss_of_quality"]]
    if found.family is not None or not measured:
        return found
    least = min(measured, key=lambda kept: kept["loss_of_quality"]["mean"])
    bare = identify(from_text(least["program"]))
    if bare.family is None:
        return found
    loss = least["loss_of_quality"]
    shown = (
        f"loss of quality {loss['mean']:.4f}, 95 % interval {loss['low']:.4f} to {loss['high']:.4f}"
    )
    extra = [*bare.extra, f"a statement that matters ({least['statement']}: {shown})"]
    return replace(bare, exact=False, extra=extra, nearest=bare.family, distance=found.distance)
