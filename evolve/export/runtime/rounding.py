"""Rounding to 16 bits that a compiler of PyTorch cannot optimize away."""

from __future__ import annotations


def _rounded_by_bits(x, dtype):
    """The float32 tensor `x` with the precision of a 16-bit dtype, by integer arithmetic.

    A cast there and back is dropped by `torch.compile`, and with it all that it would lose.
    """
    import torch

    drop = 16 if dtype is torch.bfloat16 else 13
    bits = x.view(torch.int32)
    near = bits + ((1 << (drop - 1)) - 1) + ((bits >> drop) & 1)
    rounded = ((near >> drop) << drop).view(torch.float32)
    if dtype is torch.float16:
        # The spacing of its subnormals is that of float32 at 0.75; above 65504 it is infinite.
        magic = torch.copysign(torch.full_like(x, 0.75), x)
        rounded = torch.where(x.abs() < 2.0**-14, (x + magic) - magic, rounded)
        huge = torch.copysign(torch.full_like(x, float("inf")), x)
        rounded = torch.where(rounded.abs() > 65504, huge, rounded)
    return torch.where(x.isfinite(), rounded, x)
