"""Source that is the same in every PyTorch export, or nearly."""

from __future__ import annotations

METHODS = '''
def __setstate__(self, state):
    super().__setstate__(state)
    for group in self.param_groups:
        for key, value in self.defaults.items():
            group.setdefault(key, value)

def load_state_dict(self, state_dict):
    """As ever, except that each slot keeps the dtype that it was saved with."""
    super().load_state_dict(state_dict)
    saved = [i for group in state_dict["param_groups"] for i in group["params"]]
    params = [p for group in self.param_groups for p in group["params"]]
    for i, p in zip(saved, params, strict=True):
        for key, value in state_dict["state"].get(i, {}).items():
            self.state[p][key] = value.to(p.device, copy=True)

def _tensors(self, group):
    """Weight, gradient and slots of each weight with a gradient; complex ones as real."""
    found = []
    for p in group["params"]:
        if p.grad is None:
            continue
        if p.grad.layout != torch.strided:
            raise RuntimeError("the gradient is sparse; only dense ones are taken (to_dense)")
        state = self.state[p]
        if not state:
            self._start(state, p, group)
        tensors = [p, p.grad, *(state[slot] for slot in _SLOTS)]
        if p.is_complex():
            tensors = [torch.view_as_real(x.resolve_conj()) for x in tensors]
        found.append(tensors)
    return found

@staticmethod
def _start(state, p, group):
    """Zeros for each slot."""
    for slot in _SLOTS:
        state[slot] = torch.zeros_like(p, memory_format=torch.preserve_format)
        if group["slot_dtype"] is not None and not p.is_complex():
            state[slot] = state[slot].to(group["slot_dtype"])
'''

CLOSURE = '''
@torch.no_grad()
def step(self, closure=None):
    """One step; returns what the closure returns."""
    loss = None
    if closure is not None:
        with torch.enable_grad():
            loss = closure()
'''

STEP = (
    CLOSURE
    + """\
    for group in self.param_groups:
        for batch in _batches(self._tensors(group), group["foreach"]):
            _apply(batch, group)
    return loss
"""
)

WHOLE_STEP = (
    CLOSURE
    + """\
    batch, groups = [], []
    for group in self.param_groups:
        tensors = self._tensors(group)
        batch += tensors
        groups += [group] * len(tensors)
    if batch:
        _apply(batch, groups)
    return loss
"""
)

_GATHERED = '''
    """One step of some tensors: computed in float32 at least, and written back."""
    weights, gradients, *slots = (list(xs) for xs in zip(*batch, strict=True))
    dtypes = [torch.promote_types(w.dtype, torch.float32) for w in weights]
    lists = [
        [x.to(dtype) for x, dtype in zip(xs, dtypes, strict=True)]
        for xs in (weights, gradients, *slots)
    ]
'''

_WRITTEN = """
    for old, new in zip((weights, *slots), after, strict=True):
        for x, y in zip(old, new, strict=True):
            if x is not y:
                x.copy_(y)
"""

APPLY = (
    "def _apply(batch, group):"
    + _GATHERED
    + """\
    if group["maximize"]:
        lists[1] = torch._foreach_neg(lists[1])
    lr = group["lr"]
    if isinstance(lr, torch.Tensor) and not torch.compiler.is_compiling():
        lr = lr.item()
NUMBERS    after = _step(ARGUMENTS)"""
    + _WRITTEN
)

LISTS = (
    "def _apply(batch, groups):"
    + _GATHERED
    + '''\
    signs = [-1.0 if group["maximize"] else 1.0 for group in groups]
    lists[1] = [x * sign for x, sign in zip(lists[1], signs, strict=True)]

    def numbers(key):
        """What each tensor's group says, as 0-d tensors."""
        pairs = zip(groups, lists[0], strict=True)
        return [torch.as_tensor(group[key], dtype=x.dtype, device=x.device) for group, x in pairs]

    lr = numbers("lr")
NUMBERS    after = _step(ARGUMENTS)'''
    + _WRITTEN
)

_BATCHES = '''
def _batches(tensors, foreach):
    """What is computed together: on a CPU as much as stays in its cache, else everything."""
    batch, size = [], 0
    for xs in tensors:
        cpu = xs[0].device.type == "cpu"
        for piece in PIECES:
            batch.append(piece)
            size += piece[0].numel()
            if foreach is False or (cpu and size >= _PIECE):
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
'''

_PIECES = '''
def _pieces(xs):
    """Views of parts of large tensors; nothing depends on more than one element."""
    arrays = [x for x in xs if x is not None]
    if xs[0].numel() <= 2 * _PIECE or not all(x.is_contiguous() for x in arrays):
        return [xs]
    others = [None] * (len(xs) - len(arrays))
    parts = zip(*(x.view(-1).split(_PIECE) for x in arrays), strict=True)
    return [[*part, *others] for part in parts]
'''

#: How tensors are batched, where each is computed by itself, and where each element is.
BATCHES = {
    "array": _BATCHES.replace("PIECES", "[xs]"),
    "element": _BATCHES.replace("PIECES", "_pieces(xs) if cpu else [xs]") + "\n" + _PIECES,
}

#: What the lines may call.
HELPERS = {
    "_subtract": '''
def _subtract(w, update, lr):
    """`w -= lr * update`; the learning rate is a tensor when this is compiled."""
    if isinstance(lr, torch.Tensor):
        torch._foreach_sub_(w, torch._foreach_mul(update, lr))
    else:
        torch._foreach_add_(w, update, alpha=-lr)
''',
    "_sign": '''
def _sign(x):
    """The sign; NaN stays NaN, which torch.sign makes 0."""
    return torch.where(x.isnan(), x, x.sign())
''',
    "_cbrt": '''
def _cbrt(x):
    """The cube root."""
    return torch.copysign(x.double().abs().pow(1.0 / 3.0), x).to(x.dtype)
''',
    "_tree_sum": '''
def _tree_sum(arrays):
    """The sum over all arrays, on the first one's device."""
    return sum(torch.sum(x).to(arrays[0].device) for x in arrays)
''',
}

#: Replacements that add one slot of errors for 16-bit weights.
COMPENSATED = (
    (
        "        found.append(tensors)",
        """        found.append([*tensors, state.get("error")])""",
    ),
    (
        '''    """Zeros for each slot."""''',
        '''    """Zeros for each slot, and for the errors of 16-bit weights."""
    if group["compensated"] and p.dtype in (torch.bfloat16, torch.float16):
        state["error"] = torch.zeros_like(p, memory_format=torch.preserve_format)''',
    ),
    (
        "    weights, gradients, *slots = (list(xs) for xs in zip(*batch, strict=True))",
        "    weights, gradients, *slots, errors = (list(xs) for xs in zip(*batch, strict=True))",
    ),
    (
        """    if group["maximize"]:""",
        """    # A weight is the sum of what is stored and of its error; see `compensated`.
    lists[0] = [x if e is None else x + e for x, e in zip(lists[0], errors, strict=True)]
    if group["maximize"]:""",
    ),
    (
        """                x.copy_(y)""",
        """                x.copy_(y)
    for x, old, error in zip(after[0], weights, errors, strict=True):
        if error is not None:
            error.copy_(x - old)""",
    ),
)
