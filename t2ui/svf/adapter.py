"""Puts scale vectors into a model and takes them out again.

Each adapted matrix keeps its place and its weight; only the module's `forward` is led through an
`SVFLinear`, which runs one mixture in one of three ways (design: "Semantics", 3):

    merged    y = W′ x + b          W′ computed once, then a call costs what the base costs
    factored  y = U((S ⊙ z) ⊙ Vh x) + b      nothing is written; z may carry gradients
    rows      factored, with another z for every row of the batch; base rows run through W

With z = 1 the module's own forward runs, so the base model is exact, bit for bit. Knows nothing
of text, prompts or decoding.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2ui.errors import InputError
from t2ui.svf.decomposition import (
    Factors,
    Progress,
    adapted_modules,
    fingerprint,
    kind_of,
    load_or_decompose,
    same_model,
    same_shapes,
    weight_of,
)
from t2ui.svf.expert import Expert

Scales = Mapping[str, Tensor]  # full module name -> z, (r,) float32; a missing matrix has z = 1
Setting = Mapping[str, Callable[[Tensor], Tensor]]  # full module name -> what its forward runs


class SVFLinear:
    """Stands in for one module's forward: x (batch, …, in) -> y (batch, …, out)."""

    def __init__(self, adapter: "Adapter", module: nn.Module, factors: Factors):
        self.adapter = adapter
        self.module = module
        self.factors = factors
        self.had_own_forward = "forward" in vars(module)  # accelerate's device hooks set one
        self.base: Callable[[Tensor], Tensor] = module.forward
        self.run = self.base

    def __call__(self, x: Tensor) -> Tensor:
        return self.run(x)

    def merged(self, z: Tensor) -> Callable[[Tensor], Tensor]:
        U, S, Vh = self.factors
        weight = weight_of(self.module)
        # W + the change, not U S Vh: what z leaves alone stays as the checkpoint has it
        change = (U.float() * (S * (z.to(S.device) - 1))) @ Vh.float()
        merged = (weight.float() + change).to(weight.dtype)
        return lambda x: F.linear(x, merged, self.module.bias)

    def factored(self, scaled_sigma: Tensor) -> Callable[[Tensor], Tensor]:
        """`scaled_sigma` is S ⊙ z, (r,) or (batch, 1, r), in the compute dtype."""
        U, _, Vh = self.factors
        bias = self.module.bias
        return lambda x: F.linear(F.linear(x, Vh) * scaled_sigma, U, bias)

    def rows(self, plan: "_RowPlan", scaled_sigma: Tensor) -> Callable[[Tensor], Tensor]:
        """`scaled_sigma` is (adapted rows, 1, r), in the order in which the plan puts them."""
        adapted = self.factored(scaled_sigma)

        def run(x: Tensor) -> Tensor:
            if x.ndim != 3 or x.shape[0] != plan.batch:
                raise RuntimeError(
                    f"rows were set for a batch of {plan.batch}, got an input of shape "
                    f"{tuple(x.shape)}"
                )
            if plan.base == 0:
                return adapted(x)
            if plan.order is not None:
                x = x[plan.order]
            y = torch.cat([self.base(x[: plan.base]), adapted(x[plan.base :])])
            return y if plan.inverse is None else y[plan.inverse]

        return run


class _RowPlan:
    """Which rows of a batch are base rows; they are run first, then put back in their places."""

    def __init__(self, is_base: Sequence[bool], device: torch.device):
        self.batch, self.base = len(is_base), sum(is_base)
        order = sorted(range(self.batch), key=lambda row: not is_base[row])  # stable
        self.order = self.inverse = None
        if order != list(range(self.batch)) and self.base:
            self.order = torch.tensor(order, device=device)
            self.inverse = self.order.argsort()


