"""Pass one without asking the model anything: its state over the prompt says the kind.

The base model reads the prompt, and its hidden state is compared with those of the example prompts
that experts bring in their files (`Kinds`). Nothing is trained; an expert joins by its examples. A
prompt unlike all of them is `others`: the base model answers. Of `others` a classification expert
brings examples.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable

from torch import Tensor, cat
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.config import OTHERS
from t2ui.errors import InputError
from t2ui.inference.dispatch import Classification
from t2ui.inference.dispatchers import Experts
from t2ui.inference.kinds import LEAST_EXAMPLES, Kinds
from t2ui.models.prompt_states import prompt_state, prompt_states
from t2ui.svf.adapter import Adapter
from t2ui.svf.expert import Expert

EXAMPLES = 64  # that an expert brings of the task that it was trained on
MOST_EXAMPLES = 512  # that are taken from a file
KEPT_STATES = 256  # of prompts that were read last
KEPT_KINDS = 4  # sets of experts that were compared with last, by all dispatchers of the process
# With the experts, so that the ids in the key stay theirs.
_fitted: OrderedDict[tuple, tuple[list[Expert], Kinds]] = OrderedDict()


class RouterDispatcher:
    """Compares a prompt's state with the experts' examples."""

    remedy = "give an expert examples with `t2ui experts examples`, or choose dispatch prompt"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Adapter
    ) -> None:
        self._model, self._tokenizer, self._adapter = model, tokenizer, adapter
        self._states: OrderedDict[str, Tensor] = OrderedDict()  # by prompt

    def usable(self, experts: Experts) -> bool:
        return any(not e.is_dispatcher for e in self._with_examples(experts).values())

    def labels(self, experts: Experts) -> tuple[str, ...]:
        found = dict.fromkeys(_label(n, e) for n, e in self._with_examples(experts).items())
        found.pop(OTHERS, None)
        return (*found, OTHERS) if found else ()

    def classify(self, prompt: str, experts: Experts) -> Classification:
        kinds = self._kinds(experts)
        began = time.perf_counter()
        probabilities = kinds.probabilities(self._state(prompt))
        label = max(probabilities, key=probabilities.__getitem__)
        seconds = time.perf_counter() - began
        return Classification(label, probabilities, probabilities, "", seconds)

    def _with_examples(self, experts: Experts) -> Experts:
        """Those that bring enough examples of this very model: in another one states mean other
        things."""
        width = self._model.config.get_text_config().hidden_size
        return {
            name: expert
            for name, expert in experts.items()
            if expert.examples is not None
            and len(expert.examples) >= LEAST_EXAMPLES
            and expert.examples.shape[1] == width
            and not self._adapter.is_transfer(expert)
        }

    def _kinds(self, experts: Experts) -> Kinds:
        used = self._with_examples(experts)
        key = tuple((_label(n, e), id(e.examples), e.example_groups) for n, e in used.items())
        found = _fitted.pop(key, None) or (list(used.values()), Kinds.of(_by_label(used)))
        _fitted[key] = found
        if len(_fitted) > KEPT_KINDS:
            _fitted.popitem(last=False)
        return found[1]

    def _state(self, prompt: str) -> Tensor:
        found = self._states.get(prompt)
        if found is None:
            with self._adapter.disabled():
                found = prompt_state(self._model, self._tokenizer, prompt)
            self._states[prompt] = found
            if len(self._states) > KEPT_STATES:
                self._states.popitem(last=False)
        return found


def _label(name: str, expert: Expert) -> str:
    return OTHERS if expert.is_dispatcher else (*expert.labels, name)[0]


def _by_label(experts: Experts) -> dict[str, list[Tensor]]:
    """The groups of examples; experts with the same label bring them together."""
    found: dict[str, list[Tensor]] = {}
    for name, expert in experts.items():
        found.setdefault(_label(name, expert), []).extend(expert.grouped_examples)
    return found


def with_examples(
    expert: Expert,
    prompts: Iterable[str],
    adapter: Adapter,
    tokenizer: PreTrainedTokenizerBase,
    reworded: Iterable[str] = (),
) -> Expert:
    """The expert with its examples, by which the router knows its kind of prompt.

    Args:
        prompts: of that kind, different ones; for a classification expert those of `others`. The
            base model reads every one, alone.
        adapter: of the model that the expert was made for.
        reworded: the same kind in quite other words, a group of its own.

    Raises:
        InputError: an expert of another model, or too few prompts.
    """
    adapter.check(expert)
    chosen = list(dict.fromkeys(prompts))
    if len(chosen) < LEAST_EXAMPLES:
        raise InputError(
            f"Expert {expert.name!r} was given {len(chosen)} different example prompts; at least "
            f"{LEAST_EXAMPLES} are needed, {EXAMPLES} are a good number."
        )
    others = [prompt for prompt in dict.fromkeys(reworded) if prompt not in chosen]
    with adapter.disabled():
        states = [
            prompt_states(adapter.model, tokenizer, part) for part in (chosen, others) if part
        ]
    different = len(states[0].unique(dim=0))
    if different < LEAST_EXAMPLES:
        raise InputError(
            f"Of expert {expert.name!r}'s example prompts {different} read differently; at least "
            f"{LEAST_EXAMPLES} must: of a long prompt the beginning and the end are read."
        )
    groups = tuple(map(len, states)) if len(states) > 1 else ()
    return expert.with_examples(cat(states), groups)
