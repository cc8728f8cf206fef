"""The first token of seven mixtures, one after the other: `python -m benchmarks.first_token`.

A person explores mixtures of one long prompt. With scope "all" every mixture reads it anew; with
scope "answer" the base model has read it once, and what it read is kept. Both in the same run, and
the base model's reading beside them.
"""

import argparse
import statistics
import time

import torch

from benchmarks.common import adapted_default, describe_machine, some_experts
from benchmarks.side_by_side import side_by_side
from t2ui.config import Sampling
from t2ui.inference.decoding import Decoder, Row
from t2ui.inference.prompt_store import PromptStore
from t2ui.models.chat import answer_tail, chat_ids
from t2ui.svf.mixture import Mixture, mix

WORDS = "The farmer counted the sheep again and wrote the number into the old book. "
QUESTION = "How often did the farmer count the sheep?"
MIXTURES = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=1000, help="of the prompt, about")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    describe_machine()
    model, tokenizer, adapter = adapted_default()
    experts = some_experts(adapter)
    one, two, *_ = experts
    prompt = chat_ids(tokenizer, WORDS * (arguments.tokens // 15) + QUESTION)
    steps = [i / (MIXTURES - 1) for i in range(MIXTURES)]
    scales = [mix(experts, Mixture({one: 1 - a, two: a})) for a in steps]
    tail = answer_tail(tokenizer)

    def first_token(z, tail: int | None, store: PromptStore | None) -> float:
        """Seconds from the request to its first token."""
        began = time.perf_counter()
        decoder = Decoder(model, tokenizer, adapter, store=store)
        decoder.add([Row(0, prompt, z, Sampling(max_new_tokens=1), tail)])
        while len(decoder):
            decoder.step()
        return time.perf_counter() - began

    later: list[float] = []  # the second mixture's and those after it

    def answer_scope() -> None:
        store = PromptStore()
        first_token(None, tail, store)
        later.extend(first_token(z, tail, store) for z in scales)

    print(f"prompt of {len(prompt)} tokens; base, then {MIXTURES} mixtures, first token of each")
    seconds = side_by_side(
        {
            "scope all: every mixture reads": lambda: [first_token(z, None, None) for z in scales],
            "scope answer: base reads, then seven": answer_scope,
            "the base model reads, once": lambda: first_token(None, None, None),
        },
        rounds=arguments.rounds,
    )
    every = statistics.median(seconds["scope all: every mixture reads"]) / MIXTURES
    each = statistics.median(later)
    limit = len(prompt) / tail
    print(
        f"a mixture's first token: scope all {every:.3f} s, scope answer {each:.3f} s "
        f"[{min(later):.3f}, {max(later):.3f}]: {every / each:.1f} times sooner; by the number of "
        f"tokens read it could be {limit:.0f} times"
    )


if __name__ == "__main__":
    with torch.inference_mode():
        main()
