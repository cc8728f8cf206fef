"""Where a request comes from, and an unguessable key for its session."""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

SESSION_HASH = re.compile(r"[A-Za-z0-9_-]{1,64}")  # as Gradio's page and its clients make them
KEY_CHARACTERS = 32
UNKNOWN = "unknown"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address_of(scope: Mapping[str, Any], proxy: bool) -> str:
    """The address that a request is counted for.

    Behind a `proxy` it is what X-Forwarded-For says. A visitor can write anything into that
    header, and the proxy adds whom it heard it from at its end: the last entry that is no private
    address counts. A peer that is itself on the open net is no proxy of ours, and is not believed.
    An IPv6 address counts as its network of 64 bits, all of which one visitor has.
    """
    peer = _parsed((scope.get("client") or ("", 0))[0])
    if proxy and (peer is None or not peer.is_global):
        entries = [_parsed(entry) for entry in reversed(_forwarded(scope.get("headers") or ()))]
        known = [entry for entry in entries if entry is not None]
        peer = next((entry for entry in known if entry.is_global), known[0] if known else peer)
    if peer is None:
        return UNKNOWN
    if isinstance(peer, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((peer, 64), strict=False))
    return str(peer)


def is_own(host: str) -> bool:
    """Whether a host's name is this machine's for itself."""
    if host.lower() == "localhost":
        return True
    found = _parsed(host) if ":" not in host else _parsed(f"[{host.strip('[]')}]")
    return found is not None and found.is_loopback


class Keys:
    """Keys of sessions: nobody who lacks the secret can tell or guess one."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def session(self, session_hash: str) -> str:
        """The key of a page, or of a client, that calls itself this."""
        return self._key("session", session_hash)

    def address(self, address: str) -> str:
        """The key of whoever posts from an address without a session."""
        return self._key("address", address)

    def _key(self, kind: str, text: str) -> str:
        digest = hmac.new(self._secret, f"{kind}:{text}".encode(), hashlib.sha256)
        return digest.hexdigest()[:KEY_CHARACTERS]


def _forwarded(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return ",".join(lines).split(",") if lines else []


def _parsed(text: str) -> Address | None:
    """An address as proxies write it: with or without a port, IPv6 in brackets or not."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found
