"""Right answers pass; those that cheat, harm or hang do not, and leave nothing behind."""

import ctypes
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from t2ui.errors import InputError
from t2ui.tasks import sandbox
from t2ui.tasks.sandbox import INSIDE, WALLS, Limits, Verdict, isolation, run_python

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")

TESTS = "assert f(2) == 4\nassert f(3) == 918273"  # only the tests know the second number
SHORT = Limits(cpu_seconds=1, wall_seconds=6)
# The layers alone, as on kernels that refuse namespaces, or have no filter for system calls either.
LAYERS = {"all": WALLS, "files": ("files", "calls"), "calls": ("calls",), "python": ()}
every_layer = pytest.mark.parametrize("walls", LAYERS.values(), ids=LAYERS)


@pytest.fixture
def landlock():
    """Asks the kernel itself which version of Landlock it has."""
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 1:
        pytest.skip("this kernel has no Landlock")


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


# --- answers as they should be -------------------------------------------------------------------


@every_layer
def test_a_right_answer_passes_and_a_wrong_one_says_where(walls):
    right = "def f(x):\n    return {2: 4, 3: 918273}[x]"
    assert run_python(right, TESTS, walls=walls) == Verdict(True)
    wrong = run_python("def f(x):\n    return 4", TESTS, walls=walls)
    assert wrong == Verdict(False, "tests, line 2, assert f(3) == 918273")


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("def f(*a, k=1): return [(1, 2.5), {3}, {'a': None}, b'x', 2**80, k]",
         "assert f(1, k=-1) == [(1, 2.5), {3}, {'a': None}, b'x', 2**80, -1]"),
        ("def f(): return float('inf'), -0.0, 1 + 2j, range(3), frozenset({1}), 'é\\ud800'",
         "assert f() == (float('inf'), 0.0, 1 + 2j, range(3), frozenset({1}), 'é\\ud800')"),
        ("import collections as c\ndef f(s): return c.Counter(s)", "assert f('aab')['a'] == 2"),
        ("from fractions import Fraction\ndef f(): return Fraction(1, 3)",
         "from fractions import Fraction\nassert f() == Fraction(1, 3)"),
        ("def f(n):\n    for i in range(n): yield i * i", "assert list(f(4)) == [0, 1, 4, 9]"),
        ("def f(x): x.sort(); x.append([9])", "a = [3, 1]\nf(a)\nassert a == [1, 3, [9]]"),
        ("def f(g, x): return g(x) + g(1)", "assert f(lambda v: 10 * v, 2) == 30"),
        ("def f(g, x): return list(map(g, x))", "assert f(len, ['a', 'bc']) == [1, 2]"),
        ("class f:\n    def __init__(self): self.s = []\n    def push(self, v): self.s.append(v)",
         "s = f()\ns.push(3)\ns.size = 1\nassert s.s == [3] and s.size == 1"),
        ("import dataclasses\n@dataclasses.dataclass\nclass f:\n    x: int",
         "assert f(1) == f(1) and f(1) != f(2) and str(f(3)) == 'f(x=3)'"),
        ("def f(x):\n    if x < 0: raise ValueError('negative')",
         "try:\n    f(-1)\n    ok = False\nexcept ValueError as e:\n    ok = str(e) == 'negative'\n"
         "assert ok"),
        ("import math\ndef f(x): return math.sqrt(x)", "assert math.isclose(f(2), 2 ** 0.5)"),
        ("def sum(a, b): return a * b", "assert sum(2, 5) == 10"),
        ("def f(): print('x' * 1000); return 1", "assert f() is not None"),
        ("def f():\n    open('a.txt', 'w').write('hi')\n    return open('a.txt').read()",
         "assert f() == 'hi'"),
    ],
)  # fmt: skip
def test_values_objects_and_exceptions_go_over(code, tests):
    assert run_python(code, tests, entry=("f", "sum")) == Verdict(True)


def test_an_answer_replaces_a_builtin_only_where_it_is_the_one_under_test():
    code = "def sum(a): return 7"
    assert run_python(code, "assert sum([1, 2]) == 7", entry=("sum",)).passed
    assert run_python(code, "assert sum([1, 2]) == 3").passed


@pytest.mark.parametrize(
    ("code", "tests", "said"),
    [
        ("def f(x) return x", "assert f(1)", "does not run: SyntaxError"),
        ("1 / 0", "assert f(1)", "does not run: ZeroDivisionError"),
        ("def g(x): return x", "assert f(1)", "NameError: name 'f' is not defined"),
        ("def f(x): return x", "assert f(", "tests are not Python"),
        ("def f(x): return [][x]", "x = 1\nassert f(1)", "line 2, assert f(1): IndexError"),
        ("class E(Exception): pass\ndef f(x): raise E('no')", "assert f(1)", "Raised: E: no"),
    ],
)
def test_the_reason_says_what_went_wrong(code, tests, said):
    verdict = run_python(code, tests)
    assert not verdict.passed and said in verdict.reason


@pytest.mark.parametrize("tests", ["", " \n"])
def test_no_tests_is_bad_input(tests):
    with pytest.raises(InputError, match="no tests"):
        run_python("x = 1", tests)


