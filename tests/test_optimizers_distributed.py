"""Every PyTorch optimizer on sharded weights: DTensor and FSDP2, two processes on one machine."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_optimizers_torch import MAKES

CHECKS = Path(__file__).parent / "distributed_checks.py"
#: Seconds after which a collective that hangs is a failure.
LIMIT = 300


@pytest.mark.slow
def test_two_processes(tmp_path):
    done = subprocess.run(
        [sys.executable, str(CHECKS), str(tmp_path / "meeting-point")],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == f"{len(MAKES)} optimizers\n", done.stdout
