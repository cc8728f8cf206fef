"""Is an answer the same alone and beside others? `python -m benchmarks.dtype_answers --data data`

In float32 and in bfloat16: answers of mixtures, decoded greedily one by one and in one batch of
eight with different prompts and mixtures, and the first token in which they differ. Beside that,
how long a step takes.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from benchmarks.common import add_data_option, describe_machine, some_experts
from t2ui.config import Sampling
from t2ui.inference.decoding import Row, generate
from t2ui.inference.differences import first_difference
from t2ui.models.chat import chat_ids
from t2ui.models.loading import load_model
from t2ui.svf.adapter import adapt
from t2ui.svf.mixture import Mixture, mix

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=48, help="of each answer, at most")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    options = parser.parse_args()
    describe_machine()
    lines = (Path(options.data) / "gsm8k/test.jsonl").read_text().splitlines()
    prompts = [json.loads(line)["question"] for line in lines[: options.answers]]
    for dtype in options.dtypes:
        compare(dtype, prompts, options.tokens)


def compare(dtype: str, prompts: list[str], tokens: int) -> None:
    model, tokenizer = load_model(dtype=dtype)
    adapter = adapt(model)
    experts = some_experts(adapter)
    names = list(experts)
    rows = [
        Row(
            i,
            chat_ids(tokenizer, prompt),
            mix(experts, Mixture({names[i % len(names)]: 0.2 + 0.1 * (i % 8)})),
            Sampling(max_new_tokens=tokens),
        )
        for i, prompt in enumerate(prompts)
    ]
    alone, together = [], []
    began = time.perf_counter()
    for row in rows:
        alone += [c.token_ids for c in generate(model, tokenizer, [row], adapter)]
    seconds = time.perf_counter() - began
    for first in range(0, len(rows), BATCH):
        batch = generate(model, tokenizer, rows[first : first + BATCH], adapter)
        together += [c.token_ids for c in batch]
    found = [first_difference(a, b) for a, b in zip(alone, together, strict=True)]
    places = [place for place in found if place is not None]
    where = f", at token {statistics.median(places) + 1:.0f} in the median" if places else ""
    rate = sum(map(len, alone)) / seconds
    print(
        f"{dtype}: {len(places)} of {len(rows)} answers of up to {tokens} tokens differ{where}; "
        f"alone {rate:.1f} tokens/s"
    )


if __name__ == "__main__":
    main()
