"""The package as a person gets it: build the wheel, install it, use it far from the checkout.

    .venv/bin/python .ci/check_wheel.py

The wheel is built from the source distribution, so that this is whole too, and installed into a
fresh environment; pip takes from its cache what it has downloaded before. Ends with status 1 and
one line at the first thing that is not as it should be.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = {path.stem for path in (ROOT / "experts" / "smollm2-135m-instruct").glob("*.safetensors")}
ALWAYS = {"code", "dispatch", "math", "reasoning"}  # whatever the folder holds
QUESTION = "Which gas do plants take in from the air?"
START_SECONDS = 180
ASK_OVER_HTTP = """
import sys
from gradio_client import Client

client = Client(sys.argv[1], verbose=False)
print(client.predict(sys.argv[2], {"reasoning": 1.0}, "none", 8, api_name="/ask")["adapted"])
"""


class Installed:
    """The wheel in an environment of its own, run from an empty folder."""

    def __init__(self, folder: Path):
        self.programs = folder / "environment" / "bin"
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.variables = {
            key: value
            for key, value in os.environ.items()
            if key not in ("PYTHONPATH", "T2UI_DATA")
        }

    def install(self, wheel: Path) -> None:
        run(sys.executable, "-m", "venv", self.programs.parent)
        run(self.programs / "python", "-m", "pip", "install", "--quiet", "--no-compile", wheel)

    def command(self, program: str, *words: object) -> list[str]:
        return [str(self.programs / program), *map(str, words)]

    def says(self, program: str, *words: object) -> str:
        """What a program of the environment prints on stdout."""
        command = self.command(program, *words)
        done = subprocess.run(
            command, cwd=self.elsewhere, env=self.variables, stdout=subprocess.PIPE, text=True
        )
        expect(done.returncode == 0, f"{' '.join(command)} ended with status {done.returncode}")
        return done.stdout.strip()


def expect(held: object, otherwise: str) -> None:
    if not held:
        sys.exit(f"check_wheel: {otherwise}")


def run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command])
    expect(done.returncode == 0, f"{command} ended with status {done.returncode}")


def build(folder: Path) -> Path:
    """The wheel."""
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_commands(installed: Installed) -> None:
    home = Path(installed.says("python", "-c", "import t2ui; print(t2ui.__file__)")).parent
    expect(installed.programs.parent in home.parents, f"t2ui is imported from {home}")
    expect((home / "py.typed").is_file(), "py.typed is not in the wheel")
    version = re.search(r'__version__ = "(.+)"', (ROOT / "t2ui" / "__init__.py").read_text())
    said = installed.says("t2ui", "--version")
    expect(said == f"t2ui {version[1]}", f"t2ui --version says {said!r}")
    listed = json.loads(installed.says("t2ui", "experts", "list", "--json"))
    names = {expert["name"] for expert in listed["experts"]}
    said_so = f"t2ui experts list says {sorted(names)}, {listed['problems']}"
    expect(names == SHIPPED >= ALWAYS and not listed["problems"], said_so)
    answer = installed.says("t2ui", "ask", QUESTION, "--max-new-tokens", 8)
    expect(answer, "t2ui ask has no answer")
    print(f"{said}: {', '.join(sorted(names))}; {QUESTION} {answer} …")


def check_page(installed: Installed) -> None:
    """The page, its scripts and styles, and an answer of the worker behind it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = installed.command("t2ui", "serve", "--port", port)
    with subprocess.Popen(
        command, cwd=installed.elsewhere, env=installed.variables, start_new_session=True
    ) as server:
        try:
            page = first_answer(url, server)
            config = json.loads(fetch(f"{url}/config"))
            files = sorted(set(re.findall(r"gradio_api/file=[^\"'\\?]+", page)))
            ours = [file for file in files if "/_shipped/assets/" in file]
            expect(any(file.endswith(".js") for file in ours), f"the page has no script: {files}")
            for file in files:
                expect(fetch(f"{url}/{file}"), f"{file} is empty")
            folder = ours[0].partition("=")[2].partition("/_shipped/assets/")[0]
            style = Path(folder, "_shipped/assets/shared/tokens.css").read_text(encoding="utf-8")
            expect(style.strip() in config["css"], "the page has not the style of tokens.css")
            answer = installed.says("python", "-c", ASK_OVER_HTTP, url, QUESTION)
            expect(answer, "the page's worker has no answer")
            print(f"page: {len(page):,} characters, {len(files)} files; {QUESTION} {answer} …")
        finally:
            stop(server)


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode("utf-8")


def first_answer(url: str, server: subprocess.Popen) -> str:
    """The page, as soon as it is served."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        expect(server.poll() is None, f"t2ui serve ended with status {server.returncode}")
        try:
            return fetch(url)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    sys.exit(f"check_wheel: {url} does not answer after {START_SECONDS} s")


def stop(server: subprocess.Popen) -> None:
    """Ctrl-C, which has to be enough."""
    if server.poll() is not None:
        return
    os.killpg(server.pid, signal.SIGINT)
    try:
        server.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        sys.exit("check_wheel: t2ui serve does not stop at Ctrl-C")


def main() -> None:
    # a shell has what it starts in the background ignore Ctrl-C, and that is inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("check_wheel: ended from outside"))
    with TemporaryDirectory(prefix="t2ui-wheel-") as name:
        folder = Path(name)
        installed = Installed(folder)
        installed.install(build(folder / "dist"))
        check_commands(installed)
        check_page(installed)


if __name__ == "__main__":
    main()
