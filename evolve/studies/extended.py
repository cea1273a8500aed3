"""`python -m evolve.studies.extended FOLDER [UNIT...]`: searches in the extended language.

What do they find? Ten seeds, one run each in FOLDER, resumed if it was cut off.
Nothing is tuned on them. What each came to is written to `discovered/study/extended-SEED.json`; one
that is there is not run again. `evolve.studies.unseen` holds the champions against Lion and Muon.

Three more, `extended-products-SEED.json`, are without `matrix_sign` and still with products of
matrices: does a search make a polar factor of them by itself?

`python -m evolve.studies.extended --table` prints what they found, against tuned AdamW.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from evolve.studies.rediscovery import digests, unit
from evolve.studies.table import found, search

SEEDS, BUDGET = range(40, 50), "15m"
PRODUCTS, WITHOUT = range(40, 43), {"without": ["matrix_sign"]}
#: The seed and the settings of each.
UNITS: dict[str, tuple[int, dict[str, Any]]] = {
    **{f"extended-{seed}": (seed, {}) for seed in SEEDS},
    **{f"extended-products-{seed}": (seed, WITHOUT) for seed in PRODUCTS},
}


def main(arguments: list[str]) -> None:
    if arguments == ["--table"]:
        print(f"{found(read())}\n\n{search(read())}")
        return
    folder, asked = Path(arguments[0]), arguments[1:]
    for name, (seed, settings) in UNITS.items():
        if not asked or name in asked:
            unit(folder, name, BUDGET, seed, settings, "--language", "extended")


def read() -> dict[str, dict[str, Any]]:
    """The digests, by unit."""
    return digests([*UNITS])


if __name__ == "__main__":
    main(sys.argv[1:])
