"""Puts scale vectors into a model and takes them out again.

Each adapted matrix keeps its place and its weight; only the module's `forward` is led through an
`SVFLinear`, which runs one mixture in one of three ways (design: "Semantics", 3). With z = 1 the
module's own forward runs, so the base model is exact, bit for bit. Knows nothing of text, prompts
or decoding.

What is set is set on the model, for every thread. A `with` block of the adapter therefore holds the
model (`model_lock`): other threads wait with their blocks, and with everything in this library that
runs the model, until it ends. Blocks may stand inside one another in one thread. A generator that
pauses inside a block goes on holding the model.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from t2ui.errors import InputError
from t2ui.model_lock import locked
from t2ui.svf.decomposition import (
    Factors,
    Progress,
    is_transposed,
    kind_of,
    load_or_decompose,
    weight_of,
)
from t2ui.svf.expert import Expert
from t2ui.svf.fit import Fit
from t2ui.svf.linear import RowPlan, Run, SVFLinear
from t2ui.svf.modules import adapted_modules, check_in_memory, check_model, left_out
from t2ui.svf.snapshot import Snapshot

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Scales = Mapping[str, Tensor]  # full module name -> z, (r,) float32; a missing matrix has z = 1
Setting = Mapping[str, Run]  # full module name -> what its forward runs


@dataclass(eq=False)
class _Block:
    """A `with` block that is open, and what is set in it."""

    setting: Setting


class Adapter:
    """Every adapted matrix of one model. Make it with `adapt`; `remove` gives the model back."""

    def __init__(
        self, model: nn.Module, modules: Mapping[str, nn.Module], factors: Mapping[str, Factors]
    ):
        self.model = cast("PreTrainedModel", model)  # or a wrapped one, which behaves like it
        self.factors: dict[str, Factors] = dict(factors)
        config = getattr(model, "config", None)
        self.fit = Fit(
            getattr(config, "name_or_path", "") or type(model).__name__,
            {name: (f.U.shape[0], f.Vh.shape[1]) for name, f in self.factors.items()},
            lambda name: self.factors[name].S[0].item(),
        )
        self.fingerprint = self.fit.fingerprint_of(self.factors)
        self._weights = Snapshot(modules)
        self.linears = {n: SVFLinear(self, m, self.factors[n]) for n, m in modules.items()}
        self._outside = _Block({n: linear.base for n, linear in self.linears.items()})
        self._blocks = [self._outside]  # the innermost last
        self._removed = False
        self.users: int | None = None  # of one that is only for a time; see `adapted`

    @property
    def names(self) -> tuple[str, ...]:
        """Full names of the adapted matrices, in the model's order."""
        return tuple(self.linears)

    @property
    def modules(self) -> str:
        """Which matrices `adapt` chose: "mlp", "attention" or "all"."""
        kinds = {kind_of(name) or "" for name in self.factors}
        return kinds.pop() if len(kinds) == 1 else "all"

    @property
    def left_out(self) -> tuple[str, ...]:
        """Full names of the matrices in blocks outside the language backbone, which stay as they
        are: a vision tower's, say."""
        return left_out(self.model)

    def remove(self) -> None:
        """Put every module's own forward back. The adapter cannot be used afterwards.

        Waits while another thread is inside a block.
        """
        with locked(self.model):
            for linear in self.linears.values():
                linear.remove()
            self.linears, self._removed = {}, True

    def __enter__(self) -> "Adapter":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def set(self, z: Scales, mode: str = "factored") -> None:
        """Run every call with these scales until the next `set`, `rows` or `reset`, in every
        thread; inside a block, until its end.

        Waits while another thread is inside a block. Two threads that both `set` outside of blocks
        undo each other's: use `applied`.

        Args:
            z: scales of some or all matrices; those missing, or exactly 1, run the base forward.
                In factored mode they may require gradients.
            mode: "factored" or "merged".

        Raises:
            InputError: other matrices or shapes, an unknown mode, a removed adapter, or weights
                that have changed since `adapt`.
        """
        if mode not in ("factored", "merged"):
            raise InputError(f"mode is {mode!r}; expected factored or merged.")
        with locked(self.model):
            self._check_scales([z])
            runs: dict[str, Run] = {}
            for name, linear in self.linears.items():
                scale = z.get(name)
                if scale is None or (not scale.requires_grad and bool((scale == 1).all())):
                    runs[name] = linear.base
                elif mode == "merged":
                    runs[name] = linear.merged(scale)
                else:
                    runs[name] = linear.factored(scale)
            self.restore(runs)  # only now: a failure above leaves the model as it was

    def set_rows(self, rows: Sequence[Scales | None], merged: Setting | None = None) -> None:
        """Give row b of every batch its own scales; None or {} is a base row. Lasts as `set` does.

        Rows that share one scales object share its storage, so a population of members times
        examples costs one z per member.

        Args:
            merged: for rows that are base rows or share one scales object: what `current` returned
                while that was set in mode "merged". They run through W and W′ then.

        Raises:
            InputError: what `set` raises.
        """
        distinct = list({id(z): z for z in rows if z}.values())
        with locked(self.model):
            if not distinct:
                return self.restore({name: one.base_rows for name, one in self.linears.items()})
            self._check_scales(distinct)
            position = {id(z): i for i, z in enumerate(distinct)}
            device = next(iter(self.linears.values())).factors.S.device
            plan = RowPlan([not z for z in rows], device)
            if merged is not None:
                beside = {n: one.beside_base(plan, merged[n]) for n, one in self.linears.items()}
                return self.restore(beside)
            index = torch.tensor([position[id(z)] for z in rows if z], device=device)
            runs: dict[str, Run] = {}
            for name, linear in self.linears.items():
                ones = torch.ones_like(linear.factors.S)
                stack = torch.stack([z.get(name, ones).to(device) for z in distinct])
                runs[name] = linear.rows(plan, stack, index)
            self.restore(runs)

    def reset(self) -> None:
        """Back to the base model, exactly. Lasts as `set` does."""
        with locked(self.model):
            self.restore({name: linear.base for name, linear in self.linears.items()})

    def current(self) -> Setting:
        """What is set at the moment, prepared for use; `restore` brings it back at no cost.

        Waits while another thread is inside a block.
        """
        with locked(self.model):
            return dict(self._blocks[-1].setting)

    def restore(self, setting: Setting) -> None:
        """Set again what `current` returned. Lasts as `set` does."""
        with locked(self.model):
            self._check_in_use()
            self._blocks[-1].setting = dict(setting)
            self._show()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever is set inside, what was set before comes back.

        Raises:
            InputError: at its end, where a block that was opened inside it is still open (two
                generators that were advanced in turns): answers in between may be the other's.
        """
        with locked(self.model):
            block = _Block(self._blocks[-1].setting)
            self._blocks.append(block)
            try:
                yield
            except BaseException:
                self._leave(block)
                raise
            if not self._leave(block):
                raise InputError(
                    "A block that was opened inside this one is still open: what was computed "
                    "since may have run under its scales. Close blocks in the reverse order."
                )

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The base model, exactly, inside the block."""
        with self.kept():
            self.reset()
            yield

    @contextmanager
    def applied(self, z: Scales, mode: str = "factored") -> Iterator[None]:
        """These scales inside the block. What is saved inside it (`save_pretrained`) holds W′."""
        with self.kept():
            self.set(z, mode)
            yield

    @contextmanager
    def rows(self, rows: Sequence[Scales | None]) -> Iterator[None]:
        """These rows inside the block; see `set_rows`. Nothing can be saved inside it."""
        with self.kept():
            self.set_rows(rows)
            yield

    def merged_weights(self, z: Scales | None = None) -> Iterator[tuple[str, Tensor]]:
        """W′ of every matrix that is changed, one at a time: memory for one of them is enough.

        Args:
            z: scales; by default those that are set at the moment.

        Yields:
            The parameter's full name, as in the model's state dict, and W′ as the module stores
            it ((out, in); GPT-2's Conv1D: (in, out)), summed in float32, in the weight's dtype.

        Raises:
            InputError: other matrices or shapes, a removed adapter, weights that have changed
                since `adapt`, or, without `z`, every row has scales of its own.
        """
        with locked(self.model):
            self._check_scales([z] if z else [])
            setting = self._blocks[-1].setting
        for name, linear in self.linears.items():
            if z is None:
                weight = linear.shown_weight(setting[name])
            elif (scale := z.get(name)) is None or bool((scale == 1).all()):
                weight = None
            else:
                weight = linear.new_weight(scale.detach())
            if weight is not None:
                stored = weight.T if is_transposed(linear.module) else weight
                yield f"{name}.weight", stored.detach().contiguous()

    def check(self, expert: Expert, allow_transfer: bool = False) -> None:
        """Refuse an expert that does not fit this model.

        Raises:
            InputError: other matrices or shapes (lists the first mismatches), or, unless
                `allow_transfer`, the same shapes with other weights.
        """
        self.fit.check(expert, allow_transfer)

    def fingerprint_of(self, names: Iterable[str]) -> str:
        """Fingerprint of some of the adapted matrices: what an expert of just those records."""
        return self.fit.fingerprint_of(names)

    def is_transfer(self, expert: Expert) -> bool:
        """Whether a fitting expert was made for other weights than this model's."""
        return self.fit.is_transfer(expert)

    def _leave(self, block: _Block) -> bool:
        """Close a block. Returns whether it was the innermost."""
        is_innermost = self._blocks[-1] is block
        self._blocks.remove(block)
        self._show()
        return is_innermost

    def _show(self) -> None:
        """Let the modules run what the innermost block has set."""
        setting = self._blocks[-1].setting
        for name, linear in self.linears.items():
            linear.run = setting[name]

    def _check_in_use(self) -> None:
        if self._removed:
            raise InputError("The adapter was removed from its model: make one with adapt(model).")

    def _check_scales(self, several: Sequence[Scales]) -> None:
        self._check_in_use()
        for name, scale in (pair for z in several for pair in z.items()):
            if name not in self.linears:
                raise InputError(f"{name} is not an adapted matrix of this model.")
            if scale.shape != self.linears[name].factors.S.shape:
                raise InputError(
                    f"{name}: got a scale vector of shape {tuple(scale.shape)}, expected "
                    f"{tuple(self.linears[name].factors.S.shape)}."
                )
        if changed := self._weights.changed():
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise InputError(
                f"The model's weights have changed since it was adapted ({changed[0]}{more}), so "
                "scales no longer belong to them: call remove() on the adapter, then adapt(model) "
                "again."
            )


