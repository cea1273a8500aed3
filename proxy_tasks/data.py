"""The data of the built-in tasks: what comes with Python and scikit-learn, and synthetic data.

Every loader is deterministic, needs no network, and is read once per process; its arrays are
read-only because callers share them.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from proxy_tasks.task import Splits, TaskError

ALPHABET = "\n \"'()*+,-.013:=>[]_abcdefghijklmnopqrstuvwxyz|"
"""The 47 commonest characters of Python's lower-cased documentation (99.4 % of it); fixed, so
that a token means the same under every Python version. Token 47 stands for any other one."""

VOCABULARY = len(ALPHABET) + 1

BLOCK = 4096
"""Characters of text that go to one split together."""


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _splits(train: list, validation: list, heldout: list) -> Splits:
    return Splits(*(tuple(map(_read_only, part)) for part in (train, validation, heldout)))


@cache
def documentation_text() -> str:
    """The lower-cased text of `pydoc_data.topics`, topics by name, each paragraph only once.

    The topics quote each other at length (a fifth of the text is repetition), which would leak
    from training to validation. Raises TaskError where Python comes without its documentation.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise TaskError(
            "the text task reads Python's documentation from pydoc_data.topics, "
            f"which this Python lacks ({error})"
        ) from error
    paragraphs = (p.strip("\n") for name in sorted(topics) for p in topics[name].split("\n\n"))
    return "\n\n".join(dict.fromkeys(p for p in paragraphs if p.strip())).lower()


def _windows(blocks: list[np.ndarray], size: int, stride: int) -> np.ndarray:
    """Windows of `size` tokens, each within one block, uint8 [windows, size]."""
    view = np.lib.stride_tricks.sliding_window_view
    return np.concatenate([view(b, size)[::stride] for b in blocks if len(b) >= size])


def _evenly(windows: np.ndarray, count: int) -> np.ndarray:
    """`count` of the windows, at even distances; all of them if there are no more."""
    return windows[np.linspace(0, len(windows) - 1, min(count, len(windows))).astype(int)]


@cache
def text_windows(length: int, validation: int = 512, heldout: int = 2048) -> Splits:
    """Windows of `length` + 1 tokens of the documentation text, uint8 [examples, length + 1].

    The text is cut into blocks of 4096 characters; of every ten, eight go to training, one to
    validation and one to the held-out split, and no window crosses a cut. Training windows
    overlap by half; the others do not overlap, and are taken at even distances.
    """
    return windows_of(documentation_text(), length, validation, heldout)


def windows_of(text: str, length: int, validation: int = 512, heldout: int = 2048) -> Splits:
    """Windows of a text, as those of the documentation."""
    code = {character: token for token, character in enumerate(ALPHABET)}
    tokens = np.array([code.get(c, len(ALPHABET)) for c in text], dtype=np.uint8)
    blocks = [tokens[i : i + BLOCK] for i in range(0, len(tokens), BLOCK)]
    train = [b for i, b in enumerate(blocks) if i % 10 not in (4, 9)]
    size = length + 1
    return _splits(
        [_windows(train, size, stride=max(1, length // 2))],
        [_evenly(_windows(blocks[4::10], size, stride=size), validation)],
        [_evenly(_windows(blocks[9::10], size, stride=size), heldout)],
    )


@cache
def digits() -> Splits:
    """Scikit-learn's handwritten digits: float32 [examples, 8, 8] in [-1, 1], int32 labels.

    1197 training, 300 validation and 300 held-out images, shuffled with a fixed seed.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 8.0 - 1.0).astype(np.float32)
    labels = bunch.target.astype(np.int32)
    order = np.random.default_rng(0).permutation(len(labels))
    parts = np.split(order, [len(order) - 600, len(order) - 300])
    return _splits(*([images[part], labels[part]] for part in parts))


@cache
def regression(inputs: int, outputs: int, condition: float, noise: float) -> Splits:
    """Linear regression on anisotropic inputs: float32 x [examples, inputs], y [.., outputs].

    The inputs' covariance has eigenvalues from 1 down to 1 / `condition`, evenly spaced in the
    logarithm and randomly rotated. The targets are a linear function of the inputs in which
    every eigendirection carries the same share of a variance of 1, plus normal noise of standard
    deviation `noise`. 4096 training, 512 validation and 1024 held-out examples.
    """
    rng = np.random.default_rng(0)
    spectrum = np.logspace(0.0, -np.log10(condition), inputs)
    rotation = np.linalg.qr(rng.standard_normal((inputs, inputs))).Q
    readout = rng.standard_normal((inputs, outputs))
    readout /= np.linalg.norm(readout, axis=0)
    whitened = rng.standard_normal((4096 + 512 + 1024, inputs))
    x = (whitened * np.sqrt(spectrum)) @ rotation.T
    y = whitened @ readout + noise * rng.standard_normal((len(x), outputs))
    cuts = [4096, 4096 + 512]
    pairs = zip(
        np.split(x.astype(np.float32), cuts), np.split(y.astype(np.float32), cuts), strict=True
    )
    return _splits(*([a, b] for a, b in pairs))
