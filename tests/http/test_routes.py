"""Which of Gradio's routes are open: every route that it has is looked at."""

import re
from pathlib import Path

import httpx
import pytest
from door import opened
from fake_client import FakeClient

from t2ui.figures.singular_values import plotly_file
from t2ui.http import routes
from t2ui.ui.shared.panel import ASSETS

NEEDED = {
    "GET /",
    "HEAD /",
    "GET /config",
    "GET /config/",
    "GET /gradio_api/info",
    "GET /gradio_api/info/",
    "GET /static/{path}",
    "GET /assets/{path}",
    "GET /svelte/{path}",
    "GET /gradio_api/file={path_or_url}",
    "HEAD /gradio_api/file={path_or_url}",
    "GET /favicon.ico",
    "GET /theme.css",
    "GET /gradio_api/theme.css",
    "GET /manifest.json",
    "GET /robots.txt",
    "GET /gradio_api/startup-events",
    "GET /gradio_api/app_id",
    "GET /gradio_api/app_id/",
    "GET /gradio_api/heartbeat/{session_hash}",
    "POST /gradio_api/queue/join",
    "GET /gradio_api/queue/data",
    "POST /gradio_api/run/{api_name}",
    "POST /gradio_api/run/{api_name}/",
    "POST /gradio_api/api/{api_name}",
    "POST /gradio_api/api/{api_name}/",
    "POST /gradio_api/cancel",
    "POST /gradio_api/reset",
    "POST /gradio_api/reset/",
    "POST /gradio_api/component_server",
    "POST /gradio_api/component_server/",
    "POST /gradio_api/call/{api_name}",
    "POST /gradio_api/call/{api_name}/",
    "POST /gradio_api/call/v2/{api_name}",
    "POST /gradio_api/call/v2/{api_name}/",
    "GET /gradio_api/call/{api_name}/{event_id}",
    "GET /gradio_api/call/v2/{api_name}/{event_id}",
}


def walk(found, prefix=""):
    """(method, path) of every route, those of included routers too."""
    for route in found:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from walk(inner.routes)
        else:
            for method in sorted(route.methods or ()):
                yield method, prefix + re.sub(r":path}", "}", route.path)


@pytest.fixture(scope="module")
def all_routes():
    from gradio.routes import App

    from t2ui.ui import build

    found = list(walk(App.create_app(build(FakeClient())).routes))
    assert len(found) > 80, "Gradio's routes are not where they were"
    assert ("POST", "/gradio_api/upload") in found
    return found


@pytest.fixture(scope="module")
def url():
    with opened(pace=0) as (_, found, _):
        yield found


def filled(path):
    """A path with something for each of its parts."""
    return re.sub(r"{\w+}", "something", path)


def test_a_route_is_open_only_if_it_is_needed(all_routes):
    opened_routes = {
        f"{method} {path}" for method, path in all_routes if routes.find(method, filled(path))
    }
    assert opened_routes == NEEDED
    for name in ("upload", "proxy=x", "stream/x", "deep_link", "vibe-edit", "process_recording"):
        for method in ("GET", "POST"):
            assert routes.find(method, f"/gradio_api/{name}") is None


def test_what_is_not_needed_is_closed(all_routes, url):
    with httpx.Client(base_url=url) as http:
        for method, path in all_routes:
            if f"{method} {path}" in NEEDED:
                continue
            response = http.request(method, filled(path))
            assert response.status_code == 404, (method, path)
            if method != "HEAD":
                assert "There is nothing at" in response.json()["error"], (method, path)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        f"{ASSETS}/../pyproject.toml",
        f"{ASSETS}/shared/../../pyproject.toml",
        f"{ASSETS}/%2e%2e/pyproject.toml",
        f"{ASSETS}/..%2fpyproject.toml",
        f"{ASSETS}%00.js",
        "http://127.0.0.1/",
        "https://example.com/x.js",
        "file:///etc/passwd",
        "C:/windows/win.ini",
        "pyproject.toml",
        "~/.bashrc",
        "",
        "x" * 5000,
    ],
)
def test_no_file_but_the_apps_own_is_served(url, path):
    with httpx.Client(base_url=url) as http:
        for route in ("file=", "file/"):
            response = http.get(f"/gradio_api/{route}{path}")
            assert response.status_code == 404, response.text[:200]


@pytest.mark.parametrize("path", ["/static/../../x", "/assets/..%2f..%2fx", "/static/%2e%2e/x"])
def test_no_path_leads_upwards(url, path):
    with httpx.Client(base_url=url) as http:
        assert http.get(path).status_code == 404


def test_a_workshop_is_only_where_one_was_started(url):
    with httpx.Client(base_url=url) as http:
        for path in ("seats", "state", "board", "teacher?key="):
            response = http.get(f"/workshop/{path}")
            assert response.status_code == 404 and "--workshop FILE" in response.json()["error"]
        assert "Workshop" not in http.get("/config").text


def test_the_apps_own_files_are_served(url):
    with httpx.Client(base_url=url) as http:
        for file in (ASSETS / "shared/core.js", plotly_file()):
            response = http.get(f"/gradio_api/file={file.as_posix()}")
            assert response.status_code == 200 and response.content == file.read_bytes()


def test_no_post_leaves_files_on_the_disk(url):
    """One request could leave 53 MB behind: many files of less than the limit for each."""
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder())
    before = sorted(folder.rglob("*")) if folder.is_dir() else []
    files = [("files", (f"padding{n}.txt", b"x" * 1000)) for n in range(50)]
    with httpx.Client(base_url=url) as http:
        assert http.post("/gradio_api/upload", files=files).status_code == 404
        assert http.post("/gradio_api/component_server", files=files).status_code == 415
        assert http.post("/gradio_api/queue/join", files=files).status_code == 415
    assert (sorted(folder.rglob("*")) if folder.is_dir() else []) == before
