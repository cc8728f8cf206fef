"""Single components of a model's matrices: which a z changes most, and what they join.

Component i of W = U diag(S) Vh reads v_i · x of its input x and writes σ_i u_i times that. Its u_i
and v_i are only given up to a common sign, and where σ_i equals its neighbour's they are not given
at all: the two may be rotated among each other. Knows matrices and their names, no transformers,
tokens or text.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from t2ui.errors import InputError, quoted
from t2ui.svf.decomposition import Factors, kind_of, layer_of, leaf_of

ORDERS = ("z", "sigma")  # by |z − 1|, or by σ |z − 1|, the size of what is added to W
MOST = 40  # components at once
# A σ so near to its neighbour's, as a share of it, is marked. Rounding SmolLM2's matrices as
# bfloat16 does turned 36 % of the directions by more than 10° where σ is within 0.02 % of a
# neighbour's, 4 % from there to 0.05 %, and 0.2 % beyond 0.1 %.
NEARLY_EQUAL = 1e-3

STREAM = "the residual stream"
_NEURONS, _HEADS = "the MLP's neurons", "the heads' values"
# A matrix's own name -> what it reads, and what it writes to.
_JOINED = {
    "q_proj": (STREAM, "the queries"),
    "k_proj": (STREAM, "the keys"),
    "v_proj": (STREAM, _HEADS),
    "qkv_proj": (STREAM, "the queries, keys and values"),
    "c_attn": (STREAM, "the queries, keys and values"),
    "o_proj": (_HEADS, STREAM),
    "gate_proj": (STREAM, f"the gates of {_NEURONS}"),
    "up_proj": (STREAM, _NEURONS),
    "gate_up_proj": (STREAM, f"{_NEURONS} and their gates"),
    "c_fc": (STREAM, _NEURONS),
    "down_proj": (_NEURONS, STREAM),
}


def joined(name: str) -> tuple[str, str]:
    """What the matrix of this full name reads, and what it writes to; either may be STREAM.

    No matrix does both: q, k, v, gate and up read the residual stream, o and down write to it.
    """
    leaf = leaf_of(name)
    if leaf == "c_proj":  # GPT-2 has one in both halves of a block
        return (_HEADS if kind_of(name) == "attention" else _NEURONS), STREAM
    return _JOINED[leaf]


def matrices(
    factors: Mapping[str, Factors], module: str = "all", layer: int | None = None
) -> list[str]:
    """Names of the matrices asked for, ordered by layer; within one the model's order stays.

    Args:
        module: "all", a kind ("attention", "mlp") or a matrix's own name ("up_proj").
        layer: a block's index; None for all.

    Raises:
        InputError: the model has no such module or layer.
    """
    names = [n for n in factors if module in ("all", kind_of(n), leaf_of(n))]
    if not names:
        words = [*map(kind_of, factors), *map(leaf_of, factors)]
        known = dict.fromkeys(word for word in words if word)
        raise InputError(f"There is no module {quoted(module)}; expected all, {', '.join(known)}.")
    found = sorted((n for n in names if layer in (None, layer_of(n))), key=layer_of)
    if not found:
        layers = sorted(set(map(layer_of, names)))
        raise InputError(
            f"There is no layer {layer}; expected one from {layers[0]} to {layers[-1]}."
        )
    return found


def most_changed(
    factors: Mapping[str, Factors],
    z: Mapping[str, Tensor],  # name -> (r,) float32; a missing matrix has z = 1
    names: list[str],
    count: int,
    by: str = "z",
) -> list[tuple[str, int]]:
    """(matrix, index) of the components of these matrices that z changes most, those first.

    Fewer than `count` where z leaves the others as they are.

    Args:
        by: one of ORDERS.

    Raises:
        InputError: no such order, or a count that is not between 1 and MOST.
    """
    if by not in ORDERS:
        raise InputError(f"The order is {quoted(by)}; expected {', '.join(ORDERS)}.")
    if not isinstance(count, int) or not 1 <= count <= MOST:
        raise InputError(f"{quoted(count)} components are asked for; expected 1 to {MOST}.")
    found: list[tuple[float, str, int]] = []
    for name in names:
        if name not in z:
            continue
        change = (z[name].detach().float().cpu() - 1).abs()
        if by == "sigma":
            change = change * factors[name].S.float().cpu()
        largest = change.topk(min(count, len(change)))
        pairs = zip(largest.values.tolist(), largest.indices.tolist(), strict=True)
        found += [(value, name, index) for value, index in pairs if value > 0]
    found.sort(key=lambda one: -one[0])  # stable: equal ones in the model's order
    return [(name, index) for _, name, index in found[:count]]


def check_component(factors: Mapping[str, Factors], name: str, index: int) -> None:
    """Refuse what is no component of the model's adapted matrices.

    Raises:
        InputError: no adapted matrix of this full name, or it has no component of this index.
    """
    if name not in factors:
        raise InputError(
            f"There is no adapted matrix {quoted(name)}; expected a full name such as "
            f"{next(iter(factors))}."
        )
    rank = factors[name].S.numel()
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < rank:
        raise InputError(
            f"{name} has no component {quoted(index)}; expected a whole number from 0 to "
            f"{rank - 1}."
        )


def with_component(
    factors: Mapping[str, Factors],
    z: Mapping[str, Tensor],
    component: tuple[str, int],
    value: float,
) -> dict[str, Tensor]:
    """The same scales with this one component's z set to a value; 1 switches its change off."""
    name, index = component
    before = z.get(name)
    changed = torch.ones(factors[name].S.numel()) if before is None else before.detach().clone()
    changed[index] = value
    return {**z, name: changed}


def gap(S: Tensor, index: int) -> float:
    """How far σ of a component is from its nearest neighbour's, as a share of σ; inf for a matrix
    with one component, 0 where σ is 0."""
    own, others = float(S[index]), []
    if index > 0:
        others.append(float(S[index - 1]))
    if index + 1 < len(S):
        others.append(float(S[index + 1]))
    if not others:
        return float("inf")
    return min(abs(own - other) for other in others) / own if own > 0 else 0.0
