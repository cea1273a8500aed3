"""The PyTorch target: against the reference, and the linter."""

import pytest
from export_checks import TOLERANCE, all_programs, allowance, lint
from strategies import wide_program

from evolve.export import replay
from evolve.export import torch as target
from primitives.zoo import zoo

PROGRAMS = all_programs(60)


@pytest.mark.parametrize("name", PROGRAMS)
def test_torch_computes_what_the_reference_computes(name):
    program = PROGRAMS[name]
    source = target.emit(program, name, {})
    limit = allowance(program) if name.startswith("random") else TOLERANCE
    assert replay.largest_difference("torch", source, name, program) <= limit


def test_both_ways_to_write_lines_are_covered():
    sources = [target.emit(program, "x", {}) for program in PROGRAMS.values()]
    whole = ["class _Whole" in source for source in sources]
    assert 10 < sum(whole) < len(whole) - 10


def test_the_replay_sees_a_wrong_constant():
    source = target.emit(zoo("lion"), "lion", {}).replace("betas=(0.9, 0.99)", "betas=(0.9, 0.9)")
    assert replay.largest_difference("torch", source, "lion", zoo("lion")) > 1e-5


def test_torch_passes_the_linter(tmp_path):
    for name, program in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(target.emit(program, name, {"source": "x " * 90}))
    for seed in range(5):
        (tmp_path / f"w{seed}.py").write_text(target.emit(wide_program(seed, 60, 6), "wide", {}))
    lint(tmp_path)
