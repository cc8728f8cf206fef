"""From moved sliders to weights that answer: `python -m benchmarks.slider_to_weights`.

Beside ours, the authors' way: recompose U diag(σ ⊙ z) Vᵀ of every matrix and write it into the
model. Both start from the same weights α and end with a model that is ready to be called.
"""

import itertools

import torch

from benchmarks.common import adapted_default, describe_machine, some_experts
from benchmarks.side_by_side import side_by_side
from t2ui.svf.adapter import attached
from t2ui.svf.decomposition import reconstruct
from t2ui.svf.mixture import Mixture, mix


def main() -> None:
    describe_machine()
    model, _, adapter = adapted_default()
    experts = some_experts(adapter)
    names = list(experts)
    positions = itertools.count()

    def next_mixture() -> Mixture:
        step = next(positions) % 20 / 20  # every slider position is new
        return Mixture({names[0]: step, names[1]: 1 - step, names[2]: 0.3})

    def factored() -> None:
        adapter.set(mix(experts, next_mixture()), "factored")

    def merged() -> None:
        adapter.set(mix(experts, next_mixture()), "merged")

    written = {
        name: torch.empty(f.U.shape[0], f.Vh.shape[1]) for name, f in adapter.factors.items()
    }

    def recompose_every_matrix() -> None:
        z = mix(experts, next_mixture())
        for name, factors in adapter.factors.items():
            written[name].copy_(reconstruct(factors, z[name]))

    with torch.inference_mode():
        side_by_side(
            {
                "factored (ours, a slider drag)": factored,
                "recompose every matrix (the authors' way)": recompose_every_matrix,
                "merged (ours, long answers)": merged,
            }
        )
    attached(model).remove()


if __name__ == "__main__":
    main()
