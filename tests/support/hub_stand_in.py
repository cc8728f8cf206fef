"""A stand-in for the Hugging Face Hub's HTTP interface, on this machine: what pushing and pulling
experts asks of it. Repositories are dictionaries of bytes; writing needs the token."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "a" * 34


class StandIn(ThreadingHTTPServer):
    """`repos` is what is stored; `cut` maps a file to how many bytes of it are sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.commits: list[dict] = []
        self.cards: list[str] = []  # that were sent to be checked
        self.cut: dict[str, int] = {}
        self.refuse_commits = 0  # a status, or 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def head(self, repo: str) -> str:
        """What names the repository's state, as a commit does."""
        state = sorted((n, hashlib.sha256(d).hexdigest()) for n, d in self.repos[repo].items())
        return hashlib.sha1(repr(state).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._file(with_body=False)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if not path.startswith("/api/models/"):
            return self._file(with_body=True)
        repo, _, rest = self._api_path()
        if repo not in self.server.repos:
            return self._missing()
        if rest.startswith("tree"):
            files = self.server.repos[repo]
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                for name, data in sorted(files.items())
            ]
            return self._json(entries)
        return self._json({"id": repo, "sha": self.server.head(repo), "siblings": []})

    def do_POST(self) -> None:
        body = (
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            if self.headers.get("Content-Length")
            else self._chunks()
        )
        path = urlsplit(self.path).path
        if path == "/api/validate-yaml":
            self.server.cards.append(json.loads(body)["content"])
            return self._json({"warnings": [], "errors": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        repo, action, _ = self._api_path()
        if repo not in self.server.repos:
            return self._missing()
        if action == "preupload":
            asked = json.loads(body)["files"]
            found = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            return self._json({"files": found})
        if self.server.refuse_commits:
            return self._json({"error": "no room"}, self.server.refuse_commits)
        lines = [json.loads(line) for line in body.splitlines() if line]
        self.server.commits.append(lines[0]["value"])
        for line in lines[1:]:
            assert line["key"] == "file", line["key"]
            content = base64.b64decode(line["value"]["content"])
            self.server.repos[repo][line["value"]["path"]] = content
        head = self.server.head(repo)
        url = f"{self.server.url}/{repo}/commit/{head}"
        return self._json({"success": True, "commitOid": head, "commitUrl": url})

    def _create(self, asked: dict) -> None:
        owner = asked.get("organization") or "me"
        repo = f"{owner}/{asked['name']}"
        url = f"{self.server.url}/{repo}"
        if repo in self.server.repos:
            return self._json({"error": "You already created this model repo", "url": url}, 409)
        self.server.repos[repo] = {}
        if asked.get("private") or asked.get("visibility") == "private":
            self.server.private.add(repo)
        return self._json({"url": url, "name": repo, "id": repo})

    def _file(self, with_body: bool) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        repo, name = "/".join(parts[:2]), "/".join(parts[4:])
        if repo not in self.server.repos or parts[2:3] != ["resolve"]:
            return self._missing()
        data = self.server.repos[repo].get(name)
        if data is None:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        sent = data[: self.server.cut[name]] if with_body and name in self.server.cut else data
        headers = {
            "X-Repo-Commit": self.server.head(repo),
            "ETag": f'"{_oid(data)}"',
            "Content-Type": "application/octet-stream",
        }
        self._send(200, sent, headers, with_body)

    def _api_path(self) -> tuple[str, str, str]:
        """Repository, the first word behind it, and all behind it."""
        parts = unquote(urlsplit(self.path).path).removeprefix("/api/models/").split("/")
        return "/".join(parts[:2]), parts[2] if len(parts) > 2 else "", "/".join(parts[2:])

    def _chunks(self) -> bytes:
        """A body in chunks."""
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _missing(self) -> None:
        headers = {"X-Error-Code": "RepoNotFound"}
        self._json({"error": "Repository not found"}, 404, headers)

    def _json(self, value: object, status: int = 200, headers: dict | None = None) -> None:
        data = json.dumps(value).encode()
        with_body = self.command != "HEAD"
        self._send(status, data, {"Content-Type": "application/json", **(headers or {})}, with_body)

    def _send(self, status: int, data: bytes, headers: dict, with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)


def _oid(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


@contextmanager
def hub_stand_in() -> Iterator[StandIn]:
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
