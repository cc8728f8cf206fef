"""From a line-up to what answers each of its columns."""

from collections.abc import Mapping
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from t2ui.catalogue import CONTROLS, NO_DISPATCH
from t2ui.config import AnswerSettings
from t2ui.errors import InputError
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.plan import Plan, asked_ids, make_plan
from t2ui.lineup import Lineup
from t2ui.svf import controls
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, scope_of, used


def plans_of(
    dispatchers: Dispatchers,
    prompt: str,
    experts: Mapping[str, Expert],
    lineup: Lineup,
    settings: AnswerSettings,
) -> list[Plan]:
    """What answers with each column, all in one scope: the one that is set, or that for which all
    experts that any of them uses were trained.

    Raises:
        InputError: what `make_plan` raises of one of them, or controls of the base model.
    """
    mixtures = lineup.mixtures
    together = {n for one in mixtures for n, alpha in one.items() if used(alpha) and n in experts}
    scope = settings.scope or scope_of(Mixture(dict.fromkeys(together, 1.0)), experts)

    def plan(mixture: Mapping) -> Plan:
        own = replace(settings, mixture=mixture, dispatch=NO_DISPATCH, scope=scope)
        return make_plan(dispatchers, prompt, experts, own)

    plans = [plan(mixture) for mixture in mixtures]
    expert, base = plans[lineup.controlled], None
    for name in lineup.controls:
        if not expert.scales:
            raise InputError(
                "Controls were asked for of a mixture that is the base model: choose one that is "
                "not."
            )
        base = base or plan({})
        plans.append(CONTROLS[name].load()(expert, base, lineup, dispatchers.tokenizer))
    return plans


def asked(plan: Plan, prompt: str, tokenizer: PreTrainedTokenizerBase) -> Plan:
    """The same column's plan for another prompt."""
    settings = plan.settings
    ids = asked_ids(tokenizer, prompt, settings.before, settings.plain)
    return replace(plan, prompt=prompt, prompt_ids=ids)


# --- the controls: what answers in the place of an expert's plan ---------------------------------


def shuffled(expert: Plan, base: Plan, lineup: Lineup, tokenizer: PreTrainedTokenizerBase) -> Plan:
    """See `svf.controls.shuffled`."""
    return replace(expert, scales=controls.shuffled(expert.scales))


def random(expert: Plan, base: Plan, lineup: Lineup, tokenizer: PreTrainedTokenizerBase) -> Plan:
    """See `svf.controls.random_like`."""
    return replace(expert, scales=controls.random_like(expert.scales))


def with_examples(
    expert: Plan, base: Plan, lineup: Lineup, tokenizer: PreTrainedTokenizerBase
) -> Plan:
    """The base model, that is shown examples with their right answers before the prompt."""
    settings = replace(base.settings, before=(*base.settings.before, *lineup.turns))
    return asked(replace(base, settings=settings), base.prompt, tokenizer)
