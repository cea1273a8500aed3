"""Source that is the same in every Optax export, or nearly."""

from __future__ import annotations

TREE_SUM = '''
def _tree_sum(arrays):
    """The sum over all arrays."""
    return sum(jnp.sum(x) for x in arrays)
'''

WIDE = '''
def _wide(*arrays):
    """The dtype to compute in: float32, or that of wider arrays."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(jnp.float32, *arrays)
'''

ROUNDED = '''
def _rounded(x, dtype):
    """`x` with the precision of `dtype`; a cast there and back may be optimized away."""
    info = jnp.finfo(dtype)
    return jax.lax.reduce_precision(x, info.nexp, info.nmant)
'''

LEAVES = """\
for i, g in enumerate(gs):
    if g is None:
        continue
    wide = _wide(g)
    arrays = [jnp.asarray(x, wide) for x in ({arrays})]
{numbers}    {new} = step({arguments})
    {change}
    gs[i] = {given}.astype(jnp.result_type(g)){after}
"""

AFTER = """
    for slot, x in zip(slots, after, strict=True):
        slot[i] = x.astype(slot[i].dtype)"""

COMPENSATED = """\
change = -new
    if compensated:
        w = arrays[0]
        change = change + jnp.asarray(errors[i], wide)
        landed = _rounded(w + _rounded(change, g.dtype), ws[i].dtype)
        errors[i] = (change - (landed - w)).astype(ws[i].dtype)"""

ALL = """\
present = [i for i, g in enumerate(gs) if g is not None]
wide = _wide(*(gs[i] for i in present))
arrays = [[jnp.asarray(x[i], wide) for i in present] for x in ({arrays})]
{numbers}{new} = step({arguments})
for i, change in zip(present, new, strict=True):
    gs[i] = (-change).astype(jnp.result_type(gs[i]))
"""

ALL_AFTER = """\
for slot, xs in zip(slots, after, strict=True):
    for i, x in zip(present, xs, strict=True):
        slot[i] = x.astype(slot[i].dtype)
"""

DECAYS = """\
decay = weight_decay(state.count) if callable(weight_decay) else weight_decay
decays = [decay] * len(gs)
if mask is not None:
    chosen = mask(params) if callable(mask) else mask
    chosen = jax.tree.map(lambda x, part: jax.tree.map(lambda _: x, part), chosen, params)
    decays = [decay * bool(x) for x in tree.flatten_up_to(chosen)]
"""

NO_WEIGHTS = """\
if params is None:
    raise ValueError("the weights are needed: call update(updates, state, params)")
"""

RATE = """\
rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
"""
