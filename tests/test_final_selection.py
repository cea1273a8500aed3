"""The last word: who is champion, and by how much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from evolve.judge import final_selection


def losses(value: float, count: int = 2) -> dict[str, list[float]]:
    return {"a": [value] * count}


@pytest.mark.parametrize(
    ("judged", "champion"),
    [
        ({0: losses(1.0)}, 0),
        ({0: losses(1.0), 5: losses(0.9), 6: losses(0.8), 7: losses(1.2)}, 6),
        ({0: losses(1.0), 5: losses(1.0), 6: losses(1.1)}, 0),
        ({0: losses(1.0), 5: {}, 6: losses(0.9, 1), 7: losses(0.95)}, 7),
        ({0: {}, 5: {}, 6: losses(3.0)}, 6),
        ({0: {}, 5: {}}, 0),
    ],
    ids=["alone", "best", "none better", "incomplete", "baseline failed", "all failed"],
)
def test_the_champion_is_the_best_on_fresh_seeds(judged: dict, champion: int) -> None:
    level = dict.fromkeys(judged, 1)
    assert final_selection.champion(judged, 0, {"a": [2.0, 2.0]}, level, 0.01) == champion


@given(
    st.dictionaries(st.integers(0, 9), st.tuples(st.floats(-1, 1), st.integers(1, 9)), min_size=1),
    st.floats(0, 0.1),
)
def test_every_statement_must_earn_its_cost(
    programs: dict[int, tuple[float, int]], cost: float
) -> None:
    scores = {number: score for number, (score, _) in programs.items()}
    statements = {number: count for number, (_, count) in programs.items()}
    chosen = final_selection.worthiest(scores, statements, cost)
    for number, score in scores.items():
        more = statements[chosen] - statements[number]
        assert scores[chosen] - score >= cost * more - 1e-12
        if (score, cost) == (scores[chosen], 0):  # of equals the shorter
            assert more <= 0


def test_a_longer_program_must_be_better_than_the_baseline_by_its_cost() -> None:
    judged = {0: losses(1.0), 5: losses(0.991), 6: losses(0.995)}
    assert final_selection.champion(judged, 0, {"a": [2.0, 2.0]}, {0: 5, 5: 6, 6: 7}, 0.01) == 0
    assert final_selection.champion(judged, 0, {"a": [2.0, 2.0]}, {0: 5, 5: 6, 6: 4}, 0.01) == 6
    assert final_selection.champion(judged, 0, {"a": [2.0, 2.0]}, {0: 5, 5: 6, 6: 4}, 0.0) == 5


def test_the_comparison_is_paired() -> None:
    champion, baseline = {"a": [0.9, 1.0, 1.1]}, {"a": [1.0, 1.2, 1.0]}
    result = final_selection.compare(champion, baseline, {"a": [2.0]})
    assert result is not None
    gains = [0.1 / 1.0, 0.2 / 0.8, -0.1 / 1.0]
    mean = sum(gains) / 3
    error = (sum((gain - mean) ** 2 for gain in gains) / 2 / 3) ** 0.5
    assert result[:4] == pytest.approx((mean, error, 3, 2))
    assert (result.t, result.p) == pytest.approx(ttest_1samp(gains, 0.0))
    assert final_selection.compare({}, baseline, {"a": [2.0]}) is None
    single = final_selection.compare({"a": [0.9]}, {"a": [1.0]}, {"a": [2.0]})
    assert single is not None and (single.error, single.t, single.p) == (None, None, None)
    same = final_selection.compare(baseline, baseline, {"a": [2.0]})
    assert same is not None and (same.mean, same.error, same.p) == (0.0, 0.0, None)
