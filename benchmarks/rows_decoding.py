"""Sixteen answers with sixteen different mixtures: `python -m benchmarks.rows_decoding`.

In one batch (rows mode), beside a batch of sixteen equal mixtures (factored), a batch of the base
model, and the sixteen mixtures one after the other.
"""

import torch

from benchmarks.common import adapted_default, describe_machine, some_experts
from benchmarks.side_by_side import side_by_side
from t2ui.config import Sampling
from t2ui.inference.decoding import Row, generate
from t2ui.models.chat import chat_ids
from t2ui.svf.mixture import Mixture, mix

ROWS, TOKENS = 16, 16


def main() -> None:
    describe_machine()
    model, tokenizer, adapter = adapted_default()
    model.generation_config.eos_token_id = tokenizer.eos_token = None  # rows have all their tokens
    experts = some_experts(adapter)
    names = list(experts)
    prompt = chat_ids(tokenizer, "Which gas do plants take in from the air?")
    sampling = Sampling(max_new_tokens=TOKENS)
    mixtures = [
        mix(experts, Mixture({names[0]: i / ROWS, names[1]: 1 - i / ROWS})) for i in range(ROWS)
    ]

    def batch(scales: list) -> None:
        rows = [Row(i, prompt, z, sampling) for i, z in enumerate(scales)]
        generate(model, tokenizer, rows, adapter)

    def one_after_the_other() -> None:
        for z in mixtures:
            batch([z])

    print(f"{ROWS} rows of {TOKENS} tokens; ratios below 1 are faster than 16 different mixtures")
    side_by_side(
        {
            "16 different mixtures, one batch": lambda: batch(mixtures),
            "16 times one mixture, one batch": lambda: batch([mixtures[0]] * ROWS),
            "16 base rows, one batch": lambda: batch([None] * ROWS),
            "16 different mixtures, one by one": one_after_the_other,
        },
        rounds=3,
    )


if __name__ == "__main__":
    with torch.inference_mode():
        main()
