"""May pass one ask behind the prompt? `python -m benchmarks.question_last --data data`

Today the question stands before the prompt, so the prompt is read once for pass one and once for
the answer. Behind it, both could go on from one reading. Counts the wrong labels of both orders on
validation rows of the dispatch task, by the base model and by the classification expert (which was
trained on the first; behind the prompt it is tried acting on every token, and from the question
on).
"""

import argparse
import random

import torch

from benchmarks.common import adapted_default, add_data_option, describe_machine, shipped
from t2ui.inference.dispatch import ANSWER_START, CONTENT_FREE, DispatchPrompt
from t2ui.models.chat import chat_around, text_ids
from t2ui.models.likelihood import batched_log_likelihoods
from t2ui.models.questions import Question
from t2ui.models.running import BaseReading
from t2ui.svf.library import dispatcher_in
from t2ui.tasks import dispatch_rows

BEHIND = (
    "\n\nSort the request above into one of these categories: {labels}. "
    "Answer with the category's name in \\boxed{{}}."
)
TOKENS = 2048  # in a forward pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--rows", type=int, default=200)
    options = parser.parse_args()
    describe_machine()
    model, tokenizer, adapter = adapted_default()
    rows = list(dispatch_rows.load("dispatch", tokenizer, options.data, limit=1).validation)
    random.Random(0).shuffle(rows)
    rows = rows[: options.rows]
    labels = dispatch_rows.LABELS
    form = DispatchPrompt.of(tokenizer, labels)
    opening, closing = chat_around(tokenizer, "", ANSWER_START)
    asked = tuple(text_ids(tokenizer, BEHIND.format(labels=", ".join(labels))))

    def before(prompt: str) -> Question:
        one = form.question(tokenizer, prompt)
        return Question((*form.before, *one.prompt), one.options)

    def behind(prompt: str) -> Question:
        ids = text_ids(tokenizer, prompt)
        return Question((*opening, *ids, *asked, *closing), form.answers)

    expert = dispatcher_in(shipped().experts)
    assert expert is not None, "the shipped classification expert"
    tail = BaseReading(len(asked) + len(closing), adapter.disabled)
    ways = {
        "base model, question before": (before, {}, None),
        "base model, question behind": (behind, {}, None),
        "expert, question before": (before, expert.scales, None),
        "expert, question behind": (behind, expert.scales, None),
        "expert from the question behind on": (behind, expert.scales, tail),
    }
    truth = [labels[row.correct] for row in rows]
    for name, (ask, scales, reading) in ways.items():
        questions = [ask(row.prompt) for row in rows]
        free = [] if scales else [ask(CONTENT_FREE)]
        with torch.inference_mode(), adapter.applied(scales):
            found = batched_log_likelihoods(model, free + questions, TOKENS, reading=reading)
        bias = found.pop(0) if free else torch.zeros(len(labels))
        said = [labels[int((scores - bias).argmax())] for scores in found]
        wrong = sum(a != b for a, b in zip(said, truth, strict=True))
        print(f"{name}: {wrong} of {len(rows)} labels wrong", flush=True)


if __name__ == "__main__":
    main()
