"""A test double for t2ui.worker.client.WorkerClient: plays plausible events on a timetable.

For tests of the app only; nothing shipped imports it. `pace` scales all waiting (0: at once).
"""

import json
import math
import threading
import time
import uuid
from dataclasses import replace

import numpy as np
import torch

from t2ui.backend import inspection
from t2ui.errors import InputError
from t2ui.evaluation.contest import decide
from t2ui.messages import (
    Adapt,
    Adapted,
    AddExpert,
    Ask,
    Classified,
    Compared,
    CompareExperts,
    Component,
    ComponentData,
    Components,
    ComponentsMeasured,
    DeleteExpert,
    Done,
    EndSession,
    EstimateAdapt,
    ExpertDeleted,
    ExpertFile,
    ExpertInfo,
    Experts,
    ExpertSaved,
    Failed,
    Generation,
    Heatmap,
    LayersMeasured,
    LayersOff,
    Mixed,
    NextToken,
    NextTokens,
    Queued,
    ReadExpert,
    RenameExpert,
    SaveExpert,
    ScoredSoFar,
    ScoreMixtures,
    SearchBegan,
    SearchEstimate,
    Standing,
    Status,
    Steer,
    Steered,
    Sweep,
    SweepTexts,
    Swept,
    SweptColumn,
    Tokens,
    TokenShift,
    Trial,
    Tried,
)
from t2ui.records import Ends, NamedComponent
from t2ui.svf.components import joined
from t2ui.svf.decomposition import Factors
from t2ui.svf.expert import Expert
from t2ui.svf.likeness import likeness

LAYERS = 30
SHAPES = {
    "q_proj": (576, 576),
    "k_proj": (192, 576),
    "v_proj": (192, 576),
    "o_proj": (576, 576),
    "gate_proj": (1536, 576),
    "up_proj": (1536, 576),
    "down_proj": (576, 1536),
}
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
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


