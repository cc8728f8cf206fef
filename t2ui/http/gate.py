"""Who comes through the door, how often, and what is written down of it; of every kind of route."""

from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import Receive, Scope

from t2ui.http.addresses import Keys, address_of, is_own
from t2ui.http.bodies import read_body
from t2ui.http.limits import Limits
from t2ui.http.logs import log_request
from t2ui.http.rates import Rates
from t2ui.http.refusal import Refusal, busy
from t2ui.http.seat_cookie import token_of
from t2ui.http.service import Service
from t2ui.http.tenants import Tenant
from t2ui.ui.shared.visitor import Visitor
from t2ui.workshop.live import CLOSED, TEACHERS
from t2ui.workshop.seats import Seat

NO_SEAT = "open the app's page in this browser and pick one."
STARTED_AGAIN = "The server was started again: open the new link that it printed."
TEACHER = "teacher"  # in place of an address
SEATLESS = ("static", "file", "page", "workshop", "metrics")  # for who has no seat (yet)
QUIET = ("static", "file", "health", "metrics")  # kinds of routes without a line in the log


def no_seat(token: str) -> Refusal:
    """What somebody without a seat is told, who shows this token or none."""
    if token.startswith(TEACHERS):
        return Refusal(403, STARTED_AGAIN)
    known = "This seat is not known here any more" if token else "You have no seat yet"
    return Refusal(403, f"{known}: {NO_SEAT}")


@dataclass
class Comer:
    """Who comes: the address that counts, or in its place the tenant's name or the seat's."""

    address: str
    limits: Limits
    tenant: Tenant | None = None
    kind: str = "closed"  # of the route
    seat: Seat | None = None  # in a workshop
    teacher: bool = False  # of the workshop


class Gate:
    """What is asked of a request before anybody works on it."""

    def __init__(self, service: Service, keys: Keys) -> None:
        self.service, self._keys = service, keys
        self._rates = Rates()
        self._arriving: Counter[str] = Counter()  # posts being read, by address

    def comer(self, scope: Scope) -> Comer:
        """Who sends this, as far as the address tells."""
        limits = self.service.limits
        return Comer(address_of(scope, limits.public and limits.proxy), limits)

    def know(self, scope: Scope, who: Comer) -> None:
        """Where there are keys, nobody comes in without one.

        Raises:
            Refusal: no key, or none that is known.
        """
        if self.service.workshop is not None:
            self._know_seat(scope, who)
        if self.service.tenants is None:
            return
        self.pace(("keys", who.address), who.limits.requests_per_address)
        who.tenant = self.service.tenants.of_headers(scope["headers"])
        who.address = who.tenant.session
        who.limits = who.tenant.limited(self.service.limits)

    def _know_seat(self, scope: Scope, who: Comer) -> None:
        """In a workshop everybody has a seat, or is the teacher; limits then count for the seat:
        a whole class may come from one address.

        Raises:
            Refusal: neither, and what is asked for is not the way to one.
        """
        workshop, token = self.service.workshop, token_of(scope)
        assert workshop is not None
        who.seat = workshop.seats.of_token(token) if token else None
        who.teacher = who.seat is None and bool(token) and workshop.is_teachers(token)
        if who.seat is not None:
            workshop.seats.seen(who.seat)
            who.address, who.limits = who.seat.session, who.limits.for_a_seat()
        elif who.teacher:
            who.address = TEACHER
        elif who.kind not in SEATLESS or who.kind == "page" and scope["path"] != "/":
            raise no_seat(token)

    def visitor(self, session_hash: str | None, who: Comer) -> Visitor:
        """Whose request it is, for the handlers and for the worker."""
        address, searches = who.address, who.limits.searches_per_address
        if who.tenant is not None:  # its pages' sessions are its own
            page = f"/{self._keys.session(session_hash)}" if session_hash else ""
            return Visitor(f"{who.tenant.session}{page}", address, searches)
        if who.seat is not None:  # one session, whichever page it comes from
            return Visitor(who.seat.session, address, searches, CLOSED)
        key = self._keys.session(session_hash) if session_hash else self._keys.address(address)
        return Visitor(key, address, searches)

    def check_origin(self, scope: Scope, who: Comer) -> None:
        """Where nobody needs a key, a page of another host must not use its reader's server: it
        may have given its own name the address of this machine.

        Raises:
            Refusal: a page of another host sends this.
        """
        said = dict(scope["headers"]).get(b"origin")
        if said is None or who.tenant is not None or who.limits.public:
            return
        try:
            host = urlsplit(said.decode("latin-1")).hostname or ""
        except ValueError:  # brackets that hold no address
            host = ""
        if not is_own(host):
            remedy = "start it with --keys"
            raise Refusal(403, f"Pages of other hosts may not use this server: {remedy}.")

    def pace(self, key: tuple[str, str], per_second: float) -> None:
        """One more of a kind of request.

        Raises:
            Refusal: too often; it says when there is room again.
        """
        if wait := self._rates.take(key, per_second):
            whose = "this page" if key[0] == "session" else "your address"
            raise busy(
                f"Too many requests from {whose}: at most {per_second:g} a second. Try again in "
                f"{max(1, round(wait))} s.",
                retry=wait,
            )

    async def read(self, scope: Scope, receive: Receive, who: Comer) -> bytes:
        """The body of a post.

        Raises:
            Refusal: what `read_body` raises, or too many or too much arrive at once.
        """
        address, key, most = who.address, ("bytes", who.address), who.limits.bytes_per_address
        if wait := self._rates.take(key, most, amount=0):
            raise busy(
                f"Posts from your address have more than {most:,.0f} bytes a second. Try again "
                f"in {max(1, round(wait))} s.",
                retry=wait,
            )
        if self._arriving[address] >= who.limits.bodies_per_address:
            raise busy(f"{self._arriving[address]} posts from your address are still arriving.")
        self._arriving[address] += 1
        try:
            return await read_body(
                scope, receive, who.limits, lambda size: self._rates.take(key, most, amount=size)
            )
        finally:
            self._arriving[address] -= 1
            if not self._arriving[address]:
                del self._arriving[address]

    def write_down(self, scope: Scope, who: Comer, status: int, seconds: float) -> None:
        """What an operator sees of a request: counts, and a line where they want one."""
        self.service.metrics.request(who.kind, status)
        if who.kind not in QUIET:
            log_request(
                {
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    "status": status,
                    "seconds": round(seconds, 4),
                    "from": who.address,
                }
            )
