"""What a model holds of a prompt when it has read it: the state that the router compares.

Knows a model and token ids, nothing of experts: the caller sees to it that the base model reads.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from t2ui.checks import check_prompt
from t2ui.models.chat import chat_around, ends_of, text_ids
from t2ui.models.running import answering

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEPTH = 2 / 3  # of the layers: further up a state says what comes next, further down which words


def prompt_state(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompt: str
) -> Tensor:  # (hidden size,) float32
    """The mean of the hidden states of the person's text at two thirds of the depth.

    Raises:
        InputError: an empty prompt, or one with half of a surrogate pair.
    """
    check_prompt(prompt)
    before, _ = chat_around(tokenizer, "", "")
    own = ends_of(text_ids(tokenizer, prompt))
    ids = torch.tensor([[*before, *own]], device=model.device)
    with torch.inference_mode(), answering(model):
        found = model(input_ids=ids, output_hidden_states=True, use_cache=False, logits_to_keep=1)
    layer = round(DEPTH * (len(found.hidden_states) - 1))
    return found.hidden_states[layer][0, len(before) :].float().mean(0).cpu()


def prompt_states(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[str]
) -> Tensor:  # (prompts, hidden size) float32
    """`prompt_state` of each."""
    return torch.stack([prompt_state(model, tokenizer, prompt) for prompt in prompts])
