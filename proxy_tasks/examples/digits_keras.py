"""A Keras model on its JAX backend, on scikit-learn's 8 x 8 digits.

evolve run --tasks proxy_tasks.examples.digits_keras:task --budget 10m
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
from keras import layers
from sklearn.datasets import load_digits

from proxy_tasks.task import Task, split


class DigitsKeras(Task):
    """Keras describes the model; the weights are JAX arrays, which the search trains."""

    def model(self):
        return keras.Sequential(
            [
                layers.Input((8, 8, 1)),
                layers.Conv2D(self.width, 3, activation="relu"),
                layers.Conv2D(2 * self.width, 3, strides=2, activation="relu"),
                layers.Flatten(),
                layers.Dense(10),
            ]
        )

    def splits(self):
        images, labels = load_digits(return_X_y=True)
        return split(images.reshape(-1, 8, 8, 1) / 16, labels)

    def init(self, key):
        draw = jax.nn.initializers.glorot_uniform()
        return [
            draw(k, v.shape) if len(v.shape) > 1 else jax.numpy.zeros(v.shape)
            for k, v in zip(jax.random.split(key, 6), self.model().trainable_variables, strict=True)
        ]

    def loss(self, weights, batch):
        images, labels = batch
        logits, _ = self.model().stateless_call(weights, [], images)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return losses.mean()


task = DigitsKeras(name="digits_keras", width=8, batch=32, steps=200, schedule="cosine")
