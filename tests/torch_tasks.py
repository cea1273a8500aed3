"""A training function that needs a part of a GPU, as far as Ray knows."""

import os

import torch

from proxy_tasks.torch_task import torch_task


def train(make_optimizer, seed):
    weights = torch.nn.Parameter(torch.ones(4))
    optimizer = make_optimizer([weights])
    yield 2.0
    for _ in range(8):
        optimizer.zero_grad()
        weights.square().sum().backward()
        optimizer.step()
    if os.environ.get("CUDA_VISIBLE_DEVICES") != "0":
        raise RuntimeError(f"the device is {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    yield 1.0 + 0.01 * float(weights.detach().abs().sum())


task = torch_task(train, steps=8, gpus=0.5)
