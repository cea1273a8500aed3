"""Where a result comes from: versions, machine, seed. Imports nothing heavy."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("evolve-optimizers", "numpy", "jax", "jaxlib", "ray", "scikit-learn", "sympy")


def provenance() -> dict[str, Any]:
    """Versions of what computes, and the machine it computes on."""
    return {"versions": _versions(), "machine": machine()}


def machine() -> dict[str, Any]:
    """The machine: results repeat bit for bit on the same CPU model."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    names = ("model name", "cpu family", "model")
    return " / ".join(facts[name] for name in names if name in facts) or "unknown"
