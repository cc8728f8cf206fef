"""What keeps a process in: namespaces, closed paths, refused system calls, limits, another user.

Each function does one thing to the process that calls it and says whether the kernel allowed it.
Numbers are those of the kernel's interface. Linux; elsewhere only the limits work.
"""

import ctypes
import os
import resource
import struct
import sys

NEW_NETWORK, NEW_PIDS, NEW_MOUNTS, NEW_IPC, NEW_USERS = (
    0x40000000,
    0x20000000,
    0x00020000,
    0x08000000,
    0x10000000,
)
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
AT_RECURSIVE, ATTR_READ_ONLY, MOUNT_SETATTR = 0x8000, 1, 442
SET_DEATH_SIGNAL, SET_DUMPABLE, SET_SECCOMP, NO_NEW_PRIVILEGES = 1, 4, 22, 38
SIGKILL = 9
JUDGE_USER, ANSWER_USER = 65533, 65532
# Landlock: rights on files by the first version that knows them, and what its rules give.
CREATE_RULES, ADD_RULE, RESTRICT_SELF = 444, 445, 446
FILE_RIGHTS = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
WRITE_FILE, READ_FILE, READ_FOLDER = 2, 4, 8
ANY_TCP, ANY_OUTSIDE = (4, 3), (6, 3)  # binding and connecting; signals and abstract sockets

# What no answer needs, by the calls' numbers on each machine. aarch64 has fewer, newer calls.
REFUSED = {
    "x86_64": {
        "arch": 0xC000003E,
        # socket … accept, bind, listen, socketpair, accept4
        "sockets": (41, 42, 43, 44, 45, 46, 47, 49, 50, 53, 288),
        # clone, fork, vfork, execve, kill, tkill, tgkill, clone3, execveat, signals by queue,
        # pidfd_send_signal, pidfd_open, pidfd_getfd
        "processes": (56, 57, 58, 59, 62, 200, 234, 435, 322, 129, 297, 424, 434, 438),
        # ptrace, process_vm_*, prlimit64, priorities, capset, personality, prctl, sessions
        "others": (101, 310, 311, 302, 141, 142, 144, 314, 203, 251, 126, 135, 157, 109, 112),
        # unshare, setns, mounts, chroot, pivot_root, bpf, keys, io_uring, perf, userfaultfd
        "kernel": (
            272,
            308,
            165,
            166,
            161,
            155,
            321,
            248,
            249,
            250,
            425,
            426,
            427,
            298,
            323,
            428,
            429,
            430,
            431,
            432,
            442,
        ),
        # System V and POSIX queues and memory, which outlive a process
        "ipc": (29, 30, 31, 64, 65, 66, 68, 69, 70, 71, 240),
        # creat, truncate, rename …, mkdir, unlink, chmod, chown, mknod, utime, xattr, openat2
        "writing": (
            85,
            76,
            82,
            83,
            84,
            86,
            87,
            88,
            90,
            91,
            92,
            93,
            94,
            132,
            133,
            235,
            258,
            259,
            260,
            261,
            263,
            264,
            265,
            266,
            268,
            280,
            316,
            452,
            188,
            189,
            190,
            197,
            198,
            199,
            437,
            463,
            466,
            469,
        ),
        "opening": {2: 1, 257: 2},  # open, openat: which argument holds the flags
        "fcntl": 72,
    },
    "aarch64": {
        "arch": 0xC00000B7,
        "sockets": (198, 199, 200, 201, 202, 203, 206, 207, 211, 212, 242),
        "processes": (220, 221, 129, 130, 131, 435, 281, 138, 240, 424, 434, 438),
        "others": (117, 270, 271, 261, 140, 118, 119, 274, 122, 30, 91, 92, 167, 154, 157),
        "kernel": (
            97,
            268,
            40,
            39,
            51,
            41,
            280,
            217,
            218,
            219,
            425,
            426,
            427,
            241,
            282,
            428,
            429,
            430,
            431,
            432,
            442,
        ),
        "ipc": (194, 195, 196, 190, 191, 192, 193, 186, 187, 188, 189, 180),
        "writing": (
            45,
            34,
            33,
            35,
            36,
            37,
            38,
            276,
            52,
            53,
            54,
            55,
            88,
            452,
            5,
            6,
            7,
            14,
            15,
            16,
            437,
            463,
            466,
            469,
        ),
        "opening": {56: 2},
        "fcntl": 25,
    },
}
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
OTHERS_SIGNALS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: a kill in another's name
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # the latter: EPERM


