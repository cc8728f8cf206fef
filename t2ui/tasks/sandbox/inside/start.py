"""Run as `python -I -S start.py <settings as JSON>`: the job on stdin, the verdict on stdout.

Three processes. This one makes the namespaces and waits. The judge, first process of its own
process numbers, so that its end is the end of all others there, holds the tests and the verdict.
The answer has two pipes to the judge and nothing else; it is forked before the judge reads the
job, so no test has ever been in its memory.
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # isolated Python leaves it out

import subject  # noqa: E402  all here: the folder is out of reach later
import walls  # noqa: E402
from judge import judged  # noqa: E402
from objects import Ended  # noqa: E402
from stand_ins import OF_THE_TESTS  # noqa: E402
from wire import Peer  # noqa: E402

del sys.path[0]  # no place to import from for an answer


NOT_READABLE = 77  # exit status


def main() -> None:
    walls.die_with_parent()
    settings = json.loads(sys.argv[1])
    apart = "namespaces" in settings["walls"] and walls.new_namespaces()
    child = os.fork()
    if child == 0:
        os._exit(start_judge(settings, apart))
    os.close(0)
    os.close(1)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255)


def start_judge(settings: dict, apart: bool) -> int:
    walls.die_with_parent()
    settings["user"] = os.getuid() == 0 and "user" in settings["walls"]
    owner = (walls.ANSWER_USER,) * 2 if settings["user"] else (os.getuid(), os.getgid())
    folder, size = settings["folder"], settings["file_megabytes"]
    writable = apart and walls.own_root(folder, size, *owner)
    if settings["user"] and not writable and not walls.library_is_readable():
        return NOT_READABLE
    to_answer, to_judge = os.pipe(), os.pipe()
    answer = os.fork()
    if answer == 0:
        start_answer(settings, to_answer[0], to_judge[1], writable)
        os._exit(0)
    os.close(to_answer[0])
    os.close(to_judge[1])
    become(settings, walls.JUDGE_USER)
    walls.hide_memory()
    verdict = judge(json.loads(sys.stdin.buffer.read()), answer, to_judge[0], to_answer[1])
    verdict |= {"namespaces": apart, "writable": writable, "user": os.getuid()}
    sys.stdout.buffer.write(json.dumps(verdict).encode())
    sys.stdout.buffer.flush()
    return 0


def become(settings: dict, user: int) -> None:
    """Within the limits, as a user that owns nothing, and gone when the parent is."""
    walls.limit(settings["cpu_seconds"], settings["megabytes"], settings["file_megabytes"])
    if settings["user"]:
        walls.become(user)
    walls.die_with_parent()


def judge(job: dict, answer: int, incoming: int, outgoing: int) -> dict:
    reader = open(incoming, encoding="utf-8", newline="\n")
    writer = open(outgoing, "w", encoding="utf-8", newline="\n")
    peer = Peer(reader, writer, OF_THE_TESTS)
    calls, files = "", False
    try:
        calls, files = peer.ask("wall")  # its first words, before any of the answer's code
        passed, reason = judged(peer, job["code"], job["tests"], job["entry"])
    except Ended as ended:
        passed, reason = False, f"the answer ended before its tests did: {ended}{how(answer)}"
    except MemoryError:
        passed, reason = False, "the answer sent more than the judge can hold"
    return {"passed": passed, "reason": reason, "calls": calls, "files": files}


def how(answer: int) -> str:
    """How the answer's process ended, if it has."""
    pid, status = os.waitpid(answer, os.WNOHANG)
    if pid == 0:
        return ""
    code = os.waitstatus_to_exitcode(status)
    return f" (exit status {code})" if code >= 0 else f" (killed by signal {-code})"


def start_answer(settings: dict, incoming: int, outgoing: int, writable: bool) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    incoming, outgoing = os.dup2(incoming, 60), os.dup2(outgoing, 61)
    os.closerange(3, 60)
    os.closerange(62, os.sysconf("SC_OPEN_MAX"))
    become(settings, walls.ANSWER_USER)
    walls.drop_capabilities()
    reader = open(incoming, encoding="utf-8", newline="\n")
    writer = open(outgoing, "w", encoding="utf-8", newline="\n")
    # In its own root it begins in its own folder, the only one there that it may write to.
    files = "files" in settings["walls"] and walls.only_library("." if writable else "")
    calls = "refused system calls"
    if "calls" not in settings["walls"] or not walls.refuse_calls(writable):
        subject.refuse_by_hook()
        calls = "refused by Python"
    subject.serve(reader, writer, (calls, files))


if __name__ == "__main__":
    main()
