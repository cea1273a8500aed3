"""The Keras target, on the JAX and on the PyTorch backend.

The backend is chosen when Keras is imported, so the checks of `optimizers_keras_checks.py`
run in two further processes, one for each.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from export_checks import all_programs, lint
from strategies import wide_program

from evolve.export import keras as target

FOLDER = Path(__file__).parent
CHECKS = FOLDER / "optimizers_keras_checks.py"


@pytest.mark.parametrize(
    ("backend", "chosen"),
    [
        pytest.param("torch", ["-m", "not slow"], id="torch"),
        pytest.param("torch", ["-m", "slow"], id="torch, slow", marks=pytest.mark.slow),
        pytest.param("jax", [], id="jax", marks=pytest.mark.slow),
    ],
)
def test_backend(backend, chosen):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-x", *chosen, str(CHECKS)],
        cwd=FOLDER.parent,
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    # Every check ran: a word that cannot be there when the file was not collected.
    assert "passed" in done.stdout and "skipped" not in done.stdout


def test_keras_passes_the_linter(tmp_path):
    for name, program in all_programs(60).items():
        (tmp_path / f"{name}.py").write_text(target.emit(program, name, {"source": "x " * 90}))
    for seed in range(5):
        (tmp_path / f"w{seed}.py").write_text(target.emit(wide_program(seed, 60, 6), "wide", {}))
    lint(tmp_path)