def _libc():
    return ctypes.CDLL(None, use_errno=True)


def new_namespaces() -> bool:
    """A network without any interface, and own process numbers, mounts and IPC, for children."""
    if not sys.platform.startswith("linux"):
        return False
    wanted = NEW_NETWORK | NEW_PIDS | NEW_MOUNTS | NEW_IPC
    libc, user, group = _libc(), os.getuid(), os.getgid()
    if libc.unshare(wanted) == 0:
        return True
    if libc.unshare(wanted | NEW_USERS) != 0:
        return False
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def own_root(folder: str, megabytes: int, user: int, group: int) -> bool:
    """Inside new mounts: a root that holds Python's library, read-only, and a small empty /home.

    The library stays under its own path, readable even where that lies in root's home.
    """
    libc = _libc()

    def mount(*arguments) -> bool:
        return libc.mount(*arguments) == 0

    private = mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    if not (private and mount(b"none", folder.encode(), b"tmpfs", MS_NOSUID, b"mode=0755")):
        return False
    library = os.path.realpath(os.path.dirname(os.__file__))
    for path in (
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/dev/null",
        "/dev/urandom",
        os.path.dirname(library),
    ):
        place = folder + path
        if os.path.lexists(place) or not os.path.exists(path):
            continue  # a library below /usr/lib is there already
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if os.path.islink(path):
            os.symlink(os.readlink(path), place)
            continue
        os.mkdir(place) if os.path.isdir(path) else open(place, "x").close()
        if not mount(path.encode(), place.encode(), None, MS_BIND | MS_REC, None):
            return False
    os.mkdir(f"{folder}/home")
    attributes = ctypes.create_string_buffer(struct.pack("QQQQ", ATTR_READ_ONLY, 0, 0, 0))
    if libc.syscall(MOUNT_SETATTR, -1, folder.encode(), AT_RECURSIVE, attributes, 32) != 0:
        return False
    own = f"size={megabytes}m,nr_inodes=512,mode=0700,uid={user},gid={group}".encode()
    if not mount(b"none", f"{folder}/home".encode(), b"tmpfs", MS_NOSUID | MS_NODEV, own):
        return False
    os.chroot(folder)
    os.chdir("/home")
    return True


def only_library(own: str = "") -> bool:
    """From here on the kernel opens nothing but Python's library, for reading, and what lies in the
    folder `own`, if there is one; no TCP and no signals either, where it can. Needs no privileges
    and cannot be taken back. Whether it holds: Landlock is in Linux since 5.13, if not left out."""
    libc = _libc()
    version = libc.syscall(CREATE_RULES, None, 0, 1) if sys.platform.startswith("linux") else -1
    if version < 1:
        return False
    rights = sum(bits for since, bits in FILE_RIGHTS if version >= since)
    others = [bits if version >= since else 0 for since, bits in (ANY_TCP, ANY_OUTSIDE)]
    attributes = ctypes.create_string_buffer(struct.pack("QQQ", rights, *others))
    rules = libc.syscall(CREATE_RULES, attributes, 24, 0)
    if rules < 0:
        return False
    opened = [*library_rights(), *([(own, rights)] if own else [])]
    held = (
        all(_allow(libc, rules, path, allowed) for path, allowed in opened)
        and libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
        and libc.syscall(RESTRICT_SELF, rules, 0) == 0
    )
    os.close(rules)
    return held


