"""Answers that harm or hang: they are stopped, and leave nothing behind."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import layers
import pytest
from layers import SHORT, TESTS, every_layer

from t2ui.tasks.sandbox.run import INSIDE, WALLS, Limits, Verdict, isolation, run_python

pytestmark = layers.needs_linux

landlock = layers.landlock  # a fixture


@pytest.fixture
def processes_left(tmp_path, monkeypatch):
    """Finds processes of this test's runs, by the folder in their command line."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def find() -> list[str]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:  # it has just ended
                continue
            if str(tmp_path).encode() in line and int(entry.name) != os.getpid():
                found.append(entry.name)
        return found

    def left() -> list[str]:
        deadline = time.monotonic() + 5
        while (found := find()) and time.monotonic() < deadline:
            time.sleep(0.02)  # the kernel takes a moment to clear away what is killed
        return found

    return left


@pytest.fixture
def neighbour():
    """A process of the answer's user, as t2ui is one where it is not root, that holds secrets."""
    code = (
        "import os, sys, time\nsys.path.insert(0, sys.argv[1])\nimport walls\n"
        "walls.drop_capabilities()\nheld = os.environ['SECRET'].upper()\n"
        "print(flush=True)\ntime.sleep(600)"
    )
    program = [sys.executable, "-I", "-S", "-c", code, str(INSIDE)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, env={"SECRET": "swordfish"}) as process:
        process.stdout.readline()
        yield process
        process.kill()


# --- answers that harm or hang -------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "def f(x):\n    while True: pass",
        "def f(x):\n    while True: print('y' * 100_000)",
        "import signal\nfor s in (14, 15, 24): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        "def f(x):\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass",
        "def f(x):\n    while True: yield 1\n",
    ],
)
def test_an_endless_loop_is_stopped(code, processes_left):
    started = time.monotonic()
    tests = "assert f(2) == 4" if "yield" not in code else "assert sum(f(2)) == 4"
    assert not run_python(code, tests, limits=SHORT).passed
    assert time.monotonic() - started < SHORT.wall_seconds + 4
    assert processes_left() == []


def test_sleeping_does_not_get_round_the_clock(processes_left):
    started = time.monotonic()
    verdict = run_python("import time\ntime.sleep(600)", TESTS, limits=Limits(wall_seconds=1.5))
    assert verdict == Verdict(False, "stopped after 1.5 s")
    assert time.monotonic() - started < 6
    assert processes_left() == []


BOMBS = {
    "fork": "import os\nwhile True: os.fork()",
    "fork, whatever happens": (
        "import os\nfor _ in range(20_000):\n    try: os.fork()\n    except OSError: pass"
    ),
    "threads": "import threading, time\n"
    "while True: threading.Thread(target=time.sleep, args=(99,)).start()",
    "subprocess": "import subprocess\nwhile True: subprocess.Popen(['/bin/sleep', '600'])",
    "memory": "x = [0]\nwhile True: x += x",
    "memory at once": "x = bytearray(10**11)",
    "memory in the judge": "def f(x): return 'y' * 10**8",
    "numbers": "def f(x): return 9 ** 9 ** 9",
    "deep recursion": "def f(x): return f(x) + 1",
    "deeper recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x) + 1",
    "recursion in C": (
        "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n"
        "    def __repr__(self): return repr(self)\ndef f(x): return repr(A())"
    ),
    "deep value": "def f(x):\n    v = []\n    for _ in range(10**5): v = [v]\n    return v",
    "value in itself": "def f(x):\n    v = []\n    v.append(v)\n    return v",
    "abort": "import os\ndef f(x): os.abort()",
    "crash": "import ctypes\ndef f(x): ctypes.string_at(0)",
    "disk": "while True: open('a', 'ab').write(b'x' * 10**6)",
    "files": "i = 0\nwhile True:\n    i += 1\n    open(str(i), 'w').close()",
}


