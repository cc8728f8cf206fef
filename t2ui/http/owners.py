"""Which tenant a session of the page's queue belongs to: its name alone must not open it to
another, who may have guessed it."""

from collections import OrderedDict

from t2ui.http.gradio_queue import MOST_SESSIONS
from t2ui.http.refusal import Refusal


class Owners:
    """The tenants' sessions, the latest."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, str] = OrderedDict()  # session -> tenant; "" without keys

    def claim(self, session: str, tenant: str) -> None:
        """Something is asked under this name.

        Raises:
            Refusal: it is another tenant's.
        """
        self.check(session, tenant)
        self._owners[session] = tenant
        self._owners.move_to_end(session)
        if len(self._owners) > MOST_SESSIONS:
            self._owners.popitem(last=False)

    def check(self, session: str | None, tenant: str) -> None:
        """
        Raises:
            Refusal: it is another tenant's; nothing says that there is such a session.
        """
        if session is not None and self._owners.get(session, tenant) != tenant:
            raise Refusal(404, "There is nothing under this session's name: reload the page.")