@pytest.mark.parametrize("setting", [{"cpu_seconds": 0}, {"wall_seconds": -1}, {"megabytes": 1}])
def test_limits_are_checked(setting):
    with pytest.raises(InputError, match=f"{next(iter(setting))} is"):
        Limits(**setting)


@every_layer
def test_the_standard_library_is_there(walls):
    modules = "decimal, hashlib, heapq, json, mimetypes, random, statistics, typing, zlib"
    code = (
        f"import os, {modules}\ndef f():\n    mimetypes.guess_type('a.png')\n    return "
        "open(os.devnull).read() == '' and len(open('/dev/urandom', 'rb', 0).read(4)) == 4"
    )
    assert run_python(code, "assert f() is True", walls=walls) == Verdict(True)


def test_isolation_says_what_holds_here():
    found = isolation(("calls",))
    assert (found.network, found.files) == ("refused system calls", "read-only")
    by_python = isolation(())
    assert by_python.network == "refused by Python"
    assert by_python.files == "writing refused by Python"
    full = isolation()
    assert full.network in ("network namespace", "refused system calls", "refused by Python")
    assert full.user != 0
    assert full.told() == f"answers run in a sandbox: {full.network}; files: {full.files}"


@pytest.mark.parametrize("walls", [("files",), ("files", "calls")])
def test_isolation_says_that_only_the_library_can_be_read(walls, landlock):
    assert isolation(walls).files == "Python's library, read-only"


def test_a_sandbox_that_does_not_start_is_an_error(monkeypatch):
    ended = {"passed": False, "reason": "the answer ended"}
    monkeypatch.setattr(sandbox, "_run", lambda *arguments: ended)
    with pytest.raises(InputError, match="does not start here: the answer ended"):
        isolation()


# --- answers that cheat --------------------------------------------------------------------------

EVERYTHING_EQUAL = """
class Yes({base}):
    def __eq__(self, other): return True
    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __sub__ = __eq__
    __hash__ = object.__hash__
    def __getattr__(self, name): return lambda *a, **k: True
"""
# Put together at run time, so that they do not find themselves.
LOOK_FOR_TESTS = """
import gc, inspect, sys
def f(x):
    if x == 2: return 4
    for o in gc.get_objects():
        if chr(57) + "18273" in repr(o)[:10**6]: return int(chr(57) + "18273")
    frame = sys._getframe()
    while frame:
        known = repr((frame.f_locals, frame.f_globals, frame.f_code.co_consts))
        if chr(57) + "18273" in known: return int(chr(57) + "18273")
        frame = frame.f_back
"""
READ_MEMORY = """
import os, re
def f(x):
    if x == 2: return 4
    needle = chr(57).encode() + b"18273"
    for pid in ("1", str(os.getppid())):
        try: areas = open(f"/proc/{pid}/maps").read().splitlines()
        except OSError: continue
        for line in areas:
            low, high = (int(v, 16) for v in line.split()[0].split("-"))
            try:
                with open(f"/proc/{pid}/mem", "rb", 0) as memory:
                    memory.seek(low)
                    if needle in memory.read(high - low): return int(needle)
            except (OSError, OverflowError, ValueError): pass
"""
CHEATS = {
    "exit at once": "import os\nos._exit(0)",
    "exit when called": "import os\ndef f(x): os._exit(0)",
    "SystemExit": "import sys\ndef f(x): sys.exit(0)",
    "SystemExit at once": "raise SystemExit(0)",
    "KeyboardInterrupt": "def f(x): raise KeyboardInterrupt",
    "StopIteration": "def f(x): raise StopIteration",
    "AssertionError that is none": (
        "import builtins\nclass Never(BaseException): pass\n"
        "builtins.AssertionError = Never\ndef f(x): return 5"
    ),
    "patched builtins": (
        "import builtins\nfor n in ('AssertionError', 'Exception', 'BaseException'):\n"
        "    setattr(builtins, n, type(n, (), {}))\n"
        "builtins.exec = builtins.compile = builtins.print = lambda *a, **k: True\n"
        "def f(x): return 0"
    ),
    "patched json": "import json\njson.dumps = lambda *a: '[\"ok\", true, []]'\ndef f(x): return 0",
    "patched wire": (
        "import sys\nw = sys.modules.get('wire')\nif w:\n"
        "    w.Peer.encode = lambda self, v: True\ndef f(x): return 0"
    ),
    "equal to all": EVERYTHING_EQUAL.format(base="object") + "def f(x): return Yes()",
    "int equal to all": EVERYTHING_EQUAL.format(base="int") + "def f(x): return Yes()",
    "str equal to all": EVERYTHING_EQUAL.format(base="str") + "def f(x): return Yes()",
    "list equal to all": EVERYTHING_EQUAL.format(base="list") + "def f(x): return Yes()",
    "equal to all, as f": EVERYTHING_EQUAL.format(base="object") + "f = Yes()",
    "replaced assert by settrace": (
        "import sys\ndef quiet(frame, event, arg):\n    frame.f_lineno = frame.f_lineno + 1\n"
        "    return quiet\nsys.settrace(quiet)\ndef f(x): return 0"
    ),
    "looks for the tests": LOOK_FOR_TESTS,
    "reads memory": READ_MEMORY,
    "writes to every handle": (
        "import os\ndef f(x):\n    for fd in range(3, 256):\n        for said in "
        '(b\'{"passed": true, "reason": ""}\\n\', b\'["ok", true, []]\\n\'):\n'
        "            try: os.write(fd, said)\n            except OSError: pass\n    os._exit(0)"
    ),
    "forged values": (
        "import os\nfor fd in range(3, 256):\n"
        '    for said in (b\'["ok",["mine",-1],[]]\\n\', b\'["ok",["yours",0],[]]\\n\',\n'
        "                 b'[\"ok\",{\"a\":1},[[0,1]]]\\n', b'[\"ok\"]\\n', b'[]\\n', b'x\\n'):\n"
        "        try: os.write(fd, said)\n        except OSError: pass\ndef f(x): return 4"
    ),
    "asks for what is the judge's": (
        "import gc\ndef f(x):\n"
        "    for o in gc.get_objects():\n"
        "        if type(o).__name__ == 'Peer':\n"
        "            return o.ask('get', 0, '__globals__')\n"
    ),
    "kills the judge": (
        "import os, signal\ndef f(x):\n    for p in (os.getppid(), 1, -1, 0):\n"
        "        try: os.kill(p, signal.SIGKILL)\n        except OSError: pass\n    return 4"
    ),
    "exit handlers": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 4",
    "is a builtin": "f = max",
    "is a builtin that reaches far": "f = eval",
    "changes its arguments": "def f(x, *rest): return x + x",
}


