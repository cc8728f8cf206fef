"""What the last answer is worth as the next one's draft: `python -m benchmarks.last_answer`

After a slider has moved, the old answer is checked in one forward pass and decoded on from the
first token that differs. Confirming an answer that does not change, beside decoding it; and seven
strengths of an expert in one batch, beside seven answers one after the other. An answer has all its
tokens, whatever the model says of its end.
"""

import argparse
import statistics
from collections.abc import Sequence

from benchmarks.common import adapted_default, describe_machine, some_experts
from benchmarks.side_by_side import side_by_side
from t2ui.config import Sampling
from t2ui.inference.decoding import Decoder, Row
from t2ui.inference.differences import first_difference
from t2ui.inference.prompt_store import PromptStore
from t2ui.models.chat import answer_tail, chat_ids
from t2ui.svf.mixture import Mixture, mix

QUESTION = "Which gas do plants take in from the air?"
STRENGTHS = 7
MOVES = (0.02, 0.05, 0.1, 0.3)  # of a slider that stood at 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scope", choices=("all", "answer"), default="all")
    options = parser.parse_args()
    describe_machine()
    model, tokenizer, adapter = adapted_default()
    model.generation_config.eos_token_id = tokenizer.eos_token = None  # rows have all their tokens
    prompt, sampling = chat_ids(tokenizer, QUESTION), Sampling(max_new_tokens=options.tokens)
    tail = answer_tail(tokenizer) if options.scope == "answer" else None
    experts = some_experts(adapter)
    name = next(iter(experts))

    def at(strength: float):
        return mix(experts, Mixture({name: strength}))

    store = PromptStore()

    def answered(scales: Sequence, draft: Sequence[int] = ()) -> list[list[int]]:
        decoder = Decoder(model, tokenizer, adapter, store=store)
        rows = [Row(i, prompt, z, sampling, tail, draft) for i, z in enumerate(scales)]
        decoder.add(rows)
        tokens: list[list[int]] = [[] for _ in scales]
        while len(decoder):
            for step in decoder.step():
                tokens[step.key].append(step.token)
        return tokens

    whole = at(1.0)
    (answer,) = answered([whole])
    assert answered([whole], answer) == [answer]
    strengths = [at(2 * i / (STRENGTHS - 1)) for i in range(STRENGTHS)]
    print(
        f"{len(prompt)} tokens of prompt, {len(answer)} of answer, {model.dtype}, {options.scope}"
    )
    seconds = side_by_side(
        {
            "decoded": lambda: answered([whole]),
            "confirmed": lambda: answered([whole], answer),
            "seven strengths in one batch": lambda: answered(strengths),
            "seven strengths, one after the other": lambda: [answered([z]) for z in strengths],
        },
        rounds=options.rounds,
    )
    decoded, confirmed, batch, single = map(statistics.median, seconds.values())
    print(f"confirming takes 1/{decoded / confirmed:.1f} of the time of decoding")
    print(f"the batch takes {batch / single:.2f} of the time of seven decodings")
    for move in MOVES:
        (new,) = answered([at(1 - move)], answer)
        assert [new] == answered([at(1 - move)]), "the draft changed the answer"
        parted = first_difference(answer, new)
        kept = len(new) if parted is None else parted
        print(f"moved by {move}: {kept} of {len(answer)} tokens stay")


if __name__ == "__main__":
    main()
