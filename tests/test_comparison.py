"""Two programs, pair by pair."""

from __future__ import annotations

import pytest
from scipy.stats import ttest_1samp

from evolve.judge import comparison


def test_the_comparison_is_paired() -> None:
    champion, baseline = {"a": [0.9, 1.0, 1.1]}, {"a": [1.0, 1.2, 1.0]}
    result = comparison.compare(champion, baseline, {"a": [2.0]})
    assert result is not None
    gains = [0.1 / 1.0, 0.2 / 0.8, -0.1 / 1.0]
    mean = sum(gains) / 3
    error = (sum((gain - mean) ** 2 for gain in gains) / 2 / 3) ** 0.5
    assert result[:4] == pytest.approx((mean, error, 3, 2))
    assert (result.t, result.p) == pytest.approx(ttest_1samp(gains, 0.0))
    assert comparison.compare({}, baseline, {"a": [2.0]}) is None
    single = comparison.compare({"a": [0.9]}, {"a": [1.0]}, {"a": [2.0]})
    assert single is not None and (single.error, single.t, single.p) == (None, None, None)
    same = comparison.compare(baseline, baseline, {"a": [2.0]})
    assert same is not None and (same.mean, same.error, same.p) == (0.0, 0.0, None)