@pytest.mark.parametrize("name", ["exit at once", "reads memory", "kills the judge"])
def test_no_cheat_passes_without_namespaces(name):
    assert not run_python(CHEATS[name], TESTS, limits=SHORT, walls=("calls",)).passed


@pytest.mark.parametrize("code", CHEATS.values(), ids=CHEATS)
def test_no_cheat_passes(code):
    verdict = run_python(code, TESTS, limits=SHORT)
    assert not verdict.passed and verdict.reason


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("def abs(x): return 0", "assert abs(f(2) - 4) < 1e-9"),
        ("def set(x): return 1", "assert set(f(2)) == set((4,))"),
        ("def len(x): return 4", "assert len(f(2)) == 4"),
        ("class math:\n    isclose = lambda *a: True", "assert math.isclose(f(2), 4)"),
        ("import sys\nsys.modules['math'] = sys", "import math\nassert math.isclose(f(2), 4)"),
        (EVERYTHING_EQUAL.format(base="object") + "f = lambda x: Yes()", "assert f(2) - 4 == 0"),
        (EVERYTHING_EQUAL.format(base="object") + "f = lambda x: Yes()", "assert f(2) in [4, 5]"),
        (EVERYTHING_EQUAL.format(base="object") + "f = lambda x: Yes()", "assert 4 in [f(2)]"),
        (EVERYTHING_EQUAL.format(base="object") + "f = lambda x: Yes()", "assert 3 < f(2) < 5"),
        (EVERYTHING_EQUAL.format(base="dict") + "f = lambda x: Yes()", "assert f(2) == {1: 2}"),
        (EVERYTHING_EQUAL.format(base="float") + "f = lambda x: Yes()", "assert f(2) == 4.0"),
    ],
)
def test_names_and_operators_of_a_test_are_not_the_answers(code, tests):
    answer = code if "f = " in code else f"{code}\ndef f(x): return (0,)"
    assert not run_python(answer, tests).passed


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


# --- people are told -----------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command on a tiny model and own rows that Python judges; what it said on stderr."""
    from tiny import make_tiny, make_tokenizer

    from t2ui import cli_shared
    from t2ui.cli import main

    make_tiny("llama").save_pretrained(tmp_path / "tiny")
    make_tokenizer().save_pretrained(tmp_path / "tiny")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "f", "tests": "assert f(1)", "answer": "f = abs"}\n' * 3)
    cli_shared._told_of_sandbox.cache_clear()

    def call(*arguments) -> str:
        given = ["--data", rows, "--model", tmp_path / "tiny", "--max-new-tokens", 2]
        monkeypatch.setattr(sys, "argv", ["t2ui", *map(str, [*arguments, *given])])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().err

    return call


def test_evaluate_says_once_which_walls_hold(command):
    said = command("evaluate", "base", "jsonl,jsonl", "--reward", "python")
    assert said.count(isolation().told()) == 1 and "t2ui: " not in said


def test_train_says_which_walls_hold(command, tmp_path):
    said = command("train", "jsonl", "--reward", "python", "--out", tmp_path / "run", "--steps", 1,
                   "--batch", 1, "--objective", "next_token")  # fmt: skip
    assert said.count(isolation().told()) == 1


def test_nobody_is_told_of_walls_that_nothing_is_behind(command):
    said = command("evaluate", "base", "jsonl", "--reward", "exact")
    assert "sandbox" not in said and "t2ui: " not in said
