"""From AdamW's hyperparameters to Lion's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovered.conversion import LionHyperparameters, from_adamw


def test_the_usual_conversion():
    assert from_adamw(1e-3, 0.1) == LionHyperparameters(0.0002, 0.5, 0.9, 0.99)
    assert from_adamw(1e-3).weight_decay == 0.0
    assert from_adamw(1e-3, language_model=True).betas == (0.95, 0.98)


@given(st.floats(1e-8, 1.0), st.floats(0.0, 10.0), st.floats(3.0, 10.0))
def test_the_product_stays_and_the_learning_rate_shrinks(rate, decay, factor):
    lion = from_adamw(rate, decay, factor=factor)
    assert lion.learning_rate * lion.weight_decay == pytest.approx(rate * decay)
    assert rate / 10.001 < lion.learning_rate <= rate / 2.999


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((1e-3,), {"factor": 2.0}, "the factor is 2.0; take one from 3 to 10"),
        ((1e-3,), {"factor": 11.0}, "the factor is 11.0; take one from 3 to 10"),
        ((0.0,), {}, "the learning rate is 0.0; it must be positive"),
        ((float("nan"),), {}, "the learning rate is nan; it must be positive"),
        ((1e-3, -0.1), {}, "the weight decay is -0.1; it must not be negative"),
    ],
)
def test_values_out_of_range(arguments, options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        from_adamw(*arguments, **options)