def expert_info(name: str, kind: str = "expert") -> ExpertInfo:
    labels = () if kind == "dispatcher" else (name,)
    about = "Classifies prompts." if kind == "dispatcher" else f"Trained on {name} questions."
    return ExpertInfo(
        name,
        about,
        labels,
        kind,
        97_920,
        210,
        "smollm2-135m-instruct",
        False,
        [],
        {},
        name.encode().hex().ljust(64, "0"),
        f"{name}.safetensors",
        431_000,
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


class FakeJob:
    """Events with the time at which each is due; `cancel` ends it at once."""

    def __init__(self, timetable, client, found=None):
        self.id = uuid.uuid4().hex
        self._found = found  # (events handed out) -> the events that a cancel ends it with
        self._said = []
        self.steers = False  # it is a Steer
        self.finished = False
        self._start = None  # its clock starts when the model is there
        self._timetable = list(timetable)
        self._client = client
        self._lock = threading.Lock()

    def next(self, timeout=0.25):
        end = time.monotonic() + timeout
        while not self.finished:
            with self._lock:
                if self._start is None and not self._client.loading:
                    self._start = time.monotonic()
                if self._timetable and self._start is not None and not self._held():
                    due, event = self._timetable[0]
                    if time.monotonic() - self._start >= due:
                        self._timetable.pop(0)
                        self._said.append(event)
                        if isinstance(event, (Done, Failed)):
                            self.finished = True
                            self._client.open_jobs.discard(self.id)
                        return event
            if time.monotonic() >= end:
                return None
            time.sleep(0.002)
        return None

    def steered(self, mixture):
        """Another mixture from the next token on; whether there is one."""
        with self._lock:
            coming = [event for _, event in self._timetable]
            if self._start is None or not any(isinstance(e, Tokens) for e in coming):
                return False
            written = [e for e in self._said if isinstance(e, Tokens) and e.pane == "adapted"]
            place = max(1, sum(len(e.pieces) for e in written))
            told = Steered(place, mixture, 1 - sum(mixture.values()))
            rest = [(at, e) for at, e in self._timetable if not isinstance(e, Compared)]
            due, done = rest.pop()
            change = {**done.receipt, "timeline": [*done.receipt["timeline"], [place, mixture]]}
            self._timetable = [(0.0, told), *rest, (due, replace(done, receipt=change))]
            return True

    def _held(self):
        if self.steers and self._client.hold_steer:
            return True
        if self._client.hold_text and isinstance(self._timetable[0][1], Tokens):
            return len([e for e in self._said if isinstance(e, Tokens)]) >= self._client.hold_text
        said = {type(event) for event in self._said}
        uncompared = Tokens in said and Compared not in said
        held = {Done: self._client.hold_end and (uncompared or Tried in said)}
        held |= {
            Compared: self._client.hold_end,
            Swept: self._client.hold_end,
            NextTokens: self._client.hold_next,
        }
        if held.get(type(self._timetable[0][1])):
            return True
        generations = sum(isinstance(event, Generation) for event in self._said)
        return self._client.hold_after is not None and generations >= self._client.hold_after

    def cancel(self):
        with self._lock:
            self._held = lambda: False
            self._client.cancelled.append(self.id)
            self._client.open_jobs.discard(self.id)
            last = self._found(self._said) if self._found else []
            self._timetable = [(0.0, event) for event in (*last, Done(cancelled=True))]
            self._start = self._start or 0.0


class FakeClient:
    """Answers every request as a worker with the default model's shapes might."""

    def __init__(self, names=("math", "code", "reasoning"), pace=1.0, loading=False, problems=()):
        self.names = tuple(names)
        self.pace = pace
        self.problems = tuple(problems)
        self.requests = []
        self.cancelled = []
        self.open_jobs = set()
        self.jobs = {}  # asks and searches by their ids
        self.failure = None  # a Failed that the next Ask or Adapt ends with
        self.hold_end = False  # an answer whose text is written waits until this is False again
        self.hold_text = 0  # batches of text after which an answer waits until this is 0 again
        self.same = False  # asked again, the answer is what it was at first
        self.known = ()  # the experts that may be steered with; (): all
        self.hold_steer = False  # a steering that is taken is said to be only when it is False
        self.hold_next = False  # the same for next tokens
        self.hold_after = None  # generations after which a search waits until this is None again
        self.saved = {}  # experts saved in the app: name -> SaveExpert
        self.public = False  # what is saved is then its session's own
        self.queued = 0
        self.state = None  # overrides the status
        self.loading = loading  # until a test sets it to False

    def status(self):
        model = "smollm2-135m-instruct"
        if self.state is not None:
            return Status(self.state, model, "cpu", "the worker died; it starts again")
        if self.loading:
            return Status("loading", model, "", "decomposing 210 matrices", 0.4)
        running = len(self.open_jobs)
        return Status("busy" if running else "ready", model, "cpu", "", None, running, self.queued)

    def submit(self, request):
        self.requests.append(request)
        make = {
            Ask: self._ask,
            Steer: self._steer,
            NextToken: self._next_token,
            Heatmap: self._heatmap,
            Component: self._component,
            Adapt: self._adapt,
            EstimateAdapt: self._estimate,
            ScoreMixtures: self._score,
            SaveExpert: self._save,
            AddExpert: self._add,
            RenameExpert: self._rename,
            DeleteExpert: self._delete,
            ReadExpert: lambda request: [
                (0.02, ExpertFile(f"{request.name}.safetensors", b"an expert\xff")),
                (0.02, Done()),
            ],
            EndSession: self._end_session,
            Sweep: self._sweep,
            Trial: self._trial,
            LayersOff: self._layers_off,
            Components: self._components,
            CompareExperts: self._likeness,
        }[type(request)]
        found = self._best_so_far if isinstance(request, Adapt) else None
        job = FakeJob([(self.pace * at, event) for at, event in make(request)], self, found)
        job.steers = isinstance(request, Steer)
        if isinstance(request, (Ask, Adapt)):
            self.open_jobs.add(job.id)
            self.jobs[job.id] = job
        return job

    def close(self):
        pass

    # --- what the worker would answer ------------------------------------------------------------

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

    def experts(self, session=""):
        return None if self.loading else self._listing(session)

    def _listing(self, session=""):
        infos = [expert_info(name) for name in self.names]
        if self.names:
            infos.append(expert_info("dispatch", "dispatcher"))
        infos += [
            replace(expert_info(key.rpartition("/")[2]), saved=True)
            for key, saved in self.saved.items()
            if not self.public or saved.session == session
        ]
        return Experts(
            tuple(infos),
            self.problems,
            (*self.names, "others"),
            tuple(SHAPES),
            LAYERS,
            ("prompt", "expert", "none") if self.names else ("prompt", "none"),
            "expert" if self.names else "prompt",
            session,
        )

    # --- few-shot adaptation ---------------------------------------------------------------------

    @staticmethod
    def _held_out(adapt):
        count = len(adapt.examples)
        return tuple(range(2, count, 3)) if count >= 4 and adapt.config.held_out else ()

    def _score(self, request):
        """Each mixture has the share of its α of math right, from the first question on."""
        if self.failure:
            failure, self.failure = self.failure, None
            return [(0.1, failure)]
        there = {one.name for one in self._listing(request.session).experts}
        strange = sorted({name for mixture in request.mixtures for name in mixture} - there)
        if strange:
            return [(0.1, Failed(f"There is no expert {strange[0]!r}.", cause="input"))]

        def right(mixture):
            count = round(min(1.0, abs(mixture.get("math", 0.0))) * len(request.examples))
            return [place < count for place in range(len(request.examples))]

        found = decide(
            *([right(one) for one in some] for some in (request.entries, request.rivals))
        )
        of = len(request.mixtures)
        return [(0.1, ScoredSoFar(of, of)), (0.2, found), (0.2, Done())]

    def _estimate(self, request):
        adapt = request.adapt
        held = self._held_out(adapt)
        rows = len(adapt.examples) - len(held)
        tokens = 40 * rows * adapt.config.population * adapt.config.generations
        report = f"{len(held)} of {len(adapt.examples)} held out"
        return [(0.1, SearchEstimate(tokens, tokens / 900, held, report)), (0.1, Done())]

    def _adapt(self, adapt):
        """A search that finds math at 0.8: its curves rise and its spread shrinks."""
        events = [(0.0, Queued(self.queued))] if self.queued else []
        held, most = self._held_out(adapt), adapt.config.generations
        events.append((0.1, SearchBegan(self.names, held, most)))
        if self.failure:
            failure, self.failure = self.failure, None
            return [*events, (0.2, failure)]
        draw = np.random.default_rng(adapt.config.seed)
        goal = np.array([0.8, 0.05, 0.35, *[0.1] * len(self.names)][: len(self.names)])
        best = -9.0
        for number in range(1, most + 1):
            share = 1 - math.exp(-number / 3)
            centre = (1 - share) / len(goal) + share * goal
            spread = 0.03 + 0.3 * (1 - share)
            shape = (adapt.config.population, len(goal))
            members = (centre + spread * draw.normal(size=shape)).clip(0, 1)
            scores = -1.8 - 1.6 * ((members - goal) ** 2).sum(1)
            best = max(best, float(scores.max()))
            events.append(
                (
                    0.1 + 0.5 * number,
                    Generation(
                        number,
                        best,
                        float(scores.mean()),
                        float(scores.std()),
                        dict(zip(self.names, centre.tolist(), strict=True)),
                        dict.fromkeys(self.names, spread),
                        tuple(map(tuple, members.tolist())),
                        tuple(scores.tolist()),
                        3200 * number,
                        9 * number,
                        3.5 * number,
                    ),
                )
            )
        end = events[-1][0] + 0.3
        last = [event for _, event in events]
        return [*events, *((end, e) for e in self._best_so_far(last, held)), (end, Done())]

    def _best_so_far(self, said, held=(0,)):
        generations = [event for event in said if isinstance(event, Generation)]
        if not generations:
            return []
        last = generations[-1]
        place = int(np.argmax(last.scores))
        weights = zip(self.names, last.population[place], strict=True)
        mixture = {name: round(alpha, 4) for name, alpha in weights}
        text = json.dumps({"format": "t2ui.mixture", "weights": mixture, "normalise": False})
        n = max(1, len(held))
        return [
            Adapted(
                mixture,
                False,
                f"CEM, generation {last.number}",
                f"held-out {n} of {3 * n} examples",
                -2.31,
                last.best,
                None,
                None,
                n,
                last.tokens,
                last.forward_passes,
                last.seconds,
                text,
            )
        ]

    # --- comparing -------------------------------------------------------------------------------

    @staticmethod
    def swept(sweep):
        """Answers that part after their third piece; the stronger a mixture, the longer its own."""
        begin, columns = words(BASE_TEXT)[:3], []
        mixtures = [*sweep.lineup.mixtures, *[{}] * len(sweep.lineup.controls)]
        for number, mixture in enumerate(mixtures):
            rest = words(BASE_TEXT)[3:9] if not mixture else words(ADAPTED_TEXT)[: 4 + number]
            total = sum(mixture.values())
            per_token = -2.0 + 0.4 * total - 0.15 * total**2
            likelihood = len(sweep.given.split()) * per_token if sweep.given else None
            pieces = (*begin, *rest)
            control = sweep.lineup.columns[number]
            columns.append(SweptColumn(mixture, 1 - total, control, pieces, "length", likelihood))
        parts_at = 3 if len({column.pieces for column in columns}) > 1 else None
        return Swept(tuple(columns), parts_at, "all", len(sweep.given.split()), 1.2)

    def _sweep(self, sweep):
        if self.failure:
            failure, self.failure = self.failure, None
            return [(0.1, failure)]
        found = self.swept(sweep)
        most = max(len(column.pieces) for column in found.columns)
        so_far = [
            (0.1 + 0.1 * n, SweepTexts(tuple("".join(c.pieces[:n]) for c in found.columns)))
            for n in range(1, most)
        ]
        end = so_far[-1][0] + 0.1
        return [*so_far, (end, found), (end, Done())]

    @staticmethod
    def tried(trial):
        """The stronger a mixture, the more questions are right; one in each step of the trial."""
        strengths = [sum(one.values()) for one in trial.lineup.mixtures]
        strengths += [0.1] * len(trial.lineup.controls)
        count = len(trial.questions)
        return [
            Tried(
                tuple(
                    Standing(
                        tuple(
                            (7 * n) % 10 < 4 * strength if n < asked else None for n in range(count)
                        ),
                        (0.1, 0.4),
                        0.012 if place else None,
                    )
                    for place, strength in enumerate(strengths)
                ),
                0.1 * asked,
            )
            for asked in range(1, count + 1)
        ]

    def _trial(self, trial):
        events = [(0.0, Queued(self.queued))] if self.queued else []
        if self.failure:
            failure, self.failure = self.failure, None
            return [*events, (0.1, failure)]
        steps = enumerate(self.tried(trial), start=1)
        events += [(0.1 + 0.03 * number, step) for number, step in steps]
        return [*events, (events[-1][0] + 0.1, Done())]

    @staticmethod
    def _layers_off(request):
        without = tuple(-9.0 + 0.3 * math.sin(layer) for layer in range(LAYERS))
        return [(0.1, LayersMeasured(-14.0, -9.0, without, 8, 0.9)), (0.1, Done())]

    def _components(self, request):
        """Those of a few matrices; the further z is from 1, the more the answer loses."""
        if self.failure:
            failure, self.failure = self.failure, None
            return [(0.1, failure)]
        choice, found = request.choice, []
        for leaf in ("o_proj", "up_proj", "down_proj", "q_proj"):
            block = "self_attn" if leaf in ATTENTION else "mlp"
            name = f"model.layers.{choice.layer or 3}.{block}.{leaf}"
            index = int(np.abs(self.z(name, request.mixture) - 1).argmax())
            found.append((name, index))
        tokens = ((" seven", 0.31), (" eight", 0.24), (" <b>", 0.11))
        ends = Ends(tokens, tokens[::-1], 0.2)
        parts = tuple(
            NamedComponent(
                name,
                index,
                int(name.split(".")[2]),
                3.25,
                float(self.z(name, request.mixture)[index]),
                0.0004 if name.endswith("up_proj") else 0.02,
                not name.endswith("up_proj"),
                *joined(name),
                ends if name.endswith(("up_proj", "q_proj")) else None,
                ends if name.endswith(("o_proj", "down_proj")) else None,
            )
            for name, index in choice.chosen or found
        )
        if not request.prompt:
            return [(0.1, ComponentsMeasured(parts)), (0.1, Done())]
        asked, text = words(request.prompt), request.text or "It is seven."
        said = words(text)
        count, rows = len(asked) + len(said) - 1, range(len(parts))
        activity = tuple(tuple(math.sin(i + 3 * row) for i in range(count)) for row in rows)
        changed = tuple(-5.0 - 2.0 * abs(one.z - choice.at) for one in parts)
        measured = ComponentsMeasured(
            parts,
            "all",
            (*asked, *said[:-1]),
            len(asked),
            activity,
            text,
            len(said),
            -9.0,
            -5.0,
            changed,
            choice.at,
        )
        return [(0.1, measured), (0.1, Done())]

    def _likeness(self, request):
        """Of scales that look trained, in four matrices."""
        if self.failure:
            failure, self.failure = self.failure, None
            return [(0.1, failure)]
        matrices = [f"model.layers.{layer}.mlp.up_proj" for layer in range(4)]
        record = {"set": "arith test, chat", "protocol": "greedy", "n": 300, "base": 0.05}
        measured = {"math": {**record, "expert": 0.33, "interval": [0.28, 0.38], "p": 1e-9}}
        experts = {}
        for name in (one.name for one in self._listing(request.session).experts):
            scales = {m: torch.from_numpy(self.z(m, {name: 1.0})) for m in matrices}
            experts[name] = Expert(
                name, scales, metrics=[measured[name]] if name in measured else []
            )
        try:
            return [(0.1, likeness(experts, request.names)), (0.1, Done())]
        except InputError as error:
            return [(0.1, Failed(str(error)))]

    def _key(self, name, request):
        """In a public app each session has its own experts, with names of its own."""
        return f"{request.session}/{name}" if self.public else name

    def _taken(self, name, request):
        if name in self.names or self._key(name, request) in self.saved:
            taken = f"There is an expert {name!r} already: choose another name."
            return [(0.02, Failed(taken))]
        return None

    def _save(self, request):
        if refused := self._taken(request.name, request):
            return refused
        self.saved[self._key(request.name, request)] = request
        saved = ExpertSaved(
            request.name, f"{request.name}.safetensors", self._listing(request.session)
        )
        return [(0.02, saved), (0.02, Done())]

    def _add(self, request):
        """The double's files hold a name and nothing else."""
        try:
            name = request.data.decode("ascii")
        except UnicodeDecodeError:
            return [(0.02, Failed("added.safetensors is not a readable safetensors file."))]
        return self._save(replace(SaveExpert(name, {"math": 1.0}), session=request.session))

    def _rename(self, request):
        if refused := self._taken(request.new_name, request):
            return refused
        kept = self.saved.pop(self._key(request.name, request))
        self.saved[self._key(request.new_name, request)] = kept
        saved = ExpertSaved(
            request.new_name, f"{request.new_name}.safetensors", self._listing(request.session)
        )
        return [(0.02, saved), (0.02, Done())]

    def _delete(self, request):
        del self.saved[self._key(request.name, request)]
        return [(0.02, ExpertDeleted(request.name, self._listing(request.session))), (0.02, Done())]

    def _end_session(self, request):
        for name in [n for n, saved in self.saved.items() if saved.session == request.session]:
            del self.saved[name]
        return [(0.0, Done())]

    @staticmethod
    def z(name, mixture):
        """A scale vector that looks trained: leading components move most."""
        rank = min(SHAPES[name.rsplit(".", 1)[-1]])
        layer = int(name.split(".")[2])
        total = np.zeros(rank, dtype=np.float32)
        for expert, a in mixture.items():
            seed = sum(map(ord, expert + name)) + 31 * layer
            draw = np.random.default_rng(seed).normal(0, 1, rank)
            envelope = 0.02 + 0.1 * np.exp(-np.arange(rank) / 60) * (0.3 + layer / LAYERS)
            total += np.float32(a) * (draw * envelope).astype(np.float32)
        return 1 + total

    def _heatmap(self, request):
        ranks, z, minus = {}, {}, {}
        for layer in range(LAYERS):
            for leaf in SHAPES:
                block = "self_attn" if leaf in ATTENTION else "mlp"
                name = f"model.layers.{layer}.{block}.{leaf}"
                z[name] = torch.from_numpy(self.z(name, request.mixture))
                minus[name] = torch.from_numpy(self.z(name, request.minus))
                ranks[name] = Factors(None, torch.ones(len(z[name])), None)
        what = request.module, minus, request.layer, request.rows
        return [(0.05, inspection.heatmap(ranks, z, *what)), (0.05, Done())]

    def _component(self, request):
        z = self.z(request.name, request.mixture)
        rank = len(z)
        index = np.arange(rank)
        sigma = (9 * np.exp(-index / 40) + 2.5 * np.exp(-index / 500)).astype("f4")
        captured = np.cumsum(sigma) / sigma.sum()
        adapted = np.cumsum(sigma * abs(z)) / (sigma * abs(z)).sum()
        top = tuple(int(i) for i in np.argsort(-abs(z - 1))[:10])
        leaf = request.name.rsplit(".", 1)[-1]
        layer = int(request.name.split(".")[2])
        event = ComponentData(
            request.name,
            layer,
            SHAPES[leaf],
            sigma,
            z.astype("f4"),
            captured.astype("f4"),
            adapted.astype("f4"),
            top,
        )
        return [(0.05, event), (0.05, Done())]
