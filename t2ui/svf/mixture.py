"""Mixtures: z′ = 1 + Σ α_k (z_k − 1), their files, and one folded into an expert.

Knows experts and weights; no models, prompts or searches.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from t2ui.checks import ALPHA_LIMIT, Alpha, check_mixture, check_scope, check_texts
from t2ui.config import LEAST_SUM
from t2ui.errors import InputError, quoted
from t2ui.files import writing
from t2ui.svf.decomposition import layer_of
from t2ui.svf.expert import Expert

if TYPE_CHECKING:
    from t2ui.svf.adapter import Adapter

FORMAT = "t2ui.mixture"


@dataclass(frozen=True)
class Mixture:
    """Weights α by expert name. An expert that is not named has α = 0.

    With Σα = 1 this is the paper's Σ α_k z_k; otherwise the base model keeps 1 − Σα. `normalise`
    divides by Σα (per layer where weights are per layer) and refuses a sum so near zero that a
    divided weight leaves the range that any weight may have. `scope` says which tokens it acts on,
    one of config.SCOPES; "" leaves that to its experts, see `scope_of`.
    """

    weights: Mapping[str, Alpha] = field(default_factory=dict)
    normalise: bool = False
    scope: str = ""

    def __post_init__(self) -> None:
        if self.scope != "":
            check_scope(self.scope)
        checked = check_mixture(self.weights)
        object.__setattr__(self, "weights", checked)
        if self.normalise:
            for layer in range(_layers(checked) or 1):
                self.at_layer(layer)  # refuses a bad sum when it is made, not when it is used

    def at_layer(self, layer: int) -> dict[str, float]:
        """α by expert at one layer, normalised if asked for."""
        alphas = {n: a[layer] if isinstance(a, tuple) else a for n, a in self.weights.items()}
        if not self.normalise:
            return alphas
        total = sum(alphas.values())
        if abs(total) < LEAST_SUM:
            raise InputError(
                f"The weights sum to {total:g}, so they cannot be normalised: move a slider, or "
                "switch normalise off."
            )
        divided = {name: alpha / total for name, alpha in alphas.items()}
        largest = max(divided, key=lambda name: abs(divided[name]))
        if abs(divided[largest]) > ALPHA_LIMIT:
            raise InputError(
                f"The weights sum to {total:g}, so normalised the weight of {quoted(largest)} is "
                f"{divided[largest]:g}; expected between {-ALPHA_LIMIT:g} and {ALPHA_LIMIT:g}: "
                "move a slider, or switch normalise off."
            )
        return divided

    @property
    def as_it_acts(self) -> "Mixture":
        """The same mixture with its weights divided already, if `normalise` asks for it."""
        if not self.normalise:
            return self
        count = _layers(self.weights)
        if count is None:
            return Mixture(self.at_layer(0), scope=self.scope)
        layers = [self.at_layer(layer) for layer in range(count)]
        divided = {name: tuple(alphas[name] for alphas in layers) for name in self.weights}
        return Mixture(divided, scope=self.scope)

    @property
    def base_share(self) -> float:
        """1 − Σα, what the base model keeps; the mean over layers for per-layer weights."""
        count = _layers(self.weights) or 1
        return sum(1 - sum(self.at_layer(layer).values()) for layer in range(count)) / count


def mixture_of(weights: Mapping[str, Alpha], normalise: bool = False, scope: str = "") -> Mixture:
    """The mixture; with every α at 0 there is nothing to normalise, and the base model answers.

    Raises:
        InputError: what `Mixture` raises.
    """
    return Mixture(weights, normalise and any(map(used, weights.values())), scope)


def scope_of(mixture: Mixture, experts: Mapping[str, Expert]) -> str:
    """Which tokens a mixture acts on, one of config.SCOPES: as it says itself, or else as its
    experts were trained; "all", the paper's way, where they differ or none is used."""
    scopes = scopes_of(mixture, experts)
    return mixture.scope or (scopes.pop() if len(scopes) == 1 else "all")


def scopes_of(mixture: Mixture, experts: Mapping[str, Expert]) -> set[str]:
    """What the experts that it uses were trained for."""
    return {experts[name].scope for name, alpha in mixture.weights.items() if used(alpha)}


def used(alpha: Alpha) -> bool:
    """Whether an expert with this α has a part in the answer."""
    return any(alpha) if isinstance(alpha, tuple) else alpha != 0


def _layers(weights: Mapping[str, Alpha]) -> int | None:
    """How many layers have an α of their own; None where each expert has one for all."""
    return next((len(a) for a in weights.values() if isinstance(a, tuple)), None)


