"""Names of models: `t2ui/base`, `t2ui/auto`, `t2ui/math=0.7+code=0.3`, `t2ui/@NAME`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from t2ui.checks import check_alpha
from t2ui.errors import InputError, quoted
from t2ui.http.refusal import Refusal
from t2ui.messages import Experts

PREFIX = "t2ui/"
BASE, AUTO, SAVED = "base", "auto", "@"


@dataclass(frozen=True)
class Named:
    """What a model's name stands for: pass one, a saved mixture, or coefficients by expert (none
    for the base model)."""

    auto: bool = False
    saved: str = ""
    mixture: Mapping[str, float] = field(default_factory=dict)

    @property
    def base(self) -> bool:
        """Whether it names the base model."""
        return not (self.auto or self.saved or self.mixture)


def parsed(name: str) -> Named:
    """What this name says. Whether there are such experts, `check_there` knows.

    Raises:
        Refusal: it is none of the forms above.
    """
    rest = name.removeprefix(PREFIX)
    if rest == name or not rest:
        raise _unknown(name, "expected t2ui/base, t2ui/auto, t2ui/EXPERT=0.7 or t2ui/@MIXTURE")
    if rest in (BASE, AUTO):
        return Named(auto=rest == AUTO)
    if rest.startswith(SAVED):
        return Named(saved=rest.removeprefix(SAVED))
    mixture: dict[str, float] = {}
    for part in rest.split("+"):
        expert, equals, value = part.rpartition("=") if "=" in part else (part, "", "1")
        if not expert or expert in mixture:
            raise _unknown(name, f"{quoted(part)} is no EXPERT=COEFFICIENT, or one that is named")
        try:
            mixture[expert] = check_alpha(expert, value)
        except InputError as error:
            raise _unknown(name, str(error)) from None
    return Named(mixture=mixture)


def check_there(name: str, named: Named, experts: Experts | None) -> None:
    """Nothing, where all that it names is there, or nobody knows yet (the model loads).

    Raises:
        Refusal: an expert or a saved mixture that there is not.
    """
    if experts is None:
        return
    there = {one.name for one in experts.experts}
    missing = [expert for expert in named.mixture if expert not in there]
    if missing:
        names = ", ".join(sorted(there)) or "none"
        raise _unknown(name, f"there is no expert {quoted(missing[0])}; there are: {names}")
    if named.saved and named.saved not in experts.mixtures:
        names = ", ".join(sorted(experts.mixtures)) or "none"
        raise _unknown(name, f"there is no saved mixture of that name; there are: {names}")


def listed(experts: Experts | None) -> list[str]:
    """The names that /v1/models lists: any mixture of its experts is a model, too."""
    names = [BASE, AUTO]
    if experts is not None:
        names += [one.name for one in experts.experts if one.kind != "dispatcher"]
        names += [f"{SAVED}{name}" for name in experts.mixtures]
    return [f"{PREFIX}{name}" for name in names]


def _unknown(name: str, why: str) -> Refusal:
    said = f"The model {quoted(name)} does not exist: {why}."
    return Refusal(404, said, param="model", code="model_not_found")
