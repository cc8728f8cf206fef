"""What the worker's double answers to Ask and what belongs to it."""

import math

import numpy as np

from t2ui.messages import (
    Ask,
    Classified,
    Compared,
    Done,
    Failed,
    Mixed,
    NextTokens,
    Queued,
    Tokens,
    TokenShift,
)

BASE_TEXT = (
    "Here is a function that returns the Fibonacci numbers:\n\n```python\ndef fibonacci(n):\n"
    "    if n <= 1:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n```\n\n"
    "You can call it with any number you like, and it will compute the result for you."
)
ADAPTED_TEXT = (
    "Here is a short version:\n\n```python\ndef fibonacci(n):\n    a, b = 0, 1\n"
    "    for _ in range(n):\n        a, b = b, a + b\n    return a\n```\n\n"
    "It needs n steps, where the recursive one needs about 1.6 to the power of n."
)


def words(text: str) -> list[str]:
    """The text in pieces that look like tokens."""
    pieces, current = [], ""
    for character in text:
        if current and (character in " \n" and current[-1] not in " \n" or len(current) > 6):
            pieces.append(current)
            current = ""
        current += character
    return [*pieces, current]


class Answers:
    """A code question, whatever was asked."""

    def _ask(self, ask):
        events = [(0.0, Queued(self.queued))] if self.queued else []
        mixture, set_by, at = dict(ask.mixture or {}), "you", 0.1
        dispatch = ask.dispatch or ("expert" if ask.mixture is None else "none")
        if dispatch != "none":
            labels = (*self.names, "others")
            best = "code" if "code" in labels else labels[0]
            p = {label: 0.93 if label == best else 0.07 / (len(labels) - 1) for label in labels}
            raw = {label: 0.71 if label == best else 0.29 / (len(labels) - 1) for label in labels}
            said = f"\\boxed{{{best}}}"
            events.append((0.2, Classified(best, p, raw, said, dispatch, 0.084)))
            if best != "others":
                mixture = dict.fromkeys(self.names, 0.0) | {best: 1.0}
            by = "classification expert" if dispatch == "expert" else "prompt dispatcher"
            set_by, at = f"{by}, 0.93", 0.25
        events.append((at, Mixed(mixture, 1 - sum(mixture.values()), set_by)))
        if self.failure:
            failure, self.failure = self.failure, None
            return [*events, (at + 0.1, failure)]
        base, adapted = words(BASE_TEXT), words(ADAPTED_TEXT)
        if not any(mixture.values()):
            adapted = base
        elif not (ask.compare or self.same):  # asked again: its end differs
            number = sum(isinstance(one, Ask) for one in self.requests)
            adapted = words(ADAPTED_TEXT.replace("needs n steps", f"takes {number} steps"))
        limit = ask.sampling.max_new_tokens
        base, adapted = base[:limit], adapted[:limit]
        for i in range(0, max(len(base), len(adapted)), 3):
            due = at + 0.2 + 0.033 * i
            for pane, pieces in (("base", base if ask.compare else ()), ("adapted", adapted)):
                if i < len(pieces):
                    some = tuple(pieces[i : i + 3])
                    events.append((due, Tokens(pane, some, i + len(some), 0.03 * (i + 3))))
        pairs = enumerate(zip(base, adapted, strict=False))
        first = next((i for i, (a, b) in pairs if a != b), None)
        end = events[-1][0] + 0.1
        if ask.compare or ask.compare_with_last:
            shifts = tuple(self._shift(i, t) for i, t in enumerate(adapted))
            events.append((end, Compared(shifts, first)))
        timings = {"pass_one": 0.084, "decode": 4.1, "total": 4.2, "pass_one_share": 0.02}
        receipt = {"model": "smollm2-135m-instruct", "mixture": mixture, "seed": ask.sampling.seed}
        receipt["timeline"] = []
        return [*events, (end + 0.05, Done(timings=timings, receipt=receipt))]

    def _steer(self, request):
        job = self.jobs.get(request.job_id)
        known = self.known or (*self.names, "dispatch")
        unknown = sorted(set(request.mixture) - set(known))
        if unknown:
            return [(0.02, Failed(f"There is no expert named {unknown[0]!r}; there are: code."))]
        if job is None or job.finished or not job.steered(dict(request.mixture)):
            return [(0.02, Failed("That answer has ended: ask again with the new coefficients."))]
        return [(0.02, Done())]

    @staticmethod
    def _shift(i, token):
        size = 1.6 * math.sin(1.7 * i) ** 3
        lp = -0.2 - 0.1 * (i % 3)
        mine = ((token, math.exp(lp)), (" the", 0.05), ("\n", 0.02))
        others = ((" a", 0.4), (token, 0.3), (" the", 0.1))
        return TokenShift(token, lp, lp - size, mine, others, abs(size) / 2)

    def _next_token(self, request):
        a = sum(request.mixture.values())
        logits = np.array([2.0, 1.2, 0.6, 0.2, -0.1, -0.4])
        moved = logits + a * np.array([-1.4, 0.2, 1.9, 0.3, -0.5, 0.1])
        p, q = (np.exp(x) / np.exp(x).sum() * 0.9 for x in (logits, moved))
        tokens = (" Here", "```", " def", "The", "\n", " To")
        rows = sorted(zip(tokens, p.tolist(), q.tolist(), strict=True), key=lambda r: -max(r[1:]))
        kl = float((q * np.log(q / p)).sum())
        return [(0.06, NextTokens(tuple(rows), max(0.0, kl), 0.071)), (0.06, Done())]
