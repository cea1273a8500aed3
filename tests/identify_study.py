"""`python tests/identify_study.py [COUNT] [SEED]`: identify against the numerical labeller.

Programs one to six edits from Lion, Signum, Program 8 and what lies between; the
labeller, which knows no algebra, gives the truth. Prints the false ones, and one JSON line.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from labeller import label
from neighbours import neighbours

from evolve.understand.identify import Identity, identified
from primitives.program import Program
from primitives.text import to_text


def is_lion(identity: Identity) -> bool:
    """Lion itself, weight decay allowed."""
    return identity.family == "lion" and identity.exact


def verdict(program: Program) -> tuple[str, str, str]:
    """Right, undecided, or which way it is wrong; what both say of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth, found = label(program), _identified(program)
    if truth.is_lion is None:
        outcome = "undecided"
    elif truth.is_lion == is_lion(found):
        outcome = "lion" if truth.is_lion else "other"
    else:
        outcome = "false negative" if truth.is_lion else "false positive"
    return outcome, truth.reason, f"{found.family} {found.exact} {found.parameters} {found.reason}"


def count(verdicts: Iterable[tuple[str, str, str]]) -> dict[str, float]:
    """The counts, and the rates of the false ones."""
    counts = Counter(outcome for outcome, _, _ in verdicts)
    positives = counts["lion"] + counts["false negative"]
    negatives = counts["other"] + counts["false positive"]
    return {
        **counts,
        "false_positive_rate": counts["false positive"] / max(negatives, 1),
        "false_negative_rate": counts["false negative"] / max(positives, 1),
    }


def _identified(program: Program) -> Identity:
    try:
        return identified(program)
    except Exception as error:  # to be seen among the results, with the program
        return Identity(None, False, reason=f"RAISED {error!r}")


def main(total: int = 10_000, seed: int = 0) -> None:
    """Print every disagreement, and the counts."""
    programs = neighbours(total, seed)
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        verdicts = []
        found_all = executor.map(verdict, programs, chunksize=20)
        for program, found in zip(programs, found_all, strict=True):
            verdicts.append(found)
            if found[0].startswith("false") or "RAISED" in found[2]:
                print(*found, to_text(program), sep="\n", flush=True)
    print(json.dumps({"programs": total, "seed": seed, **count(verdicts)}))


if __name__ == "__main__":
    main(*[int(argument) for argument in sys.argv[1:]])
