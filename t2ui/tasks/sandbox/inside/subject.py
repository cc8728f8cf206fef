"""The answer under test: runs its code and does what the judge asks with what it defined.

Everything in this process belongs to the answer, which may have changed any of it.
"""

import sys
import types

from stand_ins import OPERATIONS
from walls import WRITE_FLAGS
from wire import Peer

OURS = ("subject", "walls", "wire", "judge", "objects", "values", "stand_ins", "raised")
# Events of Python's audit hooks; only looked at where the kernel offers nothing better.
REFUSED = (
    "socket.",
    "ctypes.",
    "subprocess.",
    "os.fork",
    "os.exec",
    "os.kill",
    "os.system",
    "os.posix_spawn",
    "os.spawn",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.chflags",
    "os.utime",
    "os.setxattr",
    "os.removexattr",
    "os.putenv",
    "fcntl.",
    "sqlite3.",
    "resource.prlimit",
    "_thread.start_new_thread",
    "_posixsubprocess",
    "signal.pthread_kill",
    "code.__new__",
    "shutil.",
    "gc.get_",
    "cpython.PyInterpreterState_New",
)


def serve(reader, writer, held: tuple) -> None:
    """Until the judge has enough. `held`: which walls this process is in, for the judge."""
    module = types.ModuleType("answer")

    def define(code: str) -> None:
        exec(compile(code, "<answer>", "exec"), vars(module))

    def named(name: str):
        try:
            return vars(module)[name]
        except KeyError:
            raise NameError(name) from None

    for name in OURS:  # in the way of an answer that looks around
        sys.modules.pop(name, None)
    sys.modules["answer"] = sys.modules["__main__"] = module  # dataclasses look their module up
    asked = {"define": define, "name": named, "wall": lambda: held}
    Peer(reader, writer, OPERATIONS, asked, open_to_all=True).serve_all()


def refuse_by_hook() -> None:
    """Refuse sockets, processes and writing to files. A hook cannot be taken out again.

    This layer keeps accidents in, not a determined answer: it runs inside the interpreter that the
    answer has to itself, sees only what Python announces (no `os.mkfifo`, say), and whoever gets
    hold of its function can change it. It refuses `gc`'s look at objects, but not every way there.
    """

    # All that the hook uses is its own: what the answer may replace elsewhere is not asked.
    def hook(
        event: str,
        args: tuple,
        *,
        refused=REFUSED,
        flags=WRITE_FLAGS,
        kind=type,
        text=str,
        number=int,
        no=PermissionError,
    ) -> None:
        if event.startswith(refused):
            raise no("this is not allowed here")
        if event == "open":
            _, mode, asked = args
            reads = mode is None or (kind(mode) is text and not mode.strip("rbtU"))
            if not reads or kind(asked) is not number or asked & flags:
                raise no("writing to files is not allowed here")

    sys.addaudithook(hook)
