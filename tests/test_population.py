"""The population: niches, age, tournaments."""

from __future__ import annotations

import random
from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from evolve.search.population import Population, Structures

entries = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=60)


@given(entries=entries, capacity=st.integers(1, 7), founder=st.integers(0, 2))
def test_the_oldest_of_a_full_niche_leaves(
    entries: list[tuple[int, int]], capacity: int, founder: int
) -> None:
    population = Population(3, capacity, [(99, founder)])
    expected = [deque([99] * capacity if i == founder else [], capacity) for i in range(3)]
    for member, niche in entries:
        before = {m for members in expected for m in members} | {member}
        expected[niche].append(member)
        after = {m for members in expected for m in members}
        gone = population.enter(member, niche)
        assert (set() if gone is None else {gone}) == before - after
        assert all((m in population) == (m in after) for m in before)
    assert [list(members) for members in population.niches] == [list(x) for x in expected]
    assert population.members() == [m for members in expected for m in members]


def test_the_niche_with_the_best_program_wins_and_an_empty_one_is_never_drawn() -> None:
    population = Population(4, 50, [(1, 0)])
    for niche in (1, 3):
        population.enter(niche, niche)
    rng, drawn = random.Random(0), Counter[int]()
    for _ in range(9000):
        drawn[population.draw_niche(rng, 2, lambda niche: -float(niche))] += 1
    assert set(drawn) == {0, 1, 3}  # of two draws among three: 5/9, 3/9, 1/9
    for niche, share in ((0, 5 / 9), (1, 3 / 9), (3, 1 / 9)):
        assert abs(drawn[niche] / 9000 - share) < 0.02


def test_the_fittest_of_those_drawn_is_the_parent() -> None:
    population = Population(2, 10, [])
    for member in range(10):
        population.enter(member, 0)
    population.enter(10, 1)
    rng, size = random.Random(1), 3
    drawn = Counter(population.draw(0, rng, size, float) for _ in range(20_000))
    assert set(drawn) == set(range(10))
    for member in range(10):  # the largest of three uniform draws from 0..9
        share = ((member + 1) ** size - member**size) / 10**size
        assert abs(drawn[member] / 20_000 - share) < 0.02


@given(
    programs=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(-50, 50)), max_size=60
    ),
    capacity=st.integers(1, 5),
)
def test_of_each_structure_the_best_program_is_kept_of_the_best_structures(
    programs: list[tuple[int, int, int]], capacity: int
) -> None:
    worth = [value for _, _, value in programs]
    structures = Structures(2, capacity, lambda number: float(worth[number]))
    kept: list[dict[int, int]] = [{}, {}]
    for number, (niche, structure, value) in enumerate(programs):
        before = {n for of in kept for n in of.values()} | {number}
        own = kept[niche]
        if structure not in own or worth[own[structure]] < value:
            own[structure] = number
        if len(own) > capacity:
            del own[min(own, key=lambda s: worth[own[s]])]
        after = {n for of in kept for n in of.values()}
        gone = structures.enter(number, niche, str(structure))
        assert (set() if gone is None else {gone}) == before - after
        assert sorted(structures.of(niche)) == sorted(own.values())
        assert all((n in structures) == (n in after) for n in before)
    structures.clear()
    assert structures.of(0) == structures.of(1) == []
