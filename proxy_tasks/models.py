"""The models of the built-in tasks in plain JAX: parameters are dictionaries of arrays.

Activations are feature-major: a matrix x [features, columns] has one column per token or
example, and a layer reads `weight @ x`, as in the papers. On one CPU core the gradient of the
small transformer took 0.11 ms so and 0.13 ms with one row per token, since sums over features then
run along whole vectors.

Where a formula is written in an unusual way, `step_kernels` of the benchmarks showed why.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, jax.Array]

#: A batch of fewer parts than these, as any that is trained on, is taken as a whole.
MANY = 16


def normal(key: jax.Array, shape: tuple[int, ...], std: float) -> jax.Array:
    """Normally distributed float32 weights of standard deviation `std`."""
    return std * jax.random.normal(key, shape, dtype=jnp.float32)


def linear(key: jax.Array, outputs: int, inputs: int, gain: float = 1.0) -> jax.Array:
    """A weight matrix [outputs, inputs] with standard deviation gain / sqrt(inputs)."""
    return normal(key, (outputs, inputs), gain / math.sqrt(inputs))


@jax.custom_vjp
def product(weight: jax.Array, x: jax.Array) -> jax.Array:
    """The matrix product of weight [outputs, inputs] and x [inputs, columns].

    Its gradients are those of `weight @ x`, computed as a CPU does it soonest: it takes half the
    time for the product of a transposed copy, and for a tall product than for its transpose.
    """
    return weight @ x


def _product(weight: jax.Array, x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return weight @ x, (weight, x)


def _product_gradients(
    read: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    weight, x = read
    of_x = _kept(weight.T) @ gradient
    if weight.shape[0] < weight.shape[1]:
        return _kept(x @ gradient.T).T, of_x
    return gradient @ x.T, of_x


def _kept(x: jax.Array) -> jax.Array:
    """The same array, which the compiler may not fold into a product."""
    return jax.lax.optimization_barrier(x)


product.defvjp(_product, _product_gradients)


def rms_norm(scale: jax.Array, x: jax.Array) -> jax.Array:
    """Each column of x [features, columns] over its root mean square, times scale [features]."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=0) + 1e-6) * scale[:, None]


def attention(q: jax.Array, k: jax.Array, v: jax.Array, causal: bool) -> jax.Array:
    """Scaled dot-product attention.

    q, k and v are [heads, features, examples, positions], and so is the result. With `causal`
    a position sees itself and what comes before it.
    """
    features, positions = q.shape[1], q.shape[3]
    scores = jnp.einsum("hcbq,hcbk->hbqk", q / math.sqrt(features), k)
    if causal:
        unseen = np.triu(np.full((positions, positions), -np.inf), 1)
        scores = scores + jnp.asarray(unseen, scores.dtype)
    largest = jax.lax.stop_gradient(jnp.max(scores, axis=3, keepdims=True))
    powers = jnp.exp(scores - largest)
    # The softmax is divided by its sums at the end, where there are fewer numbers.
    sums = jnp.einsum("hbqk,k->hbq", powers, jnp.ones(positions, powers.dtype))
    return jnp.einsum("hbqk,hcbk->hcbq", powers, v) / sums[:, None]


