"""Runs a guest's user data so that it cannot touch the machine the lab runs on.

Started by `network.guest` as a program of its own, already inside the guest's network namespace, with the guest's
disk and, at a later boot, the program on it that runs then; the script of a first boot comes on standard input.
Standard library only, and nothing of the lab: it must start fast and run with `python -I -S`.

The guest sees this machine's programs, read-only, and has a folder or memory where an instance has its disk. The lab
often runs as root, and user data is a script for root.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000  # linux/sched.h
MOUNT_SETATTR = 442  # asm-generic/unistd.h, Linux 5.12; the same number on every architecture
AT_FDCWD, AT_RECURSIVE = -100, 0x8000  # linux/fcntl.h
MS_BIND, MS_REC, MS_PRIVATE, RDONLY = 0x1000, 0x4000, 1 << 18, 1  # linux/mount.h
IN_MEMORY = ("/run", "/tmp")
ON_DISK = ("/var/lib", "/etc/systemd/system")
SCRIPT = Path("/var/lib/cloud/instance/scripts/part-001")  # where cloud-init keeps it

_libc = ctypes.CDLL(None, use_errno=True)


def isolate(disk: str) -> None:
    _checked(_libc.unshare(CLONE_NEWNS), "unshare")
    _checked(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")
    kept = [path for path in ON_DISK if os.path.isdir(path)]
    for path in kept:
        os.makedirs(disk + path, exist_ok=True)
    _set_attributes("/", AT_RECURSIVE, set_=RDONLY)
    _set_attributes("/proc", 0, clear=RDONLY)  # the guest's sysctls; those of the machine stay out of its reach
    for path in kept:
        _checked(_libc.mount((disk + path).encode(), path.encode(), None, MS_BIND, None), f"mount {path}")
        _set_attributes(path, 0, clear=RDONLY)
    for path in filter(os.path.isdir, IN_MEMORY):
        _checked(_libc.mount(b"guest", path.encode(), b"tmpfs", 0, b"mode=755"), f"mount {path}")


def _set_attributes(path: str, flags: int, *, set_: int = 0, clear: int = 0) -> None:
    attributes = struct.pack("QQQQ", set_, clear, 0, 0)
    _checked(_libc.syscall(MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, attributes, len(attributes)), path)


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def main() -> None:
    disk, *installed = sys.argv[1:]
    script = sys.stdin.read()
    isolate(disk)
    if installed:
        os.chdir("/")
        os.execv("/bin/bash", ["/bin/bash", *installed])
    SCRIPT.parent.mkdir(parents=True, exist_ok=True)
    SCRIPT.write_text(script)
    SCRIPT.chmod(0o700)
    os.chdir("/")
    os.execv(SCRIPT, [str(SCRIPT)])


if __name__ == "__main__":
    main()
