"""`python -m evolve.studies.extended FOLDER`: what a search finds in the extended language.

Ten seeds of `evolve run --language extended`, one run each in FOLDER, resumed if it was cut off.
Nothing is tuned on them. What each came to is written to `discovered/study/extended-SEED.json`; one
that is there is not run again. `evolve.studies.unseen` holds the champions against Lion and Muon.
"""

from __future__ import annotations

import sys
from pathlib import Path

from evolve.studies.rediscovery import unit

SEEDS, BUDGET = range(40, 50), "15m"


def main(folder: Path) -> None:
    for seed in SEEDS:
        flags = ["--seed", str(seed), "--language", "extended"]
        unit(folder, f"extended-{seed}", BUDGET, flags, {})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
