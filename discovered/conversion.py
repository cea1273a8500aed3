"""From AdamW's hyperparameters to Lion's.

Every step of Lion moves each weight by the learning rate, which is more than what
AdamW's usually does, so Chen et al. (arXiv 2302.06675, section 5) take a learning
rate 3 to 10 times smaller and a decoupled weight decay as many times larger, which
leaves their product, the strength of the decay, as it was. For language models
they take betas (0.95, 0.98), elsewhere (0.9, 0.99).
"""

from __future__ import annotations

from typing import NamedTuple

#: By how much the learning rate may shrink, and what is tried first.
SMALLEST, USUAL, LARGEST = 3.0, 5.0, 10.0


class LionHyperparameters(NamedTuple):
    """What to give Lion.

    Attributes:
        learning_rate: the peak; schedule and warm-up stay as they are.
        weight_decay: decoupled.
        b1, b2: how much of the momentum the step and the momentum itself keep.
    """

    learning_rate: float
    weight_decay: float
    b1: float
    b2: float

    @property
    def betas(self) -> tuple[float, float]:
        """Both betas, as PyTorch takes them."""
        return self.b1, self.b2


def from_adamw(
    learning_rate: float,
    weight_decay: float = 0.0,
    *,
    factor: float = USUAL,
    language_model: bool = False,
) -> LionHyperparameters:
    """Lion's hyperparameters where AdamW's are known.

    Arguments:
        learning_rate, weight_decay: AdamW's. The decay is the one that is multiplied
            with the learning rate, as in PyTorch, Optax and Keras.
        factor: how many times smaller the learning rate gets: 3 to 10. Sweep it.
        language_model: take the betas of the paper's language models.

    Raises:
        ValueError: if the factor or a hyperparameter is out of range.
    """
    if not SMALLEST <= factor <= LARGEST:
        raise ValueError(f"the factor is {factor}; take one from {SMALLEST:g} to {LARGEST:g}")
    if not learning_rate > 0:
        raise ValueError(f"the learning rate is {learning_rate}; it must be positive")
    if not weight_decay >= 0:
        raise ValueError(f"the weight decay is {weight_decay}; it must not be negative")
    b1, b2 = (0.95, 0.98) if language_model else (0.9, 0.99)
    return LionHyperparameters(learning_rate / factor, weight_decay * factor, b1, b2)