@dataclass(frozen=True)
class SavedMixture:
    """A mixture with where it came from, as a JSON file holds it.

    `provenance` is free; `experts` in it, name -> sha256, says which experts were mixed.
    """

    mixture: Mixture
    base_model: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What its file holds: JSON."""
        said = {
            "format": FORMAT,
            "weights": dict(self.mixture.weights),
            "normalise": self.mixture.normalise,
            "scope": self.mixture.scope,
            "base_model": self.base_model,
            "provenance": dict(self.provenance),
        }
        return json.dumps(said, indent=2, ensure_ascii=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            InputError: it cannot be written (see `files.writing`).
        """
        with writing(Path(path)) as beside:
            beside.write_text(self.text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "SavedMixture":
        """Read and check a mixture file.

        Raises:
            InputError: no such file, not JSON, not a mixture, or weights that are none.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"There is no mixture file at {path}: check the path.")
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, nested too deeply
            raise InputError(f"{path.name} is not JSON ({error}): choose a mixture file.") from None
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            raise InputError(
                f'{path.name} is no mixture: it does not say "format": "{FORMAT}". '
                "`python -m t2ui adapt` writes such files."
            )
        check_texts(path.name, said)
        expected = {
            "weights": dict,
            "normalise": bool,
            "scope": str,
            "base_model": str,
            "provenance": dict,
        }
        for key, kind in expected.items():
            if not isinstance(said.setdefault(key, kind()), kind):
                raise InputError(
                    f"{path.name}: {key} is {said[key]!r}; expected a JSON {kind.__name__}."
                )
        try:
            mixture = Mixture(said["weights"], said["normalise"], said["scope"])
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from None
        return cls(mixture, said["base_model"], said["provenance"])

    def misfits(self, base_model: str, experts: Mapping[str, Expert]) -> list[str]:
        """Sentences on what is not as it was when the mixture was found."""
        found = []
        if self.base_model not in ("", base_model):
            found.append(f"the mixture was found for {self.base_model}, not {base_model}")
        hashes = self.provenance.get("experts")
        for name, sha256 in hashes.items() if isinstance(hashes, dict) else ():
            if name in self.mixture.weights and name in experts and experts[name].sha256 != sha256:
                found.append(f"expert {name!r} is not the one that the mixture was found with")
        return found


def mix(experts: Mapping[str, Expert], mixture: Mixture) -> dict[str, Tensor]:
    """z′ = 1 + Σ α_k (z_k − 1) for every matrix that any used expert adapts.

    Returns:
        full module name -> z′, float32 of shape (r,). Empty when every α is 0: the base model.

    Raises:
        InputError: an unknown expert, experts of different shapes, or too few per-layer weights.
    """
    unknown = [name for name in mixture.weights if name not in experts]
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise InputError(
            f"There is no expert named {', '.join(map(quoted, unknown[:3]))}{more}; there are: "
            f"{', '.join(sorted(experts)) or 'none'}."
        )
    mixed: dict[str, Tensor] = {}
    # With normalise, one expert's weights per layer make every expert's α depend on the layer.
    layers = _layers(mixture.weights)
    for name in mixture.weights:
        for matrix, z in experts[name].scales.items():
            layer = 0 if layers is None else layer_of(matrix)
            if layers is not None and layer >= layers:
                raise InputError(
                    f"{layers} per-layer weights were given, but {quoted(name)} adapts layer "
                    f"{layer}: give one weight per layer."
                )
            weight = mixture.at_layer(layer)[name]
            if weight == 0:
                continue
            so_far = mixed.get(matrix)
            if so_far is None:
                # exactly z_k at α = 1, where 1 + (z − 1) would round
                mixed[matrix] = z.clone() if weight == 1 else 1 + weight * (z - 1)
            elif so_far.shape != z.shape:
                raise InputError(
                    f"{matrix}: expert {quoted(name)} has {z.numel()} scales, others "
                    f"{so_far.numel()}; experts of one base model are expected."
                )
            else:
                mixed[matrix] = so_far + weight * (z - 1)
    return mixed


def fold(
    adapter: "Adapter",
    experts: Mapping[str, Expert],
    mixture: Mixture,
    name: str,
    provenance: Mapping[str, Any] | None = None,
    **details: Any,
) -> Expert:
    """The mixture as one expert: α = 1 of it is the mixture.

    Args:
        adapter: of the model that it is for; gives the fingerprint.
        provenance: joins the mixture itself in the expert's training record.
        details: further fields of the Expert.

    Raises:
        InputError: what `mix` raises, every α is 0 (that is the base model), or the mixture says
            no scope and its experts were trained for different ones.
    """
    scales = mix(experts, mixture)
    if not mixture.scope and len(scopes_of(mixture, experts)) > 1:
        said = ", ".join(f"{n}: {experts[n].scope}" for n in sorted(mixture.weights))
        raise InputError(
            f"The experts were trained for different scopes ({said}), and an expert has one: "
            "choose scope all or answer."
        )
    if not scales:
        raise InputError("Every weight is 0, which is the base model: there is nothing to fold.")
    mixed = {n: alpha for n, alpha in mixture.weights.items() if used(alpha)}
    folded = {
        n: {"alpha": list(a) if isinstance(a, tuple) else a, "sha256": experts[n].sha256}
        for n, a in mixed.items()
    }
    return Expert(
        name=name,
        scales=scales,
        fingerprint=adapter.fingerprint_of(scales),
        scope=scope_of(mixture, experts),
        training={"folded_from": folded, "normalise": mixture.normalise, **(provenance or {})},
        **{"base_model": experts[next(iter(mixed))].base_model, **details},
    )
