"""From nothing to a page that shows something: `python -m benchmarks.cold_start`

Starts the app as a Space does: a process of its own, SPACE_ID set, an empty cache but for the
model's own files (with `--fresh` without those too). Measures when the port answers, when a first
visitor in a real browser sees the finished example (first as plain markup, then on the app's own
page), when the model is ready, and the most memory of all its processes together. Hosts that the
page contacts beside this one are named.
"""

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import httpx
from playwright.sync_api import Browser, sync_playwright

from benchmarks.common import describe_machine
from t2ui.config import default_cache_dir

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FIRST_LOOK = "#first-look .adapted"
EXAMPLE = "#answer-adapted [data-state=done]"


class Memory:
    """The most that a process and its descendants hold together, each page counted once: bytes."""

    def __init__(self, root: int) -> None:
        self.root, self.most, self._go_on = root, 0, True
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def end(self) -> float:
        self._go_on = False
        self._thread.join()
        return self.most

    def _look(self) -> None:
        while self._go_on:
            self.most = max(self.most, sum(map(_held, _family(self.root))))
            time.sleep(0.2)


def _family(root: int) -> list[int]:
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        children[parent].append(int(stat.parent.name))
    found = [root]
    for one in found:
        found += children[one]
    return found


def _held(process: int) -> int:
    """Proportional set size: what is shared by n processes counts 1/n for each."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def start(browser: Browser, fresh: bool) -> dict[str, float]:
    """One start and its first visitor; seconds, bytes."""
    with tempfile.TemporaryDirectory() as cache:
        if not fresh:
            shutil.copytree(default_cache_dir() / "models", Path(cache) / "models")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {**os.environ, "T2UI_CACHE": cache, "SPACE_ID": "t2ui/demo"}
        environment |= {"GRADIO_SERVER_PORT": str(port)}
        began = time.perf_counter()
        command = [sys.executable, "app.py"]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        memory = Memory(server.pid)
        try:
            found = visit(browser, f"http://127.0.0.1:{port}", began, server)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
            most = memory.end()
        return {**found, "memory": most}


def visit(browser: Browser, url: str, began: float, server: subprocess.Popen) -> dict[str, float]:
    while True:
        try:
            httpx.get(url, timeout=60).raise_for_status()
            break
        except httpx.TransportError:
            if server.poll() is not None:
                raise SystemExit("the app ended") from None
            time.sleep(0.05)
    answers = time.perf_counter() - began
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    others: list[str] = []
    own = (url, "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else others.append(r.url))
    page.set_default_timeout(600_000)
    opened = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector(FIRST_LOOK)
    shown = time.perf_counter() - opened
    page.wait_for_selector(EXAMPLE, state="attached")
    built = time.perf_counter() - opened
    page.wait_for_selector("#status[data-state=ready]", state="attached")
    ready = time.perf_counter() - began
    page.click("#make-live")
    page.wait_for_selector("#make-live", state="hidden")
    page.wait_for_selector(EXAMPLE, state="attached")
    answered = time.perf_counter() - began
    again = context.new_page()
    opened = time.perf_counter()
    again.goto(url, wait_until="commit")
    again.wait_for_selector("#mix-math", state="attached")
    warm = time.perf_counter() - opened
    context.close()
    if others:
        print(f"other hosts: {sorted(set(others))}")
    return {
        "answers": answers,
        "shown": shown,
        "built": built,
        "ready": ready,
        "live": answered,
        "warm": warm,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fresh", action="store_true", help="the model is unpacked anew, too")
    options = parser.parse_args()
    describe_machine()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        rounds = [start(browser, options.fresh) for _ in range(options.rounds)]
        browser.close()
    words = {
        "answers": "s from the start until the port answers",
        "shown": "s from then until a first visitor sees the example",
        "built": "s from then until it stands on the app's own page",
        "ready": "s from the start until the model is ready",
        "live": "s from the start until the example was asked live",
        "warm": "s until a second page of that browser has its sliders",
        "memory": "GB held at most",
    }
    for name, what in words.items():
        found = [one[name] / (1e9 if name == "memory" else 1) for one in rounds]
        print(f"{statistics.median(found):6.2f} ({min(found):.2f} to {max(found):.2f}) {what}")


if __name__ == "__main__":
    main()
