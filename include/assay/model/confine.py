"""Runs a command that can reach no network: `python -I confine.py FOLDER MAX_FILE_BYTES COMMAND ...` (Linux).

A seccomp filter takes away the making of sockets, of whatever family, and what else leads out of the process: io_uring,
other processes' memory, and leaving the session that the caller ends as a whole. It needs no privilege, so that it also
works in a container without user namespaces, and it is inherited by all that the command starts. Landlock, where the
kernel has it, lets the command write in FOLDER alone and signal nobody outside.

It is run by its path with `-I -S`, and imports nothing but the standard library. Whether a socket can be made is tried
before the command starts; where one can, the command is not started and the exit status is `UNCONFINED`.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import socket
import struct
import sys
from typing import NoReturn

UNCONFINED = 78
"""Exit status where the network could not be taken away, EX_CONFIG of sysexits.h; stderr's last line says why."""

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF instructions
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # 1 is EPERM
_X32 = 0x40000000

# socket, setsid, ptrace, process_vm_readv, process_vm_writev, io_uring_setup, pidfd_getfd
_MACHINES = {
    "x86_64": (0xC000003E, (41, 112, 101, 310, 311, 425, 438)),
    "aarch64": (0xC00000B7, (198, 157, 117, 270, 271, 425, 438)),
}

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # Landlock's calls, the same on every machine
_WRITES = 0x2 | sum(1 << bit for bit in range(4, 13))  # write a file; remove and make every kind of entry
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_NOT_TO_OTHERS = 0b11  # abstract sockets, signals


class Unconfined(Exception):
    """The network cannot be taken away here."""


def take_network_away() -> None:
    """Make every later attempt to open a socket fail, in this process and all that it starts.

    Raises:
        Unconfined: The system has no such thing, refused it, or it had no effect.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _MACHINES:
        raise Unconfined(
            f"a process can be kept off the network on Linux only, not on {sys.platform} {machine}"
        )
    libc = ctypes.CDLL(None, use_errno=True)
    architecture, refused = _MACHINES[machine]
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    steps.append((_AT_LEAST, len(refused) + 1, 0, _X32))
    steps += [(_EQUAL, len(refused) - i, 0, number) for i, number in enumerate(refused)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0
    ):
        raise Unconfined(f"the kernel refused a seccomp filter: {os.strerror(ctypes.get_errno())}")
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        try:
            socket.socket(family).close()
        except PermissionError:
            continue
        except OSError:  # a family that the system does not have
            continue
        raise Unconfined("a socket could be made in spite of the seccomp filter")


def landlock_version() -> int:
    """Version of the kernel's Landlock; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    version = libc.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(0, int(version))


def keep_writes_in(folder: str) -> bool:
    """Let this process and all that it starts write in the folder only, where the kernel has Landlock."""
    version = landlock_version()
    if not version:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    handled = _WRITES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=QQQ", handled, 0, _NOT_TO_OTHERS if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = libc.syscall(
        ctypes.c_long(_CREATE_RULESET), attributes, ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    if rules < 0:
        return False
    for path, access in ((folder, handled), (os.devnull, handled & (0x2 | _TRUNCATE))):
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", access, handle)
        if libc.syscall(
            ctypes.c_long(_ADD_RULE), ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint32(0)
        ):
            return False
        os.close(handle)
    # Landlock's precondition; take_network_away sets it too, in whatever order the two are called.
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    done = libc.syscall(ctypes.c_long(_RESTRICT_SELF), ctypes.c_int(rules), ctypes.c_uint32(0))
    os.close(rules)
    return bool(done == 0)


def main(arguments: list[str]) -> NoReturn:
    """Confine this process and become the command.

    Args:
        arguments: Folder to write in, the most bytes that one file may have, and the command.
    """
    folder, most, *command = arguments
    os.dup2(2, 1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
    keep_writes_in(folder)
    try:
        take_network_away()
    except Unconfined as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(UNCONFINED)
    os.execv(command[0], command)  # noqa: S606 - it is what this process is for; there is no shell


if __name__ == "__main__":
    main(sys.argv[1:])
