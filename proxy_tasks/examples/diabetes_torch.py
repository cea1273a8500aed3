"""Regression on a table in PyTorch: scikit-learn's diabetes data, ten numbers for each patient.

evolve run --tasks proxy_tasks.examples.diabetes_torch:task --budget 10m
"""

import torch
from sklearn.datasets import load_diabetes
from torch import nn

from proxy_tasks.torch_task import torch_task

STEPS, BATCH = 300, 32


def data():
    x, y = load_diabetes(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(x / x.std(0), dtype=torch.float32)[order]
    y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[order, None]
    return (x[:242], y[:242]), (x[242:342], y[242:342]), (x[342:], y[342:])


TRAIN, VALIDATION, HELDOUT = data()


def train(make_optimizer, seed, width=16):
    model = nn.Sequential(nn.Linear(10, width), nn.Tanh(), nn.Linear(width, 1))
    optimizer = make_optimizer(model.parameters())

    def loss_on(split):
        with torch.no_grad():
            return (model(split[0]) - split[1]).square().mean().item()

    x, y = TRAIN
    for step in range(STEPS):
        batch = torch.randint(len(x), (BATCH,))
        optimizer.zero_grad()
        (model(x[batch]) - y[batch]).square().mean().backward()
        optimizer.step()
        if step == STEPS // 4 or step == STEPS - 1:
            yield loss_on(VALIDATION), loss_on(HELDOUT)


task = torch_task(train, steps=STEPS, schedule="cosine", width=16)
