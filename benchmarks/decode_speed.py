"""What a decode step costs beside transformers' own: `python -m benchmarks.decode_speed`

Two rows, as a person watches them on Ask: the base model beside a mixture, beside transformers'
batch of two in the machine's faster dtype. Sixteen rows: different mixtures, one mixture, and the
base model. A mixture that has answered before ("again") has its W′ from then. Each ratio has beside
it what reading the weights (two rows) or the arithmetic (sixteen) allows.
"""

import argparse
import statistics
from collections.abc import Callable

import torch

from benchmarks.common import describe_machine, some_experts
from benchmarks.side_by_side import side_by_side
from t2ui.config import Sampling
from t2ui.inference.decoding import Decoder, Row, generate
from t2ui.models.chat import chat_ids
from t2ui.models.loading import load_model
from t2ui.svf.adapter import Adapter, adapt
from t2ui.svf.mixture import Mixture, mix

QUESTION = "Which gas do plants take in from the air?"
MANY = 16
PAIR, AGAIN = "base beside adapted", "base beside adapted, again"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", default="auto", help="of our model; auto as the app takes it")
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("two", "many"), help="rows")
    options = parser.parse_args()
    describe_machine()
    model, tokenizer = load_model(dtype=options.dtype, fastest=True)
    adapter = adapt(model)
    model.generation_config.eos_token_id = tokenizer.eos_token = None  # rows have all their tokens
    prompt = chat_ids(tokenizer, QUESTION)
    sampling = Sampling(max_new_tokens=options.tokens)

    def ours(scales: list, again: bool = False) -> Callable[[], object]:
        rows = [Row(i, prompt, z, sampling) for i, z in enumerate(scales)]
        if not again:
            return lambda: generate(model, tokenizer, rows, adapter)
        decoder = Decoder(model, tokenizer, adapter)  # the app has one for all answers

        def run() -> None:
            decoder.add(rows)
            while len(decoder):
                decoder.step()

        return run

    experts = some_experts(adapter)
    names = list(experts)
    mixtures = [
        mix(experts, Mixture({names[0]: i / MANY, names[1]: 1 - i / MANY})) for i in range(MANY)
    ]
    print(f"{options.tokens} tokens a row, ours in {model.dtype}")
    if options.only != "many":
        pair = [None, mixtures[0]]
        two({PAIR: ours(pair), AGAIN: ours(pair, again=True)}, adapter, prompt, options)
    if options.only != "two":
        many(ours, mixtures, adapter, options.rounds)


def two(
    ours: dict[str, Callable[[], object]],
    adapter: Adapter,
    prompt: list[int],
    options: argparse.Namespace,
) -> None:
    """Base beside adapted, and transformers' batch of two in both dtypes."""
    ids = torch.tensor([prompt, prompt])
    ways = dict(ours)
    for dtype in ("float32", "bfloat16"):
        plain, _ = load_model(dtype=dtype)
        plain.generation_config.eos_token_id = None
        how = {"max_new_tokens": options.tokens, "do_sample": False, "pad_token_id": 0}
        ways[f"transformers, {dtype}"] = lambda plain=plain, how=how: plain.generate(
            ids.to(plain.device), attention_mask=torch.ones_like(ids).to(plain.device), **how
        )
    seconds = side_by_side(ways, options.rounds)
    faster = min((name for name in ways if "transformers" in name), key=lambda n: min(seconds[n]))
    adapted = sum(f.U.shape[0] * f.Vh.shape[1] for f in adapter.factors.values())
    all_weights = sum(p.numel() for p in adapter.model.parameters())
    limit = (all_weights + adapted) / all_weights
    for name in ours:
        pairs = zip(seconds[name], seconds[faster], strict=True)
        ratio = statistics.median(mine / theirs for mine, theirs in pairs)
        print(
            f"{name} takes {ratio:.2f} times as long as {faster}; two sets of weights "
            f"through memory allow {limit:.2f} in one dtype"
        )


def many(
    ours: Callable[..., Callable[[], object]], mixtures: list, adapter: Adapter, rounds: int
) -> None:
    """Sixteen rows: tokens per second against the base model's."""
    ways = {
        "16 base rows": ours([None] * MANY),
        "16 different mixtures": ours(mixtures),
        "16 times one mixture": ours([mixtures[0]] * MANY),
        "16 times one mixture, again": ours([mixtures[0]] * MANY, again=True),
    }
    seconds = side_by_side(ways, rounds)
    plain = sum(f.U.shape[0] * f.Vh.shape[1] for f in adapter.factors.values())
    through = sum(f.U.numel() + f.Vh.numel() for f in adapter.factors.values())
    head = adapter.model.get_output_embeddings().weight.numel()
    limits = {
        "16 different mixtures": (plain + head) / (through + head),
        "16 times one mixture": 1.0,
        "16 times one mixture, again": 1.0,
    }
    for name, limit in limits.items():
        shares = [b / m for b, m in zip(seconds["16 base rows"], seconds[name], strict=True)]
        print(
            f"{name}: {statistics.median(shares):.2f} [{min(shares):.2f}, {max(shares):.2f}] of "
            f"the base's tokens per second; arithmetic allows {limit:.2f}"
        )


if __name__ == "__main__":
    main()