class Adapter:
    """Every adapted matrix of one model. Make it with `adapt`; `remove` gives the model back."""

    def __init__(self, model: nn.Module, modules: Mapping[str, nn.Module], factors: Scales):
        self.model = model
        self.factors: dict[str, Factors] = dict(factors)
        self.fingerprint = fingerprint(self.factors)
        self.linears = {n: SVFLinear(self, m, self.factors[n]) for n, m in modules.items()}
        for linear in self.linears.values():
            linear.module.forward = linear

    @property
    def names(self) -> tuple[str, ...]:
        """Full names of the adapted matrices, in the model's order."""
        return tuple(self.linears)

    @property
    def modules(self) -> str:
        """Which matrices `adapt` chose: "mlp", "attention" or "all"."""
        kinds = {kind_of(name) for name in self.factors}
        return kinds.pop() if len(kinds) == 1 else "all"

    def remove(self) -> None:
        """Put every module's own forward back. The adapter cannot be used afterwards."""
        for linear in self.linears.values():
            if linear.had_own_forward:
                linear.module.forward = linear.base
            else:
                del linear.module.forward
        self.linears = {}

    def __enter__(self) -> "Adapter":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def set(self, z: Scales, mode: str = "factored") -> None:
        """Run every call with these scales until the next `set`, `rows` or `reset`.

        Args:
            z: scales of some or all matrices; those missing, or exactly 1, run the base forward.
                In factored mode they may require gradients.
            mode: "factored" or "merged".
        """
        if mode not in ("factored", "merged"):
            raise InputError(f"mode is {mode!r}; expected factored or merged.")
        self._check_names(z)
        runs = {}
        for name, linear in self.linears.items():
            scale = z.get(name)
            if scale is None or (not scale.requires_grad and bool((scale == 1).all())):
                runs[name] = linear.base
            elif mode == "merged":
                runs[name] = linear.merged(scale)
            else:
                runs[name] = linear.factored(self._scaled(linear, scale))
        self.restore(runs)  # only now: a failure above leaves the model as it was

    def set_rows(self, rows: Sequence[Scales | None]) -> None:
        """Give row b of every batch its own scales; None or {} is a base row.

        Rows that share one scales object share its storage, so a population of members times
        examples costs one z per member.
        """
        distinct = list({id(z): z for z in rows if z}.values())
        for z in distinct:
            self._check_names(z)
        position = {id(z): i for i, z in enumerate(distinct)}
        adapted = [position[id(z)] for z in rows if z]
        if not adapted:
            return self.reset()
        device = next(iter(self.linears.values())).factors.S.device
        plan = _RowPlan([not z for z in rows], device)
        index = torch.tensor(adapted, device=device)
        runs = {}
        for name, linear in self.linears.items():
            ones = torch.ones_like(linear.factors.S)
            stack = torch.stack([z.get(name, ones).to(device) for z in distinct])
            # cast and gathered once here, not at every call of every step
            runs[name] = linear.rows(plan, self._scaled(linear, stack)[index].unsqueeze(1))
        self.restore(runs)

    def reset(self) -> None:
        """Back to the base model, exactly."""
        self.restore({name: linear.base for name, linear in self.linears.items()})

    def current(self) -> Setting:
        """What is set at the moment, prepared for use; `restore` brings it back at no cost."""
        return {name: linear.run for name, linear in self.linears.items()}

    def restore(self, setting: Setting) -> None:
        """Set again what `current` returned."""
        for name, run in setting.items():
            self.linears[name].run = run

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever is set inside, what was set before comes back."""
        before = self.current()
        try:
            yield
        finally:
            self.restore(before)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The base model, exactly, inside the block."""
        with self.kept():
            self.reset()
            yield

    @contextmanager
    def applied(self, z: Scales, mode: str = "factored") -> Iterator[None]:
        """These scales inside the block."""
        with self.kept():
            self.set(z, mode)
            yield

    @contextmanager
    def rows(self, rows: Sequence[Scales | None]) -> Iterator[None]:
        """These rows inside the block; see `set_rows`."""
        with self.kept():
            self.set_rows(rows)
            yield

    def check(self, expert: Expert, allow_transfer: bool = False) -> None:
        """Refuse an expert that does not fit this model.

        Raises:
            InputError: other matrices or shapes (lists the first mismatches), or, unless
                `allow_transfer`, the same shapes with other weights.
        """
        wrong = []
        for name, z in expert.scales.items():
            if name not in self.factors:
                wrong.append(f"{name}: not in the model")
            elif z.numel() != self.factors[name].S.numel():
                wrong.append(
                    f"{name}: {z.numel()} scales, the model has {self.factors[name].S.numel()}"
                )
        if wrong:
            raise InputError(
                f"Expert {expert.name!r} is for {expert.base_model or 'another model'} and does "
                f"not fit: {'; '.join(wrong[:3])}{' …' if len(wrong) > 3 else ''} "
                f"({len(wrong)} in all). Load the model it was made for."
            )
        if expert.fingerprint and not same_shapes(
            expert.fingerprint, self.fingerprint_of(expert.scales)
        ):  # as many singular values, but of matrices with another longer side
            raise InputError(
                f"Expert {expert.name!r} is for {expert.base_model or 'another model'}, whose "
                f"matrices have other shapes than those of {self._model_name()}, and does not "
                "fit: load the model it was made for."
            )
        if self.is_transfer(expert) and not allow_transfer:
            raise InputError(
                f"Expert {expert.name!r} was made for {expert.base_model or 'other weights'} and "
                "the loaded model has the same shapes but other weights; ask for a cross-model "
                "transfer (allow_transfer) to use it all the same."
            )

    def fingerprint_of(self, names: Iterable[str]) -> str:
        """Fingerprint of some of the adapted matrices: what an expert of just those records."""
        return fingerprint({name: self.factors[name] for name in names})

    def is_transfer(self, expert: Expert) -> bool:
        """Whether a fitting expert was made for other weights than this model's."""
        own = self.fingerprint_of(expert.scales)
        return bool(expert.fingerprint) and not same_model(expert.fingerprint, own)

    def _model_name(self) -> str:
        config = getattr(self.model, "config", None)
        return getattr(config, "name_or_path", "") or type(self.model).__name__

    def _check_names(self, z: Scales) -> None:
        for name, scale in z.items():
            if name not in self.linears:
                raise InputError(f"{name} is not an adapted matrix of this model.")
            if scale.shape != self.linears[name].factors.S.shape:
                raise InputError(
                    f"{name}: got a scale vector of shape {tuple(scale.shape)}, expected "
                    f"{tuple(self.linears[name].factors.S.shape)}."
                )

    @staticmethod
    def _scaled(linear: SVFLinear, z: Tensor) -> Tensor:
        U, S, _ = linear.factors
        return (S * z.to(S.device)).to(U.dtype)


