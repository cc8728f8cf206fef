"""What pass one costs, as a share of a 128-token answer: `python -m benchmarks.pass_one_share`."""

import statistics
import time

import torch

from benchmarks.common import adapted_default, describe_machine, shipped
from t2ui.config import Sampling
from t2ui.inference.decoding import Row, generate
from t2ui.inference.dispatchers import Dispatchers
from t2ui.models.chat import chat_ids

PROMPTS = (
    "Write a Python function that returns the nth Fibonacci number.",
    "A farmer has 3 cows and buys 4 more. How many cows does the farmer have?",
    "Which gas do plants take in from the air?",
    "Write a letter to my landlord about the broken heating.",
    "Explain how a bicycle stays upright when it moves.",
)
ANSWER_TOKENS = 128


def main() -> None:
    torch.manual_seed(0)
    describe_machine()
    model, tokenizer, adapter = adapted_default()
    experts = shipped().experts
    model.generation_config.eos_token_id = tokenizer.eos_token = None  # answers have 128 tokens
    for mode in ("prompt", "expert", "router", "both"):
        dispatcher = Dispatchers(model, tokenizer, adapter)[mode]
        # the instruction is read once, and the router's kinds are fitted once
        dispatcher.classify("Hello", experts)
        shares = []
        for prompt in PROMPTS:
            started = time.perf_counter()
            dispatcher.classify(prompt, experts)
            pass_one = time.perf_counter() - started
            started = time.perf_counter()
            row = Row(0, chat_ids(tokenizer, prompt), None, Sampling(ANSWER_TOKENS))
            generate(model, tokenizer, [row], adapter)
            shares.append(pass_one / (time.perf_counter() - started))
        print(
            f"dispatch {mode}: pass one takes {statistics.median(shares):.1%} of the base model's "
            f"{ANSWER_TOKENS}-token answer (median of {len(shares)} prompts; "
            f"{min(shares):.1%} to {max(shares):.1%})"
        )


if __name__ == "__main__":
    main()
