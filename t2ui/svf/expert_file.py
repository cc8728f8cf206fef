"""How an expert lies in a safetensors file: int8 scales and examples, metadata as strings.

What they mean is `expert.Expert`'s part.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from t2ui.errors import InputError, quoted
from t2ui.files import writing

_SCALES = "int8.scales"  # float32 (matrices,), in the order of the sorted names
# int8 (n, width), and float32 (width,): what they are multiplied by, and what is added then. One
# step for a whole row would be as wide as examples of a narrow kind differ.
_EXAMPLES = "router.examples"
_EXAMPLES_STEPS, _EXAMPLES_CENTRE = "router.examples.steps", "router.examples.centre"
_EXAMPLES_ROW_STEPS = "router.examples.scales"  # (n,): older files have these instead
_OF_EXAMPLES = (_EXAMPLES, _EXAMPLES_STEPS, _EXAMPLES_CENTRE, _EXAMPLES_ROW_STEPS)
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
    """int8 rows, and for each of their columns a step and the middle."""
    if examples is None:
        return {}
    low, high = examples.amin(0), examples.amax(0)
    centre, steps = (low + high) / 2, ((high - low) / 254).clamp(min=1e-12)
    packed = ((examples - centre) / steps).round().clamp(-127, 127).to(torch.int8)
    return {_EXAMPLES: packed, _EXAMPLES_STEPS: steps, _EXAMPLES_CENTRE: centre}


def unpack_examples(file_name: str, stored: dict[str, Tensor]) -> Tensor | None:
    """Takes them out of what a file holds."""
    rows, steps, centre, row_steps = found = [stored.pop(key, None) for key in _OF_EXAMPLES]
    if all(tensor is None for tensor in found):
        return None
    if rows is not None and rows.ndim == 2:
        count, width = rows.shape
        if row_steps is not None and row_steps.shape == (count,):
            return rows.float() * row_steps.float()[:, None]
        if steps is not None and centre is not None and steps.shape == centre.shape == (width,):
            return rows.float() * steps.float() + centre.float()
    raise InputError(f"{file_name}: its router examples are damaged: get it again.")


def replace_examples(path: Path, examples: Tensor | None, groups: Sequence[int]) -> None:
    """Change a file's examples; its scales stay to the byte, which int8 ones that are packed anew
    need not."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        kept = {key: file.get_tensor(key) for key in file.keys() if key not in _OF_EXAMPLES}
    tensors = {**kept, **pack_examples(examples)}
    with writing(path) as beside:
        save_file(tensors, beside, {**metadata, "example_groups": json.dumps(list(groups))})


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
