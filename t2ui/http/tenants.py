"""Who may come in with which key, and what is theirs: a folder, limits, an audit log.

Keys are long random words, so a plain SHA-256 of each suffices in the file that the server reads.
The file is read again when it has changed: a key that is withdrawn opens nothing from then on.
"""

import base64
import binascii
import json
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

from t2ui.errors import InputError, quoted
from t2ui.files import writing
from t2ui.http.limits import Limits
from t2ui.http.refusal import Refusal
from t2ui.messages import TENANT, TENANT_NAME

FORMAT = "t2ui.keys"
KEY_START = "t2ui-"
FOLDERS = "tenants"  # beside the file: a folder for each tenant
# What an entry may set for itself; the rest are everybody's.
OWN_LIMITS = ("answers_per_address", "api_answers_per_address", "api_posts_per_address")
LOOK_SECONDS = 1.0  # between two looks at the file's time


@dataclass(frozen=True)
class Tenant:
    """One entry of the file: who has a key."""

    name: str
    sha256: str  # of the key
    created: str  # ISO 8601, UTC
    withdrawn: str = ""  # since when
    operator: bool = False  # may read /metrics
    texts: bool = False  # whether the audit log has the prompts
    limits: tuple[tuple[str, float], ...] = ()  # of OWN_LIMITS

    @property
    def session(self) -> str:
        """Whose requests these are, as the worker is told."""
        return f"{TENANT}{self.name}"

    def limited(self, limits: Limits) -> Limits:
        """The limits that hold for this tenant, whatever addresses they come from."""
        return replace(limits, **dict(self.limits))  # type: ignore[arg-type]


class Tenants:
    """The keys of one file."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InputError: no such file, or it is not what `t2ui keys` writes.
        """
        self.path = path
        self._seen: tuple[int, int] | None = None
        self._looked_at = 0.0
        self._tenants: dict[str, Tenant] = {}  # by the key's hash
        self._read()

    @property
    def folders(self) -> Path:
        """Where each tenant's folder is, by name."""
        return self.path.resolve().parent / FOLDERS

    def of_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> Tenant:
        """Who sends a request, by its key: a bearer's, or a password's as browsers ask for one.

        Raises:
            Refusal: no key, or none that is known.
        """
        said = next((value for name, value in headers if name == b"authorization"), b"")
        key = _key_in(said.decode("latin-1"))
        if not key:
            raise Refusal(401, "A key is needed: send it as Authorization: Bearer KEY.")
        self._look()
        tenant = self._tenants.get(hashed(key))
        if tenant is None or tenant.withdrawn:
            state = "was withdrawn" if tenant else "is not known"
            raise Refusal(401, f"This key {state}: ask the operator for another.")
        return tenant

    def named(self, name: str) -> Tenant | None:
        """The tenant of a name."""
        return next((one for one in self._tenants.values() if one.name == name), None)

    def _look(self) -> None:
        """Read the file again if it is another."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        try:
            self._read()
        except InputError:  # half-edited, or gone: what was known still holds
            return

    def _read(self) -> None:
        try:
            stat = self.path.stat()
        except OSError as error:
            raise InputError(
                f"The keys' file {self.path} cannot be read ({error.strerror}): make it with "
                "`t2ui keys add FILE NAME`."
            ) from None
        seen = stat.st_mtime_ns, stat.st_size
        if seen != self._seen:
            self._tenants = {one.sha256: one for one in read_keys(self.path)}
            self._seen = seen
        self._looked_at = time.monotonic()


def read_keys(path: Path) -> list[Tenant]:
    """The entries of a keys' file.

    Raises:
        InputError: it is none.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise ValueError(f"format is {said['format']!r}")
        return [_tenant(one) for one in said["keys"]]
    except OSError as error:
        raise InputError(f"The keys' file {path} cannot be read ({error.strerror}).") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is no file of keys ({error}): `t2ui keys add FILE NAME` writes one."
        ) from None


def write_keys(path: Path, tenants: Iterable[Tenant]) -> None:
    """Write the file, whole or not at all; only its owner can read it."""
    entries = [
        {
            field.name: getattr(one, field.name)
            for field in fields(Tenant)
            if getattr(one, field.name) != field.default
        }
        | ({"limits": dict(one.limits)} if one.limits else {})
        for one in tenants
    ]
    with writing(path) as beside:
        beside.touch(mode=0o600)
        beside.write_text(json.dumps({"format": FORMAT, "keys": entries}, indent=2) + "\n")


def new_tenant(name: str, **details: Any) -> tuple[Tenant, str]:
    """An entry, and its key, which is nowhere else.

    Raises:
        InputError: a name that is none.
    """
    if not TENANT_NAME.fullmatch(name):
        raise InputError(
            f"The name is {quoted(name)}; expected 1 to 40 letters, digits, - and _, beginning "
            "with a letter or a digit."
        )
    key = KEY_START + secrets.token_urlsafe(32)
    return Tenant(name, hashed(key), now(), **details), key


def hashed(key: str) -> str:
    """What the file has of a key."""
    return sha256(key.encode()).hexdigest()


def now() -> str:
    """This moment, to the second, as ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def checked_limits(limits: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """An entry's own limits.

    Raises:
        InputError: one that there is not, or no number.
    """
    found = []
    for name, value in limits.items():
        if name not in OWN_LIMITS:
            raise InputError(f"A key has no limit {quoted(name)}; it has {', '.join(OWN_LIMITS)}.")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise InputError(f"The limit {name} is {quoted(value)}; expected a number, 0 or more.")
        found.append((name, value))
    return tuple(found)


def _tenant(said: Mapping[str, Any]) -> Tenant:
    known = {field.name for field in fields(Tenant)}
    unknown = set(said) - known
    if unknown:
        raise ValueError(f"an entry has {sorted(unknown)[0]!r}")
    if not TENANT_NAME.fullmatch(str(said["name"])) or len(str(said["sha256"])) != 64:
        raise ValueError(f"the entry {said['name']!r} has no name or no hash")
    return Tenant(**{**said, "limits": checked_limits(said.get("limits", {}))})


def _key_in(said: str) -> str:
    """The key that an Authorization header carries; "" for none."""
    scheme, _, rest = said.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
