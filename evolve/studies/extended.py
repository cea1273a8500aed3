"""`python -m evolve.studies.extended FOLDER`: what a search finds in the extended language.

Ten seeds of `evolve run --language extended`, one run each in FOLDER, resumed if it was cut off.
Nothing is tuned on them. What each came to is written to `discovered/study/extended-SEED.json`; one
that is there is not run again. `evolve.studies.unseen` holds the champions against Lion and Muon.

Three more, `extended-products-SEED.json`, are without `matrix_sign` and still with products of
matrices: does a search make a polar factor of them by itself?
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from evolve.studies.rediscovery import unit

SEEDS, BUDGET = range(40, 50), "15m"
PRODUCTS, WITHOUT = range(40, 43), {"without": ["matrix_sign"]}


def main(folder: Path) -> None:
    units: list[tuple[str, int, dict[str, Any]]]
    units = [(f"extended-{seed}", seed, {}) for seed in SEEDS]
    units += [(f"extended-products-{seed}", seed, WITHOUT) for seed in PRODUCTS]
    for name, seed, settings in units:
        unit(folder, name, BUDGET, seed, settings, "--language", "extended")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
