"""A convolutional net in PyTorch on scikit-learn's 8 x 8 digits.

evolve run --tasks proxy_tasks.examples.digits_torch:task --budget 10m
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from proxy_tasks.torch_task import torch_task

STEPS, BATCH = 200, 32


def data():
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8)[order] / 16
    y = torch.tensor(labels)[order]
    return (x[:1200], y[:1200]), (x[1200:1500], y[1200:1500]), (x[1500:], y[1500:])


TRAIN, VALIDATION, HELDOUT = data()


def train(make_optimizer, seed, width=8):
    model = nn.Sequential(
        nn.Conv2d(1, width, 3),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * 4, 10),
    )
    optimizer = make_optimizer(model.parameters())

    def loss_on(split):
        with torch.no_grad():
            return F.cross_entropy(model(split[0]), split[1]).item()

    x, y = TRAIN
    for step in range(STEPS):
        batch = torch.randint(len(x), (BATCH,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
        if step == STEPS // 4 or step == STEPS - 1:
            yield loss_on(VALIDATION), loss_on(HELDOUT)


task = torch_task(train, steps=STEPS, schedule="cosine", width=8)