@pytest.mark.parametrize("code", BOMBS.values(), ids=BOMBS)
def test_no_bomb_passes_or_stays(code, processes_left):
    assert not run_python(code, TESTS, limits=SHORT).passed
    assert processes_left() == []


@every_layer
@pytest.mark.parametrize(
    "start",
    [
        "os.fork()",
        "subprocess.Popen(['/bin/sleep', '600'], start_new_session=True)",
        "os.system('sleep 600 &')",
        "os.posix_spawn('/bin/sleep', ['sleep', '600'], {})",
        "_posixsubprocess.fork_exec(*[None] * 23)",
    ],
)
def test_no_process_can_be_started(walls, start, processes_left):
    code = (
        "import os, subprocess, _posixsubprocess\ndef f():\n"
        f"    try:\n        started = {start}\n"
        "    except (OSError, TypeError):\n        return True\n"
        "    return 'system' in %r and started != 0" % start
    )
    assert run_python(code, "assert f() is True", limits=SHORT, walls=walls) == Verdict(True)
    assert processes_left() == []


@every_layer
def test_an_answer_does_not_outlive_its_run(walls, processes_left):
    """It gives the right value, then wakes up again and again."""
    code = (
        "import os, signal, time\n"
        "try: os.setsid()\nexcept OSError: pass\n"
        "signal.signal(signal.SIGALRM, lambda *a: time.sleep(600))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.3)\n"
        "for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):\n"
        "    signal.signal(s, signal.SIG_IGN)\n"
        "def f(): return 1"
    )
    run_python(code, "assert f() == 1", limits=SHORT, walls=walls)
    assert processes_left() == []


@every_layer
def test_no_network(walls):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = (
            "import socket, _socket\ndef f():\n    for make in (socket.socket, _socket.socket):\n"
            "        try:\n            s = make(socket.AF_INET, socket.SOCK_STREAM)\n"
            f"            s.connect(('127.0.0.1', {port}))\n            return 'connected'\n"
            "        except OSError: pass\n    return 'refused'"
        )
        assert run_python(code, "assert f() == 'refused'", walls=walls) == Verdict(True)
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()


@every_layer
def test_nothing_outside_is_written_or_removed(walls, tmp_path):
    shared = (tempfile.gettempdir(), "/dev/shm", "/var/tmp", "")
    kept = tmp_path / "kept.txt"
    kept.write_text("kept")
    kept.chmod(0o666)
    attempts = [
        f"open({str(kept)!r}, 'w').write('changed')",
        f"os.close(os.open({str(kept)!r}, os.O_RDWR | os.O_TRUNC))",
        f"os.truncate({str(kept)!r}, 0)",
        f"os.remove({str(kept)!r})",
        f"os.rename({str(kept)!r}, {str(kept)!r} + '2')",
        f"os.symlink('x', {str(tmp_path / 'link')!r})",
        f"os.mkdir({str(tmp_path / 'folder')!r})",
        *(f"open({f'{folder}/t2ui-was-here'!r}, 'w')" for folder in shared),
    ]
    code = "import os\ndef f():\n    done = []\n" + "".join(
        f"    try: {attempt}; done.append({i})\n    except OSError: pass\n"
        for i, attempt in enumerate(attempts)
    )
    assert run_python(code + "    return done", "assert f() == []", walls=walls) == Verdict(True)
    assert kept.read_text() == "kept" and os.listdir(tmp_path) == ["kept.txt"]
    for folder in shared:
        assert not Path(f"{folder}/t2ui-was-here").exists()


def test_files_are_small_and_go_with_the_run(processes_left, tmp_path):
    code = "def f():\n    open('a', 'wb').write(b'x' * 2_000_000)"
    verdict = run_python(code, "f()")
    assert not verdict.passed and "OSError" in verdict.reason
    assert list(tmp_path.iterdir()) == []
    assert run_python("import os\ndef f(): return os.listdir()", "assert f() == []").passed


