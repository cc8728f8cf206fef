"""Mixtures: z′ = 1 + Σ α_k (z_k − 1). Pure functions of experts and weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from t2ui.config import check_alpha
from t2ui.errors import InputError
from t2ui.expert import Expert
from t2ui.svd import layer_of

Alpha = float | tuple[float, ...]  # one for the whole model, or one per layer


@dataclass(frozen=True)
class Mixture:
    """Weights α by expert name. An expert that is not named has α = 0.

    With Σα = 1 this is the paper's Σ α_k z_k; otherwise the base model keeps 1 − Σα. `normalise`
    divides by Σα (per layer where weights are per layer) and refuses a zero sum.
    """

    weights: Mapping[str, Alpha] = field(default_factory=dict)
    normalise: bool = False

    def __post_init__(self) -> None:
        checked: dict[str, Alpha] = {}
        for name, alpha in self.weights.items():
            if isinstance(alpha, Sequence) and not isinstance(alpha, str):
                checked[name] = tuple(check_alpha(name, a) for a in alpha)
            else:
                checked[name] = check_alpha(name, alpha)
        lengths = {len(a) for a in checked.values() if isinstance(a, tuple)}
        if len(lengths) > 1:
            raise InputError(
                f"Per-layer weights of different lengths {sorted(lengths)}; expected one weight "
                "per layer of the model for each."
            )
        object.__setattr__(self, "weights", checked)
        if self.normalise:
            for layer in range(next(iter(lengths), 1)):
                self.at_layer(layer)  # refuses a zero sum when it is made, not when it is used

    def at_layer(self, layer: int) -> dict[str, float]:
        """α by expert at one layer, normalised if asked for."""
        alphas = {n: a[layer] if isinstance(a, tuple) else a for n, a in self.weights.items()}
        if not self.normalise:
            return alphas
        total = sum(alphas.values())
        if abs(total) < 1e-6:
            raise InputError(
                f"The weights sum to {total:g}, so they cannot be normalised: move a slider, or "
                "switch normalise off."
            )
        return {name: alpha / total for name, alpha in alphas.items()}

    @property
    def base_share(self) -> float:
        """1 − Σα, what the base model keeps; the mean over layers for per-layer weights."""
        layers = [a for a in self.weights.values() if isinstance(a, tuple)]
        count = len(layers[0]) if layers else 1
        return sum(1 - sum(self.at_layer(layer).values()) for layer in range(count)) / count


def mix(experts: Mapping[str, Expert], mixture: Mixture) -> dict[str, Tensor]:
    """z′ = 1 + Σ α_k (z_k − 1) for every matrix that any used expert adapts.

    Returns:
        full module name -> z′, float32 of shape (r,). Empty when every α is 0: the base model.

    Raises:
        InputError: an unknown expert, experts of different shapes, or too few per-layer weights.
    """
    unknown = [name for name in mixture.weights if name not in experts]
    if unknown:
        raise InputError(
            f"There is no expert named {', '.join(map(repr, unknown))}; there are: "
            f"{', '.join(sorted(experts)) or 'none'}."
        )
    mixed: dict[str, Tensor] = {}
    # With normalise, one expert's weights per layer make every expert's α depend on the layer.
    layers = next((len(a) for a in mixture.weights.values() if isinstance(a, tuple)), None)
    for name in mixture.weights:
        for matrix, z in experts[name].scales.items():
            layer = 0 if layers is None else layer_of(matrix)
            if layers is not None and layer >= layers:
                raise InputError(
                    f"{layers} per-layer weights were given, but {name!r} adapts layer {layer}: "
                    "give one weight per layer."
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
                    f"{matrix}: expert {name!r} has {z.numel()} scales, others "
                    f"{so_far.numel()}; experts of one base model are expected."
                )
            else:
                mixed[matrix] = so_far + weight * (z - 1)
    return mixed
