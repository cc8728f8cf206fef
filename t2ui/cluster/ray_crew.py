"""A crew of workers on a Ray cluster: one for every GPU, or for every node that has none.

Every worker loads the same model and its decomposition once, which is checked by the fingerprint.
Ray is imported here alone, and only when a cluster is asked for.
"""

import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2ui import __version__
from t2ui.cluster.executor import Spread
from t2ui.cluster.work import Machine, Piece, Work
from t2ui.errors import InputError
from t2ui.models.loading import dtype_name, load_model
from t2ui.svf.adapter import Adapter, adapt
from t2ui.svf.decomposition import same_model

CONNECT_SECONDS = 5.0  # until a host that does not answer is not there
START_SECONDS = 120.0  # until a worker that did not start is left out
# HTTP/2 (RFC 9113, 3.4 and 4.1): a client's preface and its empty settings; a frame's type is its
# fourth byte.
SETTINGS_FRAME = b"\x04"
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS_FRAME + b"\0" * 5
NOTHING = -1  # the number of no work
Told = Callable[[str], None]


@dataclass(frozen=True)
class ModelSource:
    """How every worker loads the model."""

    name: str  # as `load_model` takes it; a path has to be there on every node
    device: str
    dtype: str
    modules: str  # see `adapt`


class Host:
    """What a worker does: an actor's class."""

    def __init__(self, threads: int):
        import torch

        torch.set_num_threads(threads)  # Ray would give it one
        self._machine: Machine | None = None
        self._number = NOTHING
        self._work: Work | None = None
        self._setting = ExitStack()

    def version(self) -> str:
        return __version__

    def load(self, source: ModelSource) -> "str | InputError":
        """The fingerprint of the model that it has loaded."""
        try:
            model, tokenizer = load_model(source.name, source.device, source.dtype)
            adapter = adapt(model, source.modules)
        except InputError as error:
            return InputError(f"A worker of the cluster could not load the model: {error}")
        self._machine = Machine(model, tokenizer, adapter)
        return adapter.fingerprint

    def run(self, number: int, work: Work, rows: Sequence[Any]) -> "list[Piece] | InputError":
        """All pieces of these rows. What the work sets on the model stays until other work comes,
        known by its number."""
        machine = self._machine
        assert machine is not None, "rows before the model"
        try:
            if number != self._number:
                self._setting.close()
                self._number, self._work = NOTHING, work
                self._setting.enter_context(work.setting(machine))
                self._number = number
            assert self._work is not None
            return list(self._work.run(machine, rows, lambda place: True))
        except InputError as error:
            return InputError(str(error))