def init_block(key: jax.Array, width: int, heads: int) -> Params:
    """Parameters of a transformer block of `width` features.

    Heads have ceil(width / heads) features, so that every width is allowed.
    """
    keys = jax.random.split(key, 4)
    inner = heads * -(-width // heads)
    return {
        "attention_norm": jnp.ones(width),
        "qkv": linear(keys[0], 3 * inner, width),
        "projection": linear(keys[1], width, inner),
        "mlp_norm": jnp.ones(width),
        "up": linear(keys[2], 4 * width, width),
        "up_bias": jnp.zeros(4 * width),
        "down": linear(keys[3], width, 4 * width),
    }


def block(params: Params, x: jax.Array, heads: int, positions: int, causal: bool) -> jax.Array:
    """A pre-norm transformer block: attention, then a ReLU perceptron, each with a residual.

    x is [width, examples * positions], the positions of an example being neighbours.
    """
    qkv = product(params["qkv"], rms_norm(params["attention_norm"], x))
    q, k, v = (a.reshape(heads, -1, x.shape[1] // positions, positions) for a in jnp.split(qkv, 3))
    mixed = attention(q, k, v, causal)
    x = x + product(params["projection"], mixed.reshape(-1, x.shape[1]))
    hidden = product(params["up"], rms_norm(params["mlp_norm"], x)) + params["up_bias"][:, None]
    return x + product(params["down"], jax.nn.relu(hidden))


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats of logits [classes, n] against integer labels [n]."""
    classes = jnp.arange(logits.shape[0], dtype=labels.dtype)
    # A one-hot product: the gradient of picking single logits is a scatter, slow on a CPU.
    picked = jnp.sum(logits * (labels == classes[:, None]), axis=0)
    return jnp.mean(jax.nn.logsumexp(logits, axis=0) - picked)


def mean_in_parts(loss: Callable[[jax.Array], jax.Array], batch: jax.Array, part: int) -> jax.Array:
    """The mean loss of a batch, taken in parts of so many examples if it consists of many such."""
    if len(batch) < MANY * part or len(batch) % part:
        return loss(batch)
    return jnp.mean(jax.lax.map(loss, batch.reshape(-1, part, *batch.shape[1:])))


def init_language_model(
    key: jax.Array, width: int, heads: int, positions: int, vocabulary: int
) -> dict:
    """Parameters of a character language model of one block with learned positions."""
    keys = jax.random.split(key, 4)
    return {
        "embedding": normal(keys[0], (width, vocabulary), 0.5),
        "positions": normal(keys[1], (width, positions), 0.1),
        "block": init_block(keys[2], width, heads),
        "norm": jnp.ones(width),
        "unembedding": linear(keys[3], vocabulary, width, gain=0.1),
    }


def embedded(params: dict, tokens: jax.Array) -> jax.Array:
    """The embeddings of tokens [examples, positions] and of their positions, as columns."""
    places = jnp.tile(params["positions"], tokens.shape[0])
    return params["embedding"][:, tokens.reshape(-1)] + places


def language_model(params: dict, tokens: jax.Array, heads: int) -> jax.Array:
    """Logits of each next token, [vocabulary, examples * positions].

    tokens are integers [examples, positions].
    """
    x = block(params["block"], embedded(params, tokens), heads, tokens.shape[1], causal=True)
    return product(params["unembedding"], rms_norm(params["norm"], x))


def patches(images: jax.Array, side: int) -> jax.Array:
    """Square patches of images [examples, height, width] as columns [side**2, examples * n]."""
    examples, height, width = images.shape
    grid = images.reshape(examples, height // side, side, width // side, side)
    return grid.transpose(2, 4, 0, 1, 3).reshape(side * side, -1)


def init_vision_transformer(
    key: jax.Array, width: int, heads: int, side: int, positions: int, classes: int
) -> dict:
    """Parameters of a vision transformer of one block on patches of side x side pixels."""
    keys = jax.random.split(key, 4)
    return {
        "embedding": linear(keys[0], width, side * side),
        "positions": normal(keys[1], (width, positions), 0.1),
        "block": init_block(keys[2], width, heads),
        "norm": jnp.ones(width),
        "head": linear(keys[3], classes, width, gain=0.1),
        "head_bias": jnp.zeros(classes),
    }


def vision_transformer(params: dict, images: jax.Array, heads: int, side: int) -> jax.Array:
    """Logits [classes, examples] of images [examples, height, width], by mean pooling."""
    examples, positions = len(images), params["positions"].shape[1]
    x = product(params["embedding"], patches(images, side)) + jnp.tile(
        params["positions"], examples
    )
    x = block(params["block"], x, heads, positions, causal=False)
    x = rms_norm(params["norm"], x)
    pooled = jnp.mean(x.reshape(-1, examples, positions), axis=2)
    return product(params["head"], pooled) + params["head_bias"][:, None]


def init_mlp(key: jax.Array, inputs: int, width: int, outputs: int) -> Params:
    """Parameters of a perceptron with one hidden layer."""
    hidden, output = jax.random.split(key)
    return {
        "hidden": linear(hidden, width, inputs, gain=math.sqrt(2.0)),
        "hidden_bias": jnp.zeros(width),
        "output": linear(output, outputs, width, gain=0.1),
        "output_bias": jnp.zeros(outputs),
    }


def mlp(params: Params, x: jax.Array) -> jax.Array:
    """Outputs [outputs, columns] of a ReLU perceptron on x [inputs, columns]."""
    hidden = jax.nn.relu(params["hidden"] @ x + params["hidden_bias"][:, None])
    return params["output"] @ hidden + params["output_bias"][:, None]


def init_linear(key: jax.Array, inputs: int, outputs: int) -> Params:
    """Parameters of a linear map with small random weights."""
    return {"weight": linear(key, outputs, inputs, gain=0.1), "bias": jnp.zeros(outputs)}


def mean_squared_error(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """Half the mean squared difference of two arrays of one shape."""
    return 0.5 * jnp.mean(jnp.square(predicted - target))
