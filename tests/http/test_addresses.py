"""Whose request it is: addresses behind proxies, and keys of sessions."""

import pytest

from t2ui.http.addresses import UNKNOWN, Keys, address_of
from t2ui.ui.shared.visitor import NOBODY, SCOPE_KEY, Visitor, visitor_of


def scope(peer, *forwarded):
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return {"client": (peer, 1234) if peer else None, "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.1", ["8.8.8.8"], "8.8.8.8"),
        ("10.0.0.1", ["1.1.1.1, 8.8.8.8"], "8.8.8.8"),  # the first one was written by the visitor
        ("10.0.0.1", ["1.1.1.1", "8.8.8.8"], "8.8.8.8"),
        ("10.0.0.1", ["8.8.8.8, 10.20.30.40"], "8.8.8.8"),  # another proxy of ours
        ("10.0.0.1", ["10.9.9.9"], "10.9.9.9"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("9.9.9.9", ["8.8.8.8"], "9.9.9.9"),  # on the open net: no proxy of ours
        ("10.0.0.1", ["8.8.8.8:5555"], "8.8.8.8"),
        ("10.0.0.1", ["[2001:4860:4860::8888]:443"], "2001:4860:4860::/64"),
        ("10.0.0.1", ["2001:4860:4860::1"], "2001:4860:4860::/64"),
        ("::ffff:8.8.8.8", [], "8.8.8.8"),
        ("fe80::1%eth0", [], "fe80::/64"),
        (None, [], UNKNOWN),
        ("10.0.0.1", ["x" * 100_000], "10.0.0.1"),
    ],
)
def test_behind_a_proxy_the_address_is_the_one_that_the_proxy_saw(peer, forwarded, address):
    assert address_of(scope(peer, *forwarded), proxy=True) == address


def test_without_a_proxy_nobody_is_believed():
    assert address_of(scope("10.0.0.1", "8.8.8.8"), proxy=False) == "10.0.0.1"


def test_a_key_cannot_be_told_without_the_secret():
    keys, others = Keys(b"one"), Keys(b"two")
    key = keys.session("abc")
    assert key == keys.session("abc") and len(key) == 32 and set(key) <= set("0123456789abcdef")
    assert len({key, keys.session("abd"), keys.address("abc"), others.session("abc")}) == 4


def test_the_visitor_of_a_request_is_what_the_door_has_put_there():
    class Wrapped:
        def __init__(self, scope):
            self.scope = scope

    class Wrapper:
        def __init__(self, request):
            self.request = request

    me = Visitor("key", "8.8.8.8")
    assert visitor_of(Wrapper(Wrapped({SCOPE_KEY: me}))) is me
    assert visitor_of(Wrapped({SCOPE_KEY: me})) is me
    for request in (None, Wrapped({}), Wrapper(None), Wrapped({SCOPE_KEY: "forged"})):
        assert visitor_of(request) is NOBODY
