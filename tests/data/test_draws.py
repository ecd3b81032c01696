"""A seed depends on what its draw is for, and on nothing else."""

from __future__ import annotations

import pytest

from segzoo.data.draws import derive_seed


def test_same_parts_give_the_same_seed_everywhere() -> None:
    """The value is fixed: another one would change every run that is resumed."""
    assert derive_seed(0, "augment", 3, 17) == derive_seed(0, "augment", 3, 17) == 4336218487384554394


@pytest.mark.parametrize(
    ("one", "other"),
    [((1,), ("1",)), (("ab", "c"), ("a", "bc")), ((1, 23), (12, 3)), ((0, "order"), ("order", 0)), ((-1,), (1,))],
)
def test_parts_are_not_run_together(one: tuple[int | str, ...], other: tuple[int | str, ...]) -> None:
    """Different parts of the same characters give different seeds."""
    assert derive_seed(*one) != derive_seed(*other)


def test_seeds_are_63_bits_and_distinct() -> None:
    """Every seed fits a signed 64-bit number; neighbours share nothing."""
    seeds = {derive_seed(0, "augment", epoch, index) for epoch in range(30) for index in range(100)}
    assert len(seeds) == 3000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_fractions_are_refused() -> None:
    """A part that is neither text nor a whole number is a mistake of the caller."""
    with pytest.raises(TypeError, match="float"):
        derive_seed(0.5)  # type: ignore[arg-type]