def adapt(
    model: nn.Module,
    modules: str = "all",
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Adapter:
    """Decompose a model's matrices (cached on disk) and make them adaptable.

    Usable as a context manager, which removes the adapter at the end. The model computes exactly
    what it did until scales are set. Other threads wait with the model until it is done.

    Args:
        model: a causal language model, or its bare backbone, also inside `torch.compile` or peft;
            kept as it is but for the forwards of its matrices. LoRA updates stay beside them.
        modules: "mlp", "attention" or "all". The other half is not looked at.
        cache_dir: where decompositions are kept; `T2UI_CACHE` or the user's cache by default.
        progress: called with (what is done, fraction or None); also says what is left out.

    Raises:
        InputError: no model, no such matrices or others beside them, several stacks of blocks,
            weights that are quantised or not in memory, or the model has an adapter already.
    """
    check_model(model)
    with locked(model):
        if attached(model) is not None:
            raise InputError(
                "The model has an adapter already: use that one, or remove() it first."
            )
        chosen = adapted_modules(model, modules)
        weights = {name: weight_of(module) for name, module in chosen.items()}
        for name, weight in weights.items():
            check_in_memory(name, weight)
        others = left_out(model)
        if others and progress:
            progress(f"left as they are: {len(others)} matrices such as {others[0]}", None)
        return Adapter(model, chosen, load_or_decompose(weights, cache_dir, progress))


def attached(model: nn.Module) -> Adapter | None:
    """The adapter that a model carries, if any."""
    for module in check_model(model).modules():
        forward = vars(module).get("forward")
        if isinstance(forward, SVFLinear):
            return forward.adapter
    return None


@contextmanager
def adapted(model: nn.Module, modules: str = "all") -> Iterator[Adapter]:
    """The adapter that the model carries, or one for the time of the block.

    Threads share the one that was made for a time; it goes with the last block. The model is not
    held in between.

    Raises:
        InputError: what `adapt` raises.
    """
    with locked(check_model(model)):
        adapter = attached(model)
        if adapter is None:
            adapter = adapt(model, modules)
            adapter.users = 0
        if adapter.users is not None:
            adapter.users += 1
    try:
        yield adapter
    finally:
        with locked(model):
            if adapter.users is not None:
                adapter.users -= 1
                if adapter.users == 0:
                    adapter.remove()
