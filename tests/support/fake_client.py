"""A test double for t2ui.worker.client.WorkerClient: plays plausible events on a timetable.

For tests of the app only; nothing shipped imports it. `pace` scales all waiting (0: at once).
"""

from fake_answers import Answers
from fake_comparisons import Comparisons
from fake_job import FakeJob
from fake_scales import Scales
from fake_searches import Searches
from fake_shelf import Shelf

from t2ui.messages import (
    Adapt,
    AddExpert,
    Ask,
    CompareExperts,
    Component,
    Components,
    DeleteExpert,
    Done,
    EndSession,
    EstimateAdapt,
    ExpertFile,
    Heatmap,
    LayersOff,
    NextToken,
    ReadExpert,
    RenameExpert,
    SaveExpert,
    ScoreMixtures,
    Status,
    Steer,
    Sweep,
    Trial,
)


class FakeClient(Answers, Searches, Comparisons, Scales, Shelf):
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
        self.late = {}  # a request's type -> seconds more until it is answered
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
        late = self.late.get(type(request), 0.0)
        job = FakeJob([(self.pace * at + late, event) for at, event in make(request)], self, found)
        job.steers = isinstance(request, Steer)
        if isinstance(request, (Ask, Adapt)):
            self.open_jobs.add(job.id)
            self.jobs[job.id] = job
        return job

    def close(self):
        pass
