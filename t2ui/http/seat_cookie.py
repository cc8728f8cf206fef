"""What a browser keeps of a workshop: the token of its seat, or of the teacher's link."""

from http.cookies import CookieError, SimpleCookie

from starlette.types import Scope

COOKIE = "t2ui-workshop"
COOKIE_SECONDS = 86_400  # a day


def token_of(scope: Scope) -> str:
    """The token that a request shows; "" for none."""
    said = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    try:
        found = SimpleCookie(said.decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
