"""One lock a model: whoever changes what a model computes, or runs it, holds it.

A mixture, dropout that is switched off and a hook on the output head are all set on the model
itself, so threads that use one model take turns. The lock is kept with the model while it is in
use and is gone afterwards: a model that nobody uses can be copied and saved as ever.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from t2ui.errors import InputError
from t2ui.wrapped_models import input_embedding

PLACE = "_t2ui_lock"  # the attribute that holds it
LOOK_AGAIN = 1.0  # seconds after which a thread that waits looks whether it waits in vain


class ModelLock:
    """Held by one thread at a time, as often as that thread likes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owner: threading.Thread | None = None
        self._depth = self._waiting = 0
        self._refusal = ""  # what other threads are told instead of waiting
        self._dropped = False

    def __deepcopy__(self, memo: dict[int, Any]) -> "ModelLock":
        return ModelLock()  # the copy of a model that is in use is not in use

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return ModelLock, ()

    def take(self, refusal: str = "") -> bool:
        """Wait for the lock, then hold it. False: it was dropped meanwhile, look for the new one.

        Args:
            refusal: if given, what other threads are told until this hold ends.

        Raises:
            InputError: the thread that holds it refuses others, or has ended.
        """
        me = threading.current_thread()
        with self._changed:
            self._waiting += 1
            try:
                while self._owner not in (None, me):
                    self._check_worth_waiting(self._owner)
                    self._changed.wait(LOOK_AGAIN)
            finally:
                self._waiting -= 1
            if self._dropped:
                return False
            self._owner, self._depth = me, self._depth + 1
            self._refusal = refusal or self._refusal
            return True

    def give_back(self, holder: dict[str, Any]) -> None:
        """End one hold, from any thread: a generator may be closed by another than began it."""
        with self._changed:
            self._depth -= 1
            if self._depth == 0:
                self._owner, self._refusal = None, ""
                self._dropped = self._waiting == 0
                if self._dropped and holder.get(PLACE) is self:
                    del holder[PLACE]
                self._changed.notify_all()

    def _check_worth_waiting(self, owner: threading.Thread) -> None:
        if self._refusal:
            raise InputError(
                f"The model is in use: {self._refusal}. Wait until that has ended, or load the "
                "model a second time."
            )
        if not owner.is_alive():
            raise InputError(
                f"The model is held by thread {owner.name!r}, which has ended inside a block such "
                "as `with adapter.applied(…)`, perhaps in a generator: close that generator."
            )


@contextmanager
def locked(model: Any, refusal: str = "") -> Iterator[None]:
    """The model for this thread alone inside the block; other threads wait.

    A thread that holds the model may take it again. A model and what is wrapped around it
    (`torch.compile`, peft), or a part of it that reads the same tokens, share their embedding,
    where the lock is kept.

    Args:
        refusal: what other threads are told, who then do not wait: "it is being …".

    Raises:
        InputError: another thread holds the model and refuses others, or has ended.
    """
    embedding = input_embedding(model)
    holder = vars(model if embedding is None else embedding)
    while True:
        lock = holder.setdefault(PLACE, ModelLock())  # one step, whatever other threads do
        if lock.take(refusal):
            break
    try:
        yield
    finally:
        lock.give_back(holder)
