"""Run by `test_optimizers_distributed.py`: two processes, each holding a part of every weight."""

import copy
import os
import sys

import torch
import torch.distributed as dist
from test_optimizers_torch import MAKES
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.device_mesh import init_device_mesh

#: The first is larger than what a step on a CPU splits into pieces.
SHAPES = ((6, 43691), (4, 6), (3,))
STEPS = 3


def arrays(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def whole(x):
    return x.full_tensor() if isinstance(x, DTensor) else x


def same(xs, ys, what):
    for x, y in zip(xs, ys, strict=True):
        torch.testing.assert_close(
            whole(x.detach()), whole(y.detach()), rtol=1e-5, atol=1e-5, msg=lambda m: f"{what}: {m}"
        )


def sharded_tensors(name, make, mesh):
    """Weights that are split over both processes come out as undivided ones do."""
    for placement in (Shard(0), Shard(1), Replicate()):
        here = [placement if x.ndim > 1 else Shard(0) for x in arrays(0)]
        split = [
            nn.Parameter(distribute_tensor(x, mesh, [p]))
            for x, p in zip(arrays(0), here, strict=True)
        ]
        plain = [nn.Parameter(x) for x in arrays(0)]
        before = [x.clone() for x in arrays(0)]
        one, other = (make(each, lr=1e-3, peak_lr=1.0) for each in (split, plain))
        for step in range(STEPS):
            for p, q, g, at in zip(split, plain, arrays(step + 1), here, strict=True):
                p.grad, q.grad = distribute_tensor(g, mesh, [at]), g
            one.step()
            other.step()
        same(split, plain, f"{name} {placement}")
        assert not any(torch.equal(whole(p), x) for p, x in zip(split, before, strict=True))
        again = make(copies := copy.deepcopy(split), lr=1e-3, peak_lr=1.0)
        again.load_state_dict(one.state_dict())
        for optimizer, params in ((one, split), (again, copies)):
            for p, g, at in zip(params, arrays(9), here, strict=True):
                p.grad = distribute_tensor(g, mesh, [at])
            optimizer.step()
        same(split, copies, f"{name} {placement} from a checkpoint")


def fully_sharded(name, make, mesh):
    """FSDP2, with one weight left as a plain parameter, trains as an undivided model does."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2)]
    plain = nn.Sequential(*layers)
    split = copy.deepcopy(plain)
    fully_shard(split, mesh=mesh, ignored_params={split[0].bias})
    assert not isinstance(split[0].bias, DTensor) and isinstance(split[0].weight, DTensor)
    batch = torch.randn(16, 6)
    models = (split, plain)
    optimizers = [make(model.parameters(), lr=1e-3, peak_lr=1.0) for model in models]
    for _ in range(STEPS):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            (model(batch) ** 2).mean().backward()
            optimizer.step()
    same(list(split.parameters()), list(plain.parameters()), f"{name} FSDP2")


def main(rank, meeting_point):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{meeting_point}", rank=rank, world_size=2)
    try:
        mesh = init_device_mesh("cpu", (2,))
        for name, make in MAKES.items():
            sharded_tensors(name, make, mesh)
            fully_sharded(name, make, mesh)
        if rank == 0:
            print(f"{len(MAKES)} optimizers")
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.multiprocessing.spawn(main, (sys.argv[1],), 2)