def adapt(
    model: nn.Module,
    modules: str = "all",
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Adapter:
    """Decompose a model's matrices (cached on disk) and make them adaptable.

    Usable as a context manager, which removes the adapter at the end. The model computes exactly
    what it did until scales are set.

    Args:
        model: a causal language model; kept as it is but for the forwards of its matrices.
        modules: "mlp", "attention" or "all".
        cache_dir: where decompositions are kept; `T2UI_CACHE` or the user's cache by default.
        progress: called with (what is done, fraction or None).

    Raises:
        InputError: no such matrices, or the model has an adapter already.
    """
    if attached(model) is not None:
        raise InputError("The model has an adapter already: use that one, or remove() it first.")
    chosen = adapted_modules(model, modules)
    weights = {name: weight_of(module) for name, module in chosen.items()}
    return Adapter(model, chosen, load_or_decompose(weights, cache_dir, progress))


@contextmanager
def adapted(model: nn.Module, modules: str = "all") -> Iterator[Adapter]:
    """The adapter that the model carries, or a new one for the time of the block.

    Args:
        modules: of a new one; see `adapt`.

    Raises:
        InputError: what `adapt` raises.
    """
    held = attached(model)
    if held is not None:
        yield held
        return
    with adapt(model, modules) as adapter:
        yield adapter


def attached(model: nn.Module) -> Adapter | None:
    """The adapter that a model carries, if any."""
    for module in model.modules():
        forward = vars(module).get("forward")
        if isinstance(forward, SVFLinear):
            return forward.adapter
    return None
