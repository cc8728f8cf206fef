"""How an expert lies in a safetensors file: int8 scales and examples, metadata as strings.

What they mean is `expert.Expert`'s part.
"""

import json
from typing import Any

import torch
from torch import Tensor

from t2ui.errors import InputError, quoted

_SCALES = "int8.scales"  # float32 (matrices,), in the order of the sorted names
# int8 (n, width), and float32 (n,): what they are multiplied by
_EXAMPLES, _EXAMPLES_STEPS = "router.examples", "router.examples.scales"
_MOST_NESTED = 50  # of metadata: what is nested hundreds deep cannot be pickled for the app


def is_packed(stored: dict[str, Tensor]) -> bool:
    """Whether the scales are int8."""
    return _SCALES in stored


def pack(scales: dict[str, Tensor]) -> dict[str, Tensor]:
    """int8 q and a step per matrix with z ≈ 1 + step · q; the largest |z − 1| is exact."""
    packed, steps = {}, []
    for name, z in sorted(scales.items()):
        step = float((z - 1).abs().max()) / 127
        steps.append(step)
        packed[name] = ((z - 1) / step if step else z * 0).round().to(torch.int8)
    return {**packed, _SCALES: torch.tensor(steps, dtype=torch.float32)}


def unpack(file_name: str, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """float32 z per matrix from what a file holds."""
    if not is_packed(stored):
        return dict(stored)
    names = sorted(n for n in stored if n != _SCALES)
    steps = stored[_SCALES].float().reshape(-1)
    if len(steps) != len(names) or any(stored[n].dtype != torch.int8 for n in names):
        raise InputError(
            f"{file_name}: {len(steps)} steps for {len(names)} int8 matrices; the file is "
            "damaged: get it again."
        )
    return {n: 1 + step * stored[n].float() for n, step in zip(names, steps, strict=True)}


def pack_examples(examples: Tensor | None) -> dict[str, Tensor]:
    """int8 rows and a step for each."""
    if examples is None:
        return {}
    steps = (examples.abs().amax(1) / 127).clamp(min=1e-12)
    packed = (examples / steps[:, None]).round().to(torch.int8)
    return {_EXAMPLES: packed, _EXAMPLES_STEPS: steps}


def unpack_examples(file_name: str, stored: dict[str, Tensor]) -> Tensor | None:
    """Takes them out of what a file holds."""
    rows, steps = stored.pop(_EXAMPLES, None), stored.pop(_EXAMPLES_STEPS, None)
    if rows is None and steps is None:
        return None
    if rows is None or steps is None or rows.ndim != 2 or steps.shape != rows.shape[:1]:
        raise InputError(f"{file_name}: its router examples are damaged: get it again.")
    return rows.float() * steps.float()[:, None]


def metadata_json(file_name: str, metadata: dict[str, str], key: str, kind: type) -> Any:
    """One entry of the metadata, which are strings, as the JSON value that it holds."""
    try:
        value = json.loads(metadata.get(key) or json.dumps(kind()))
    except (ValueError, RecursionError) as error:  # not only bad JSON: too deep, too long a number
        raise InputError(f"{file_name}: its {key} are not JSON ({error}).") from None
    if _nesting(value) > _MOST_NESTED:
        raise InputError(
            f"{file_name}: its {key} are nested {_nesting(value)} deep; at most {_MOST_NESTED} are "
            "expected."
        )
    if not isinstance(value, kind):
        raise InputError(
            f"{file_name}: its {key} are {quoted(value)}; expected a JSON {kind.__name__}."
        )
    return value


def metadata_list(file_name: str, metadata: dict[str, str], key: str, kind: type) -> list[Any]:
    """One entry that is a JSON list of values of this kind."""
    values = metadata_json(file_name, metadata, key, list)
    if not all(isinstance(value, kind) for value in values):
        raise InputError(f"{file_name}: its {key} are {quoted(values)}; expected {kind.__name__}s.")
    return values


def _nesting(value: Any) -> int:
    """How many lists and dicts stand inside each other."""
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, (list, dict))]:
        depth += 1
        level = [x for v in level for x in (v.values() if isinstance(v, dict) else v)]
    return depth
