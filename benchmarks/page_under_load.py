"""How long the page takes to open under 290 unread posts: `python -m benchmarks.page_under_load`.

The whole page (/, its scripts, styles and fonts, and the list of experts by name), alone and right
after 290 posts to /ask whose events nobody reads. Both in turn, so that a noisy machine does the
same to both. With `--public` as strangers are served, and `--model` another model.
"""

import argparse
import re
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urljoin

import httpx

from benchmarks.common import describe_machine
from t2ui.config import DEFAULT_MODEL, WorkerConfig
from t2ui.http.launch import launch_options, visitors_folder
from t2ui.http.limits import Limits
from t2ui.http.service import Service
from t2ui.ui import build
from t2ui.worker.client import connect

POSTS = 290
ROUNDS = 7
PROMPT = "Write a story about a lighthouse keeper and the sea."
LINKS = re.compile(r'(?:src|href)="((?:\./|/)?(?:assets|static|theme)[^"]+)"')
SHIPPED = re.compile(r"gradio_api/file=[^\"'\\>]+?\.(?:js|css|svg)")


def open_page(http: httpx.Client) -> float:
    """Seconds until everything is there that a visitor's first look needs."""
    began = time.perf_counter()
    page = http.get("/").raise_for_status().text
    found = {*LINKS.findall(page), *SHIPPED.findall(page)}
    assert len(found) > 8, f"the page names {sorted(found)} only"
    for asset in sorted(found):
        http.get(urljoin("/", asset.removeprefix("."))).raise_for_status()
    event = http.post("/gradio_api/call/experts", json={"data": []}).raise_for_status().json()
    with http.stream("GET", f"/gradio_api/call/experts/{event['event_id']}") as answer:
        text = answer.raise_for_status().read().decode()
    assert '"math"' in text, text[:500]
    return time.perf_counter() - began


def post_unread(url: str) -> Counter:
    """Posts to /ask whose event streams nobody opens; how many were answered with which status."""
    with httpx.Client(base_url=url, timeout=120) as http, ThreadPoolExecutor(16) as pool:

        def post(number: int) -> int:
            data = [f"{PROMPT} ({number})", {}, "none", 256]
            return http.post("/gradio_api/call/ask", json={"data": data}).status_code

        return Counter(pool.map(post, range(POSTS)))


def spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--public", action="store_true")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    describe_machine()
    limits = Limits.of(options.public)
    with ExitStack() as stack:
        sessions = stack.enter_context(visitors_folder(limits))
        client = stack.enter_context(
            connect(WorkerConfig(model=options.model, sessions_dir=sessions))
        )
        print(client.wait_ready(1800).state)
        service = Service(client, limits)
        demo = build(service.client, limits.public)
        _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(service))
        stack.callback(demo.close)
        http = stack.enter_context(httpx.Client(base_url=url, timeout=120))
        open_page(http)  # what is made once
        alone, loaded, statuses = [], [], Counter()
        for _ in range(ROUNDS):
            alone.append(open_page(http))
            statuses += post_unread(url)
            loaded.append(open_page(http))
            time.sleep(limits.unheard_seconds + 2)  # nobody listens: they end
        time.sleep(5)
        print(f"page alone:              {spread(alone)}")
        print(f"under {POSTS} unread posts:  {spread(loaded)}")
        ratios = [one / two for one, two in zip(loaded, alone, strict=True)]
        print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(f"posts by status: {dict(statuses)}; still under way: {client.status().running}")


if __name__ == "__main__":
    main()
