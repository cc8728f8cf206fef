"""One adapted matrix, and the ways in which its module's forward may run:

    base      the module's own forward
    merged    y = W′ x + b          W′ computed once, then a call costs what the base costs
    factored  y = U((S ⊙ z) ⊙ Vh x) + b      nothing is written; z may carry gradients
    rows      factored, with another z for every row of the batch; base rows run through W

Knows matrices and inputs; which scales are set, and for how long, is the adapter's.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from t2ui.errors import InputError
from t2ui.products import linear
from t2ui.svf.decomposition import Factors, changed_weight, is_transposed, weight_of

if TYPE_CHECKING:
    from t2ui.svf.adapter import Adapter

Run = Callable[[Tensor], Tensor]  # x (batch, …, in) -> y (batch, …, out)


class SVFLinear:
    """Stands in for one module's forward, and for its weight in what is saved."""

    def __init__(self, adapter: "Adapter", module: nn.Module, factors: Factors):
        self.adapter = adapter
        self.module = module
        self.factors = factors
        self.had_own_forward = "forward" in vars(module)  # accelerate's device hooks set one
        self.base: Run = module.forward
        self.base_rows: Run = module.forward
        if type(module) is nn.Linear and not self.had_own_forward:
            self.base_rows = Base(module)
        self.run: Run = self.base
        self._saving = module.register_state_dict_post_hook(_SavedWeight(self))
        module.forward = self

    def __call__(self, x: Tensor) -> Tensor:
        return self.run(x)

    def remove(self) -> None:
        """Give the module its own forward back."""
        self._saving.remove()
        if self.had_own_forward:
            self.module.forward = self.base
        else:
            del self.module.forward

    def merged(self, z: Tensor) -> "Merged":
        """Run with W′, written now; z is (r,)."""
        return Merged(self, self.new_weight(z))

    def factored(self, z: Tensor) -> "Factored":
        """Run through the factors; z is (r,)."""
        return Factored(self, self._scaled(z), z)

    def rows(self, plan: "RowPlan", z: Tensor, index: Tensor) -> "Rows":
        """Adapted row i of the batch, in the order in which the plan puts them, has z[index[i]].

        Args:
            z: (members, r).
            index: (adapted rows,), whole numbers.
        """
        # cast and gathered once here, not at every call of every step
        return Rows(self, plan, Factored(self, self._scaled(z)[index].unsqueeze(1)))

    def beside_base(self, plan: "RowPlan", run: Run) -> Run:
        """Base rows through W, all others as `run` does."""
        return run if plan.base == 0 or run == self.base else Rows(self, plan, run)

    def new_weight(self, z: Tensor) -> Tensor:
        """W′ (out, in) in the weight's dtype; z is (r,)."""
        weight = weight_of(self.module)
        return changed_weight(weight, self.factors, z).to(weight.dtype)

    def shown_weight(self, run: Run) -> Tensor | None:
        """W′ (out, in) of what is set, for whoever saves it; None where the base model runs.

        Raises:
            InputError: every row has its own scales.
        """
        if isinstance(run, Rows):
            raise InputError(
                "Every row has its own scales at the moment, and a file holds one set of weights: "
                "save inside `with adapter.applied(scales):`, or outside of any block."
            )
        return run.new_weight() if isinstance(run, (Merged, Factored)) else None

    def bias(self) -> Tensor | None:
        """(out,)"""
        bias = self.module.bias
        return bias if isinstance(bias, Tensor) else None

    def _scaled(self, z: Tensor) -> Tensor:
        """S ⊙ z in the compute dtype."""
        U, S, _ = self.factors
        return (S * z.to(S.device)).to(U.dtype)


class Base:
    """The base rows of a batch through one plain linear module: its own forward, to rounding."""

    def __init__(self, module: nn.Linear):
        self.module = module

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.module.weight, self.module.bias)  # as they are by now


class Merged:
    """One matrix with W′ in the place of W."""

    def __init__(self, linear: SVFLinear, weight: Tensor):
        self.linear, self.weight = linear, weight  # (out, in)

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.linear.bias())

    def new_weight(self) -> Tensor:
        """W′ (out, in)."""
        return self.weight


class Factored:
    """One matrix through its factors. `scaled` is S ⊙ z, (r,) or (batch, 1, r)."""

    def __init__(self, linear: SVFLinear, scaled: Tensor, z: Tensor | None = None):
        self.linear, self.scaled, self.z = linear, scaled, z

    def __call__(self, x: Tensor) -> Tensor:
        U, _, Vh = self.linear.factors
        return linear(linear(x, Vh) * self.scaled, U, self.linear.bias())

    def new_weight(self) -> Tensor:
        """W′ (out, in)."""
        assert self.z is not None  # rows have none of their own
        return self.linear.new_weight(self.z.detach())


class Rows:
    """One matrix with another z for every row of a batch; base rows run through W."""

    def __init__(self, linear: SVFLinear, plan: "RowPlan", adapted: Run):
        self.base, self.plan, self.adapted = linear.base_rows, plan, adapted

    def __call__(self, x: Tensor) -> Tensor:
        plan = self.plan
        if x.ndim != 3 or x.shape[0] != plan.batch:
            raise RuntimeError(
                f"rows were set for a batch of {plan.batch}, got an input of shape {tuple(x.shape)}"
            )
        if plan.base == 0:
            return self.adapted(x)
        if plan.order is not None:
            x = x[plan.order]
        y = torch.cat([self.base(x[: plan.base]), self.adapted(x[plan.base :])])
        return y if plan.inverse is None else y[plan.inverse]


class RowPlan:
    """Which rows of a batch are base rows; they are run first, then put back in their places."""

    def __init__(self, is_base: Sequence[bool], device: torch.device):
        self.batch, self.base = len(is_base), sum(is_base)
        order = sorted(range(self.batch), key=lambda row: not is_base[row])  # stable
        self.order: Tensor | None = None
        self.inverse: Tensor | None = None
        if order != list(range(self.batch)) and self.base:
            self.order = torch.tensor(order, device=device)
            self.inverse = self.order.argsort()


class _SavedWeight:
    """Puts W′ into the state dict while something is set, so that what is saved is what answers.

    An object and not a function: a deep copy of the model gets a hook of its own.
    """

    def __init__(self, linear: SVFLinear):
        self.linear = linear

    def __call__(
        self, module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]
    ) -> None:
        weight = self.linear.shown_weight(self.linear.run)
        if weight is not None:
            weight = weight.detach()
            state[f"{prefix}weight"] = weight.T if is_transposed(module) else weight