class RayCluster:
    """A connection to a cluster; `executor` puts workers on it. They end with `close`, or with
    this process.

    Args:
        address: "HOST:PORT" of the cluster's head, or "auto" for the one this machine belongs to.
        told: is told what people should know: how many workers there are, and which are lost.

    Raises:
        InputError: Ray is not installed, or there is no cluster.
    """

    def __init__(self, address: str, told: Told = lambda text: None):
        try:
            import ray
        except ImportError:
            raise InputError(
                'A Ray cluster needs the package ray, which is not installed: pip install "ray".'
            ) from None
        check_address(address)
        self.ray, self.told = ray, told
        self._own = not ray.is_initialized()
        if self._own:
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                raise no_cluster(address, " ".join(str(error).split())[:200]) from None

    def __enter__(self) -> "RayCluster":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; the workers end."""
        if self._own and self.ray.is_initialized():
            self.ray.shutdown()

    def executor(self, adapter: Adapter, name: str | Path, device: str = "auto") -> Spread:
        """Workers that hold the model of this adapter.

        Args:
            name: that the model was loaded by, see `load_model`; a path must be on every node.

        Raises:
            InputError: no worker could start, or the model there is another.
        """
        shown = Path(name).expanduser()
        place = str(shown.resolve()) if shown.exists() else str(name)
        source = ModelSource(place, device, dtype_name(adapter.model), adapter.modules)
        crew = RayCrew(self.ray, self._started(), self.told)
        crew.load(source, adapter.fingerprint)
        self.told(f"Ray: {crew.size} workers")
        return Spread(crew)

    def _started(self) -> list[Any]:
        """Actors on all nodes that have a GPU or a processor to give."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actors = []
        host = self.ray.remote(Host)
        for node in self.ray.nodes():
            if not node["Alive"]:
                continue
            has = node["Resources"]
            gpus, processors = int(has.get("GPU", 0)), int(has.get("CPU", 0))
            for _ in range(gpus or min(processors, 1)):
                options = {
                    "num_gpus": 1 if gpus else 0,
                    "num_cpus": 0 if gpus else 1,
                    "max_restarts": 0,
                    "scheduling_strategy": NodeAffinitySchedulingStrategy(
                        node["NodeID"], soft=False
                    ),
                }
                actors.append(host.options(**options).remote(max(1, processors // max(gpus, 1))))
        ready = self._answers(actors)
        if not ready:
            raise InputError(
                "No node of the Ray cluster could start a worker: each needs a free GPU or "
                f"processor, and t2ui {__version__} in its Python."
            )
        return ready

    def _answers(self, actors: list[Any]) -> list[Any]:
        """Those of the actors that start, in time.

        Raises:
            InputError: one has another version of t2ui.
        """
        asked = {actor.version.remote(): actor for actor in actors}
        ready, _ = (
            self.ray.wait(list(asked), num_returns=max(1, len(asked)), timeout=START_SECONDS)
            if asked
            else ([], [])
        )
        started = []
        for ref in asked:
            if ref not in ready:
                self.told("Ray: a worker did not start in time and is left out")
                self.ray.kill(asked[ref])
                continue
            try:
                version = self.ray.get(ref)
            except self.ray.exceptions.RayError as error:
                reason = str(error).strip().split("\n")[-1]
                self.told(f"Ray: a worker could not start and is left out ({reason})")
                continue
            if version != __version__:
                raise InputError(
                    f"The Ray cluster has t2ui {version}, this is {__version__}: install the same "
                    "on every node."
                )
            started.append(asked[ref])
        return started


class RayCrew:
    """Actors as a `Crew`."""

    def __init__(self, ray: Any, actors: Sequence[Any], told: Told):
        self.ray, self.told = ray, told
        self._actors = dict(enumerate(actors))
        self._pending: dict[Any, int] = {}  # what is asked -> whom
        self._number, self._work = 0, None
        self.size = len(self._actors)

    def load(self, source: ModelSource, fingerprint: str) -> None:
        """Let every worker load the model; those that are lost over it are left out.

        Raises:
            InputError: none could, or it is another model than this fingerprint's.
        """
        for worker, actor in self._actors.items():
            self._pending[actor.load.remote(source)] = worker
        while self._pending:
            _, found = self._next()
            if isinstance(found, InputError):
                raise found
            if found is not None and not same_model(found, fingerprint):
                raise InputError(
                    f"The cluster's {source.name} is another model than here (its fingerprint is "
                    f"{found}, here {fingerprint}): put the same files on every node."
                )
        self.size = len(self._actors)
        if not self.size:
            raise InputError(
                "Every worker of the Ray cluster was lost while it loaded the model: does it fit "
                "into the nodes' memory?"
            )

    def alive(self) -> list[int]:
        return list(self._actors)

    def begin(self, work: Work) -> None:
        # Once for all chunks: nodes keep it, and the one before it is forgotten.
        self._number, self._work = self._number + 1, self.ray.put(work)

    def send(self, worker: int, rows: Sequence[Any]) -> None:
        asked = self._actors[worker].run.remote(self._number, self._work, rows)
        self._pending[asked] = worker

    def answer(self) -> tuple[int, "list[Piece] | InputError | None"]:
        return self._next()

    def _next(self) -> tuple[int, Any]:
        """What the next worker answers; None where it is lost, and is left out from now on."""
        (ref,), _ = self.ray.wait(list(self._pending), num_returns=1)
        worker = self._pending.pop(ref)
        try:
            return worker, self.ray.get(ref)
        except self.ray.exceptions.RayTaskError:
            raise  # a bug there is a bug here
        except self.ray.exceptions.RayError:  # the process, its node, or what it has answered
            del self._actors[worker]
            self.told(f"Ray: a worker is lost, {len(self._actors)} are left; its rows go to them")
            return worker, None


def check_address(address: str) -> None:
    """Refuse an address at which nothing listens, or nothing that speaks gRPC as Ray does: Ray
    itself would look for it for minutes.

    Raises:
        InputError: as it says.
    """
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdigit():
        raise InputError(f"--ray is {address!r}; expected HOST:PORT, or auto.")
    try:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS) as connection:
            connection.sendall(HTTP2_GREETING)
            answer = connection.recv(9)  # the server's own settings, which it sends at once
    except (OSError, OverflowError) as error:
        raise no_cluster(address, getattr(error, "strerror", None) or str(error)) from None
    if answer[3:4] != SETTINGS_FRAME:
        raise no_cluster(address, "what listens there is something else")


def no_cluster(address: str, reason: str) -> InputError:
    """One line for people."""
    return InputError(
        f"There is no Ray cluster at {address!r} ({reason}): start one (ray start --head), or "
        "leave --ray out."
    )
