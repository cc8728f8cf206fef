"""An expert: one scale vector z for every adapted matrix, with a name and where it came from.

Reads and writes safetensors files (design: "Expert files"). Knows no model and no transformers.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from t2ui.catalogue import TRAIN_OBJECTIVES
from t2ui.checks import SCOPES, check_texts
from t2ui.errors import InputError, quoted
from t2ui.files import writing
from t2ui.svf import expert_file
from t2ui.svf.decomposition import kind_of, leading_values
from t2ui.svf.expert_limits import MOST_CHARACTERS, check_expert, check_file, check_header
from t2ui.svf.hub import SUFFIXES, fetch, the_one

FORMAT, VERSION = "t2ui.svf", "1"
_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True, eq=False)
class Expert:
    """z per matrix (float32, shape (r,), z = 1 is the base model) and its provenance."""

    name: str
    scales: dict[str, Tensor]  # full module name -> (r,) float32
    base_model: str = ""
    fingerprint: str = ""
    description: str = ""
    task: str = ""
    labels: tuple[str, ...] = ()  # what pass one calls it; a dispatcher's are those it knows
    objective: str = ""  # "dispatch" marks a classification expert
    scope: str = "all"  # which tokens it was trained to act on, one of config.SCOPES
    training: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    created: str = ""
    license: str = ""
    sha256: str = ""  # of the tensors as stored; by default as they would be stored in float32
    compact: bool = False  # the file holds int8 (set when it is loaded or saved)
    # (n, width) float32: the base model's states on n prompts of its kind, which the router
    # compares a prompt with (t2ui/inference/dispatchers/router.py). No part of `sha256`.
    examples: Tensor | None = None
    # How many of them go together, in order, where they lie apart, as a generator's wording and
    # people's; () for all.
    example_groups: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or not self.name.strip():
            raise InputError("An expert needs a name.")
        object.__setattr__(self, "labels", tuple(self.labels))
        tensors = ("scales", "examples")
        said = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in tensors}
        for what, value in {**said, "matrices": list(self.scales)}.items():
            check_texts(f"the {what} of expert {quoted(self.name)}", value)
        check_expert(
            {key: getattr(self, key) for key in MOST_CHARACTERS},
            self.labels,
            {"training": self.training, "metrics": self.metrics},
            self.scales,
        )
        if self.scope not in SCOPES:
            raise InputError(
                f"Expert {quoted(self.name)} has the scope {quoted(self.scope)}; expected "
                f"{' or '.join(SCOPES)}: mend its metadata, or train it again."
            )
        if not self.scales:
            raise InputError(f"Expert {quoted(self.name)} has no scale vectors.")
        if self.examples is not None:
            object.__setattr__(self, "examples", _checked_examples(self.name, self.examples))
        object.__setattr__(self, "example_groups", tuple(self.example_groups))
        _check_groups(self.name, self.examples, self.example_groups)
        if self.fingerprint and not leading_values(self.fingerprint):
            raise InputError(
                f"Expert {quoted(self.name)} has the fingerprint {quoted(self.fingerprint[:80])}; "
                "expected a digest, a colon and singular values: train or export it again."
            )
        for matrix, z in self.scales.items():
            _check_scale(self.name, matrix, z)
        # A copy: safetensors maps files, so one that is overwritten in place would change an
        # expert that is in use, and one that is cut off would kill the process.
        clean = {
            matrix: z.detach().to("cpu", torch.float32, copy=True)
            for matrix, z in sorted(self.scales.items())
        }
        object.__setattr__(self, "scales", clean)
        if not self.sha256:  # so that receipts and caches can tell unsaved experts apart
            object.__setattr__(self, "sha256", tensors_sha256(clean))

    @property
    def parameters(self) -> int:
        """How many scales it holds."""
        return sum(z.numel() for z in self.scales.values())

    @property
    def is_dispatcher(self) -> bool:
        """Whether it classifies prompts in pass one instead of answering them."""
        return self.objective == "dispatch"

    @property
    def temperature(self) -> float:
        """What its label probabilities are read at; see `policy_temperature`."""
        return policy_temperature(self.training)

    @classmethod
    def load(cls, path: str | Path) -> "Expert":
        """Read and check an expert file, float32 or int8.

        Raises:
            InputError: no such file, not safetensors, not an expert, damaged, or not finite.
        """
        path = Path(path)
        check_file(path)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                check_header(path.name, metadata, file.keys())
                stored = {key: file.get_tensor(key) for key in file.keys()}
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path.name} is not a readable safetensors file ({str(error)[:200]}): it is "
                "truncated or of another kind; get it again."
            ) from None
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"{path.name} says format {quoted(metadata.get('format'))}; an expert says "
                f"{FORMAT!r}: this is another kind of safetensors file."
            )
        if metadata.get("version") != VERSION:
            raise InputError(
                f"{path.name} is of format version {quoted(metadata.get('version'))}; this t2ui "
                f"reads {VERSION!r}: update t2ui."
            )
        examples = expert_file.unpack_examples(path.name, stored)
        digest = tensors_sha256(stored)
        if metadata.get("sha256") != digest:
            raise InputError(
                f"{path.name} is damaged: its tensors hash to {digest[:12]}…, its metadata says "
                f"{str(metadata.get('sha256'))[:12]}…; get it again."
            )
        details = {
            "labels": expert_file.metadata_list(path.name, metadata, "labels", str),
            "training": expert_file.metadata_json(path.name, metadata, "training", dict),
            "metrics": expert_file.metadata_list(path.name, metadata, "metrics", dict),
            "example_groups": expert_file.metadata_list(path.name, metadata, "example_groups", int),
        }
        texts = ("base_model", "fingerprint", "description", "task", "objective", "created")
        return cls(
            name=metadata.get("name") or path.stem,
            scales=expert_file.unpack(path.name, stored),
            license=metadata.get("license", ""),
            scope=metadata.get("scope", "all"),  # older files do not say
            sha256=digest,
            compact=expert_file.is_packed(stored),
            examples=examples,
            **{key: metadata.get(key, "") for key in texts},
            **details,
        )

    def with_examples(self, examples: Tensor | None, groups: tuple[int, ...] = ()) -> "Expert":
        """The same expert, for the router's use with these examples, (n, width).

        Args:
            groups: see `example_groups`.
        """
        return replace(self, examples=examples, example_groups=groups)

    def save_examples(self, path: str | Path) -> "Expert":
        """Write the examples into the expert's own file, whose scales, and so its hash, stay as
        they are; returns the expert as stored."""
        expert_file.replace_examples(Path(path), self.examples, self.example_groups)
        return self.load(path)

    @property
    def grouped_examples(self) -> tuple[Tensor, ...]:
        """The examples, group by group, (n, width) each; none where there are none."""
        if self.examples is None:
            return ()
        return self.examples.split(list(self.example_groups or (len(self.examples),)))

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        name: str = "",
        *,
        revision: str | None = None,
        token: str | None = None,
    ) -> "Expert":
        """Read an expert from the hub, a folder or a file.

        Args:
            source: a repository (owner/name), a folder with expert files, or a file.
            name: of the file in it, with or without suffix; needed where there are several.
            revision: a branch, tag or commit of the repository.
            token: by default the one of `hf auth login` or HF_TOKEN.

        Raises:
            InputError: no such repository or file, several and no name, or what `load` raises.
        """
        path = Path(source)
        if path.suffix in SUFFIXES or path.is_file():
            return cls.load(path)
        if not path.is_dir():
            return cls.load(fetch(str(source), name, revision, token))
        found = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES)
        return cls.load(path / the_one(found, name, str(path), "experts"))

    def save(self, path: str | Path, compact: bool | None = None) -> "Expert":
        """Write the file, whole or not at all; returns the expert as stored.

        Args:
            path: must end in .safetensors or .svf.
            compact: int8 z − 1 with one float32 scale per matrix instead of float32 z; by
                default as it was loaded.

        Raises:
            InputError: another suffix, or the file cannot be written (see `files.writing`).
        """
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise InputError(f"{path.name} must end in {' or '.join(SUFFIXES)}.")
        compact = self.compact if compact is None else compact
        stored = expert_file.pack(self.scales) if compact else self.scales
        created = self.created or datetime.now(timezone.utc).isoformat(timespec="seconds")
        saved = replace(
            self,
            scales=expert_file.unpack(path.name, stored),
            created=created,
            compact=compact,
            sha256=tensors_sha256(stored),
        )
        tensors = {**stored, **expert_file.pack_examples(self.examples)}
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "name": saved.name,
            "base_model": saved.base_model,
            "fingerprint": saved.fingerprint,
            "description": saved.description,
            "task": saved.task,
            "labels": json.dumps(saved.labels),
            "example_groups": json.dumps(saved.example_groups),
            "objective": saved.objective,
            "scope": saved.scope,
            "training": json.dumps(saved.training, sort_keys=True),
            "metrics": json.dumps(saved.metrics, sort_keys=True),
            "created": created,
            "license": saved.license,
            "sha256": saved.sha256,
        }
        with writing(path) as beside:
            save_file({k: v.contiguous() for k, v in tensors.items()}, beside, metadata=metadata)
        return saved


def load_svf(path: str | Path) -> Expert:
    """Read an expert file; see `Expert.load`."""
    return Expert.load(path)


def policy_temperature(training: Mapping[str, Any]) -> float:
    """The temperature of the policy over closed answers, π ∝ exp(log-likelihood / temperature),
    that a training record tells of; probabilities mean what they were trained to mean at that one.

    1 without a record, and after a training that used none for closed answers.

    Raises:
        InputError: the record gives no number above 0.
    """
    objective = TRAIN_OBJECTIVES.get(training.get("objective", ""))  # older records do not say
    if objective is not None and not objective.tempers_answers:
        return 1.0
    found = training.get("temperature", 1.0)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 < found < math.inf:
        raise InputError(
            f"The training record gives the temperature {found!r}; expected a number above 0: "
            "train the expert again, or mend its record."
        )
    return float(found)


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """Hash of names, dtypes and bytes, in the order of the sorted names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_scale(expert: str, matrix: str, z: Tensor) -> None:
    if kind_of(matrix) is None:
        raise InputError(
            f"Expert {quoted(expert)} has a tensor {quoted(matrix)}; expected names of attention "
            "or MLP matrices such as model.layers.0.mlp.up_proj."
        )
    if z.ndim != 1 or not z.numel() or z.dtype not in _FLOATS:
        raise InputError(
            f"Expert {quoted(expert)}, {matrix}: got {z.dtype} of shape {tuple(z.shape)}; expected "
            "one float of 16, 32 or 64 bits per singular value, shape (r,)."
        )
    finite = torch.isfinite(z.float())  # as it is used: float64 holds what float32 cannot
    if not bool(finite.all()):
        bad = int((~finite).sum())
        raise InputError(
            f"Expert {quoted(expert)}, {matrix}: {bad} of {z.numel()} scales are NaN or infinite; "
            "the file cannot be used: train or export it again."
        )


def _checked_examples(expert: str, examples: Tensor) -> Tensor:
    """As float32 (n, width)."""
    found = examples.detach().to("cpu", torch.float32, copy=True)
    if found.ndim != 2 or not found.numel() or not bool(torch.isfinite(found).all()):
        raise InputError(
            f"Expert {quoted(expert)} has router examples of shape {tuple(found.shape)}; expected "
            "finite numbers, one row for each example prompt: make them again."
        )
    return found


def _check_groups(expert: str, examples: Tensor | None, groups: tuple[int, ...]) -> None:
    count = 0 if examples is None else len(examples)
    wrong = [size for size in groups if not isinstance(size, int) or size < 1]
    if groups and (wrong or sum(groups) != count):
        raise InputError(
            f"Expert {quoted(expert)} has {count} router examples in groups of "
            f"{quoted(list(groups))}; expected numbers that add up to them: make them again."
        )
