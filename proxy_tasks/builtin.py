"""The four built-in tasks.

Weights and floating-point operations are closed formulas, so that listing tasks needs no JAX.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from proxy_tasks import data
from proxy_tasks.task import Splits, Task

# A matrix product costs two operations per multiply-add. Its backward pass is two more products
# of the same size, or one where the product's input is data, which needs no gradient.
FORWARD_BACKWARD = 6.0
FORWARD_BACKWARD_OF_DATA = 4.0


def _inner(width: int, heads: int) -> int:
    return heads * -(-width // heads)


def block_weights(width: int, heads: int) -> int:
    """Weights of `models.init_block`."""
    return 4 * width * _inner(width, heads) + 8 * width**2 + 6 * width


def block_products(width: int, heads: int, positions: int) -> int:
    """Multiply-adds of the matrix products in `models.block`, per token."""
    inner = _inner(width, heads)
    return 4 * width * inner + 8 * width**2 + 2 * positions * inner


#: Windows of text whose activations stay in the cache of a core: so a loss on the validation data
#: takes two thirds of the time that it takes with all windows at once.
PART = 16


@dataclass(frozen=True, kw_only=True)
class TextTransformer(Task):
    """A character language model on Python's own documentation text."""

    heads: int = 2
    length: int = 32

    def splits(self) -> Splits:
        return data.text_windows(self.length)

    def init(self, key: Any) -> Any:
        from proxy_tasks import models

        return models.init_language_model(key, self.width, self.heads, self.length, data.VOCABULARY)

    def loss(self, params: Any, batch: Any) -> Any:
        from proxy_tasks import models

        def loss(windows: Any) -> Any:
            logits = models.language_model(params, windows[:, :-1], self.heads)
            return models.cross_entropy(logits, windows[:, 1:].reshape(-1))

        (windows,) = batch
        return models.mean_in_parts(loss, windows, PART)

    def weights(self) -> int:
        shared = (2 * data.VOCABULARY + self.length + 1) * self.width
        return shared + block_weights(self.width, self.heads)

    def flops(self) -> float:
        per_token = block_products(self.width, self.heads, self.length)
        per_token += self.width * data.VOCABULARY
        return FORWARD_BACKWARD * self.steps * self.batch * self.length * per_token


@dataclass(frozen=True, kw_only=True)
class DigitsTransformer(Task):
    """A vision transformer on 8 x 8 handwritten digits, in patches of 2 x 2 pixels."""

    heads: int = 2

    def splits(self) -> Splits:
        return data.digits()

    def init(self, key: Any) -> Any:
        from proxy_tasks import models

        return models.init_vision_transformer(
            key, self.width, self.heads, side=2, positions=16, classes=10
        )

    def loss(self, params: Any, batch: Any) -> Any:
        from proxy_tasks import models

        images, labels = batch
        logits = models.vision_transformer(params, images, self.heads, side=2)
        return models.cross_entropy(logits, labels)

    def weights(self) -> int:
        shared = (4 + 16 + 1 + 10) * self.width + 10
        return shared + block_weights(self.width, self.heads)

    def flops(self) -> float:
        block = FORWARD_BACKWARD * 16 * block_products(self.width, self.heads, positions=16)
        ends = (FORWARD_BACKWARD_OF_DATA * 16 * 4 + FORWARD_BACKWARD * 10) * self.width
        return self.steps * self.batch * (block + ends)


@dataclass(frozen=True, kw_only=True)
class DigitsMLP(Task):
    """A perceptron with one hidden layer on 8 x 8 handwritten digits."""

    def splits(self) -> Splits:
        return data.digits()

    def init(self, key: Any) -> Any:
        from proxy_tasks import models

        return models.init_mlp(key, 64, self.width, 10)

    def loss(self, params: Any, batch: Any) -> Any:
        from proxy_tasks import models

        images, labels = batch
        return models.cross_entropy(models.mlp(params, images.reshape(-1, 64).T), labels)

    def weights(self) -> int:
        return (64 + 1 + 10) * self.width + 10

    def flops(self) -> float:
        per_example = (FORWARD_BACKWARD_OF_DATA * 64 + FORWARD_BACKWARD * 10) * self.width
        return self.steps * self.batch * per_example


@dataclass(frozen=True, kw_only=True)
class Quadratic(Task):
    """Linear regression on inputs of unequal variance: a noisy, ill-conditioned quadratic.

    `width` is the number of inputs. The untrained loss is about 0.5 (1 + noise**2), and the best
    that can be reached 0.5 noise**2.
    """

    outputs: int = 4
    condition: float = 1000.0
    noise: float = 0.5

    def splits(self) -> Splits:
        return data.regression(self.width, self.outputs, self.condition, self.noise)

    def init(self, key: Any) -> Any:
        from proxy_tasks import models

        return models.init_linear(key, self.width, self.outputs)

    def loss(self, params: Any, batch: Any) -> Any:
        from proxy_tasks import models

        inputs, targets = batch
        predicted = params["weight"] @ inputs.T + params["bias"][:, None]
        return models.mean_squared_error(predicted, targets.T)

    def weights(self) -> int:
        return self.outputs * (self.width + 1)

    def holding(self, weights: float) -> Self:
        """The task itself: how many inputs there are is part of the problem."""
        return self

    def flops(self) -> float:
        products = self.outputs * self.width
        return FORWARD_BACKWARD_OF_DATA * self.steps * self.batch * products