def test_files_of_others_cannot_be_read():
    """Not even what everybody may read: a data set with the tests in it, say."""
    if isolation().files == "read-only":
        pytest.skip("this kernel refuses namespaces")
    code = (
        f"import os\ndef f(): return [os.path.exists(p) for p in ({__file__!r}, '/etc/passwd', "
        "'/proc/self', '/proc/1', '/home', os.__file__)]"
    )
    assert run_python(code, "assert f() == [False] * 4 + [True, True]") == Verdict(True)


READ_ALL = """
import os
def kept(path):
    with open(path, "rb", 0) as file: return file.read()
def memory(pid):
    said = b""
    for line in kept(f"/proc/{pid}/maps").decode().splitlines():
        if " rw" not in line: continue
        low, high = (int(v, 16) for v in line.split()[0].split("-"))
        with open(f"/proc/{pid}/mem", "rb", 0) as file:
            file.seek(low)
            said += file.read(high - low)
    return said
def f(pid, path):
    done = []
    for name, read in (("environment", lambda: kept(f"/proc/{pid}/environ")),
                       ("memory", lambda: memory(pid)), ("file", lambda: kept(path))):
        try:
            if b"swordfish" in read().lower(): done.append(name)
        except OSError: pass
    return done
"""


@pytest.mark.parametrize("walls", [("files",), ("files", "calls"), WALLS], ids="-".join)
def test_no_secrets_of_the_same_user_where_namespaces_are_refused(
    walls, neighbour, landlock, tmp_path
):
    """The token in t2ui's environment, the tests in its memory, a data set with the tests in it."""
    data = tmp_path / "data.jsonl"
    data.write_text("swordfish")
    tests = f"assert f({neighbour.pid}, {str(data)!r}) == "
    hole = run_python(READ_ALL, tests + "['environment', 'memory', 'file']", walls=("calls",))
    if not hole.passed:
        pytest.skip("this kernel keeps processes of the same user apart anyway")
    assert run_python(READ_ALL, tests + "[]", walls=walls) == Verdict(True)


@pytest.mark.parametrize("walls", [("files", "calls"), WALLS], ids="-".join)
def test_packages_beside_the_library_are_not_read(walls, landlock):
    """t2ui may be one of them, with its exercises and their tests."""
    packages = Path(os.path.realpath(os.__file__)).parent / "site-packages"
    if str(packages).startswith(("/usr/lib", "/lib")):
        pytest.skip("this Python is the system's")
    file = next((p for p in packages.rglob("*.py") if p.stat().st_size), None)
    if file is None:
        pytest.skip("this Python has no packages")
    code = (
        f"def f():\n    try: return open({str(file)!r}).read(1)\n"
        "    except PermissionError: return 'refused'"
    )
    assert run_python(code, "assert f() == 'refused'", walls=walls) == Verdict(True)


@every_layer
def test_no_process_is_killed_by_a_signal_of_its_input(walls, neighbour):
    """A pipe of the answer's own, handed to another process: written to, it would send SIGKILL."""
    code = (
        "import fcntl, os, struct\ndef f(pid):\n    done, (reads, writes) = [], os.pipe()\n"
        "    for command, value in ((10, 9), (8, pid), (15, struct.pack('ii', 1, pid)),\n"
        "                           (fcntl.F_SETFL, os.O_ASYNC)):\n"
        "        try: fcntl.fcntl(reads, command, value); done.append(command)\n"
        "        except OSError: pass\n"
        "    os.write(writes, b'x')\n    return {*done} & {8, 10, 15}"
    )
    verdict = run_python(code, f"assert f({neighbour.pid}) == set()", walls=walls)
    time.sleep(0.1)  # as long as a signal may take
    assert verdict == Verdict(True) and neighbour.poll() is None