def _allow(libc, rules: int, path: str, allowed: int) -> bool:
    """Add a rule; without one for a path that is not there."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return True
    rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, place))
    added = libc.syscall(ADD_RULE, rules, 1, rule, 0)
    os.close(place)
    return added == 0


def library_rights() -> list[tuple[str, int]]:
    """(path, rights) of what imports may need. Not the packages beside the library, unless it is
    one of the system's folders: there may be data with tests in it, as t2ui's own exercises."""
    library, whole = os.path.realpath(os.path.dirname(os.__file__)), READ_FILE | READ_FOLDER
    folders = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
    files = ("/dev/urandom", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types")
    found = [*((path, whole) for path in folders), *((path, READ_FILE) for path in files)]
    found += [("/dev/null", READ_FILE | WRITE_FILE), (library, READ_FOLDER)]
    shared = (entry for entry in _listed(os.path.dirname(library)) if ".so" in entry.name)
    modules = (entry for entry in _listed(library) if not entry.name.endswith("-packages"))
    return found + [(e.path, whole if e.is_dir() else READ_FILE) for e in (*shared, *modules)]


def _listed(folder: str) -> list[os.DirEntry]:
    try:
        return list(os.scandir(folder))
    except OSError:  # not to be listed by this user
        return []


def library_is_readable() -> bool:
    """Whether another user could import Python's standard library."""
    path = os.path.realpath(os.__file__)
    while path != "/":
        if not os.stat(path).st_mode & (0o001 if os.path.isdir(path) else 0o004):
            return False
        path = os.path.dirname(path)
    return True


def limit(cpu_seconds: int, megabytes: int, file_megabytes: int) -> None:
    """Processor time, memory, file size; no further process or thread, no core file."""
    for what, value in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, megabytes * 1024 * 1024),
        (resource.RLIMIT_FSIZE, file_megabytes * 1024 * 1024),
        (resource.RLIMIT_NPROC, 0),  # does not bind root, hence `become`
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(what)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(what, (value, value))


def become(user: int) -> None:
    """From root to another user."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def die_with_parent() -> None:
    """Be killed when the parent ends, however it ends. Undone by a change of user."""
    if sys.platform.startswith("linux"):
        _libc().prctl(SET_DEATH_SIGNAL, SIGKILL, 0, 0, 0)


def hide_memory() -> None:
    """No process of the same user may read this one's memory or open files."""
    if sys.platform.startswith("linux"):
        _libc().prctl(SET_DUMPABLE, 0, 0, 0, 0)


def refuse_calls(writing: bool) -> bool:
    """From here on the kernel refuses sockets, processes, signals, and what reaches others; and
    with `writing` False any change to the file system. Cannot be taken back."""
    numbers = REFUSED.get(os.uname().machine) if sys.platform.startswith("linux") else None
    if numbers is None:
        return False
    refused = [
        n for kind in ("sockets", "processes", "others", "kernel", "ipc") for n in numbers[kind]
    ]
    program = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, numbers["arch"]),
        (RETURN, 0, 0, REFUSE),
        (LOAD, 0, 0, 0),
        (AT_LEAST, 0, 1, 0x40000000),
        (RETURN, 0, 0, REFUSE),
    ]
    if not writing:
        refused += numbers["writing"]
        for number, argument in numbers["opening"].items():
            program += [
                (EQUAL, 0, 4, number),
                (LOAD, 0, 0, 16 + 8 * argument),
                (ANY_BIT, 0, 1, WRITE_FLAGS),
                (RETURN, 0, 0, REFUSE),
                (RETURN, 0, 0, ALLOW),
            ]
    matches = len(OTHERS_SIGNALS)
    program += [
        (EQUAL, 0, matches + 3, numbers["fcntl"]),
        (LOAD, 0, 0, 24),
        *((EQUAL, matches - place, 0, command) for place, command in enumerate(OTHERS_SIGNALS)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    for number in refused:
        program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    program.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    described = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    )
    libc = _libc()
    return (
        libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
        and libc.prctl(SET_SECCOMP, 2, described, 0, 0) == 0
    )


def drop_capabilities() -> None:
    """What a process has in a user namespace of its own, it has no more."""
    if sys.platform.startswith("linux"):
        header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
        _libc().capset(header, ctypes.create_string_buffer(24))
