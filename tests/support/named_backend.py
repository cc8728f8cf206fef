"""A backend without a model whose answers say whose they are. Imported by the worker.

"count N" is answered with N pieces, each the names in its mixture and the piece's number.
"""

from fake_backend import FakeBackend

from t2ui.messages import Done, Ending, Mixed, Tokens


class NamedBackend(FakeBackend):
    def __init__(self) -> None:
        super().__init__(step_seconds=0.0005)
        self.names: dict[str, str] = {}

    def start(self, job_id, ask):
        self.names[job_id] = "+".join(ask.mixture)
        yield Mixed(dict(ask.mixture), 0.0, "you")
        self._obey(ask.prompt)
        self.left[job_id] = [int(ask.prompt.split()[-1]), 0, ask.rows, ask.prompt]

    def step(self):
        for job_id, event in super().step():
            if isinstance(event, Done):
                ending = Ending("adapted", 0, "end", 1, 1, "0" * 64)
                yield job_id, Done(endings=(ending,))
            elif event.pane == "adapted":
                yield job_id, Tokens("adapted", (f"{self.names[job_id]}:{event.tokens} ",), 1, 0.0)


def load(config, progress) -> NamedBackend:
    return NamedBackend()