@every_layer
def test_the_environment_and_open_files_stay_here(walls, tmp_path, monkeypatch):
    monkeypatch.setenv("T2UI_SECRET", "swordfish")
    secret = tmp_path / "secret"
    secret.write_text("swordfish")
    handle = os.open(secret, os.O_RDONLY)
    os.set_inheritable(handle, True)
    code = (
        "import os\nfound = [repr(dict(os.environ)), repr(os.environb), repr(os.getenv('A'))]\n"
        "for fd in range(256):\n"
        "    try: found.append(repr(os.pread(fd, 1000, 0)))\n    except OSError: pass\n"
        "def f(): return ' '.join(found)"
    )
    tests = "assert 'swordfish' not in f() and 'T2UI' not in f() and 'PATH' not in f()"
    try:
        assert run_python(code, tests, walls=walls) == Verdict(True)
    finally:
        os.close(handle)
    proc = (
        "import os\ndef f():\n    said = b''\n    for p in ('self', '1', str(os.getppid())):\n"
        "        try: said += open(f'/proc/{p}/environ', 'rb').read()\n"
        "        except OSError: pass\n    return said"
    )
    assert run_python(proc, "assert b'swordfish' not in f()", walls=walls) == Verdict(True)


# --- the audit hook, where the kernel offers nothing better --------------------------------------

# What an answer may try on the hook, before it tries what the hook refuses.
UNHOOKED = """
import builtins, gc, os, sqlite3, sys
try: import _xxsubinterpreters as others
except ImportError: import _interpreters as others  # since Python 3.13

def loosen():
    for name in ("subject", "walls", "wire", "judge", "__main__"):
        vars(sys.modules.get(name, os)).update(REFUSED=(), WRITE_FLAGS=0)
    frame = sys._getframe()
    while frame:
        frame.f_globals.update(REFUSED=(), WRITE_FLAGS=0)
        frame = frame.f_back
    try:
        for o in gc.get_objects():
            if getattr(o, "__name__", "") == "hook": o.__code__ = (lambda *a, **k: 0).__code__
    except PermissionError: pass

def f(folder):
    kept, done = folder + "/kept.txt", []
    new = folder + "/new"
    attempts = (
        lambda: open(kept, "w"), lambda: open(kept, "r+"), lambda: os.open(kept, os.O_TRUNC),
        lambda: os.open(new, os.O_CREAT), lambda: os.open(kept, os.O_RDWR | os.O_APPEND),
        lambda: sqlite3.connect(new).execute("create table t (x)"), lambda: os.utime(kept, (1, 1)),
        lambda: os.setxattr(kept, "user.x", b"y"), lambda: os.remove(kept),
        lambda: others.run_string(others.create(), f"open({new!r}, 'w')"),
    )
    loosen()
    names = ("isinstance", "any", "type", "str", "int", "PermissionError", "OSError", "Exception")
    before = {name: vars(builtins)[name] for name in names}
    for number, attempt in enumerate(attempts):
        for name in names: setattr(builtins, name, lambda *a: False)
        try:
            attempt()
            done.append(number)
        except BaseException: pass
        finally: vars(builtins).update(before)
    return done
"""


def test_the_hook_holds_where_an_answer_changes_all_that_it_can_name(tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("kept")
    tmp_path.chmod(0o777)
    kept.chmod(0o666)
    before = kept.stat().st_mtime_ns
    verdict = run_python(UNHOOKED, f"assert f({str(tmp_path)!r}) == []", walls=())
    assert (kept.read_text(), kept.stat().st_mtime_ns) == ("kept", before)
    assert os.listdir(tmp_path) == ["kept.txt"] and os.listxattr(kept) == []
    assert verdict == Verdict(True)


def test_our_modules_are_not_in_an_answers_way():
    ours = {path.stem for path in INSIDE.glob("*.py")}
    code = f"import sys\ndef f(): return sorted({ours} & {{*sys.modules}})"
    assert run_python(code, "assert f() == []") == Verdict(True)
    script = "import __main__\nx = 5\ndef f(): return __main__.x"
    assert run_python(script, "assert f() == 5") == Verdict(True)
