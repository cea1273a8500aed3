"""`python -m evolve.studies.champions`: the study's champions, simplified with all ablations.

A run leaves ablations out if its budget is spent, and names what the rest of its closing comes
to. Here each seed's champion is simplified as `evolve simplify RUN` does, two or three minutes
each, and identified; what it came to is written to `discovered/champions.json`, beside the
commit of the code that did it, which is a later one than that of the runs. What is there
already is not done again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from evolve.command.trials import trials_pool
from evolve.judge.trials import Trials
from evolve.studies.rediscovery import CHAMPIONS, champions, commit, read
from evolve.studies.table import FURTHER, SEED
from evolve.understand.ablation import Ablation
from evolve.understand.naming import name
from evolve.understand.simplify import simplify
from primitives.text import from_text, to_text


def main(workers: str = "auto") -> None:
    done, code = champions(), commit()
    for unit, digest in read().items():
        if unit.startswith((SEED, FURTHER)) and unit not in done:
            done[unit] = {"commit": code, **simplified(digest, workers)}
            CHAMPIONS.write_text(json.dumps(done, indent=1) + "\n")
            print(f"{unit}: {done[unit]['identity']}\n{done[unit]['simplified']}", flush=True)


def simplified(digest: dict[str, Any], workers: str) -> dict[str, Any]:
    """The champion of a digest with all its ablations, and its name."""
    program = from_text(digest["champion"]["live_program"])
    with trials_pool(tuple(digest["provenance"]["config"]["tasks"]), workers) as pool:
        chain = simplify(program, Ablation(Trials(pool)))
    return {
        "simplified": to_text(chain.simplified),
        "identity": asdict(name(chain)),
        "chain": chain.to_json(),
    }


if __name__ == "__main__":
    main()
