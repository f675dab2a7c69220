"""Puts a lab command into fresh namespaces of its own, so that it can build a network without touching the machine's.

Called by the lab's commands (`enter`), by tests (`python -m natkeeper_lab.sandbox -- <command>`), and by whoever wants
to know why not (`missing`). Standard library only: it must be able to say what is not installed.

Two processes: the outer one stays where the user started it and passes signals on; the inner one is process 1 of the
sandbox, so that when it ends, however it ends, the kernel ends everything inside, and with the last process go the
namespaces and mounts (pid_namespaces(7), network_namespaces(7)). `/run` is private memory: namespaces named there and
temporary files made there vanish with it. `nested` makes further sandboxes inside.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

MARK = "NATKEEPER_SANDBOX"
TEMPORARY = "/run/temporary"
"""A killed process deletes nothing: what the lab writes for itself must go with the sandbox."""
CGROUPS = Path("/sys/fs/cgroup")
CONTROL_GROUPS = "natkeeper-lab-"
"""How the names of the lab's control groups begin (`runtime.processor`). They are the machine's, and do not go with
the sandbox."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1  # linux/prctl.h
OLDEST_KERNEL = (5, 12)  # mount_setattr(2) with AT_RECURSIVE keeps guests from writing to the machine's disk
COMMANDS = {
    "unshare": "util-linux",
    "mount": "util-linux (package mount on Debian and Ubuntu)",
    "ip": "iproute2 (iproute on Fedora and Amazon Linux)",
    "nft": "nftables",
    "bash": "bash",
    "curl": "curl",
    "flock": "util-linux",
    "awk": "gawk or mawk",
}
MODULES = {"awslambdaric": "awslambdaric", "pyroute2": "pyroute2", "cryptography": "cryptography", "yaml": "pyyaml"}
NFT_TRIALS = {
    "NAT (nft_nat, nf_nat)": "table ip t { chain c { type nat hook postrouting priority 100; snat to 192.0.2.1; }; }",
    "connection tracking (nft_ct, nf_conntrack)": "table ip t { chain c { ct state established accept; }; }",
    "address maps without tracking (nft_ct, nf_tables)": (
        "table ip t { map m { type ipv4_addr : ipv4_addr; }; "
        "chain c { type filter hook prerouting priority -300; notrack; ip saddr set ip saddr map @m; }; }"
    ),
    "inet tables (nf_tables_inet)": "table inet t { chain c { type filter hook forward priority 0; drop; }; }",
    "random loss (nft_numgen)": "table ip t { chain c { numgen random mod 100 < 5 drop; }; }",
}


def is_inside() -> bool:
    return MARK in os.environ


def enter() -> None:
    """Returns only inside the sandbox: outside, it runs this very command again in there and exits as that one did."""
    if not is_inside():
        sys.exit(run(sys.orig_argv))


def run(argv: Sequence[str]) -> int:
    """Run a command in a fresh sandbox, in this directory; its exit code, or 128 + signal as in a shell."""
    process = subprocess.Popen(
        [*_unshare(), sys.executable, str(Path(__file__)), "--init", *argv],
        env=_environment(),
        start_new_session=True,  # a terminal's Ctrl-C must arrive once, through us, and not to every process at once
        preexec_fn=die_with_parent,
    )

    def forward(number: int, _frame: FrameType | None) -> None:
        inner = _only_child(process.pid)
        if inner:
            os.kill(inner, number)

    former = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        code = process.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        sweep()
    return code if code >= 0 else 128 - code


def sweep() -> None:
    """Removes control groups that killed labs left. The kernel refuses where a process is still inside."""
    for root in (CGROUPS, CGROUPS / "cpu"):
        for path in root.glob(f"{CONTROL_GROUPS}*"):
            with contextlib.suppress(OSError):
                path.rmdir()


def missing() -> list[str]:
    """What this machine lacks for the lab, one sentence each with its remedy; empty when the lab can run."""
    if sys.platform != "linux":
        return ["The lab builds its network from Linux namespaces: run it on Linux, in a virtual machine if need be."]
    lacks = [
        f"The command `{name}` is missing: install {package}." for name, package in COMMANDS.items() if not _has(name)
    ]
    lacks += [
        f"The Python package {package} is missing: pip install {package}."
        for module, package in MODULES.items()
        if importlib.util.find_spec(module) is None
    ]
    if _kernel_version() < OLDEST_KERNEL:
        lacks.append(
            f"Linux {os.uname().release} is too old: the lab needs {'.'.join(map(str, OLDEST_KERNEL))} or later."
        )
    return lacks or _refusals()


def _refusals() -> list[str]:
    """What only trying tells."""
    code = "from natkeeper_lab.sandbox import trials; print('\\n'.join(trials()))"
    command = [*_unshare(), sys.executable, str(Path(__file__)), "--init", sys.executable, "-c", code]
    trial = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=30)
    if trial.returncode:
        said = trial.stderr.strip() or f"exit code {trial.returncode}"
        if "failed to execute" in said:
            return [
                f"Inside a sandbox this user may not run {sys.executable}: use an interpreter others may read. ({said})"
            ]
        return [f"{_why_no_namespaces()} ({said})"]
    return [line for line in trial.stdout.splitlines() if line]


def trials() -> Iterator[str]:
    """Run inside a sandbox: a sentence for each thing the kernel refuses."""
    for what, argv, remedy in (
        (
            "virtual cables (veth)",
            ["ip", "link", "add", "nk-one", "type", "veth", "peer", "name", "nk-two"],
            "modprobe veth",
        ),
        ("named network namespaces", ["ip", "netns", "add", "nk-trial"], "run on the machine, not in a container"),
    ):
        if _try(argv):
            yield f"The kernel refuses {what} ({_try(argv)}): try `{remedy}` as root."
    for what, script in NFT_TRIALS.items():
        refusal = _try(["nft", "-f", "-"], f"{script}\ndelete table {' '.join(script.split()[1:3])}\n")
        if refusal:
            yield f"The kernel's nftables lacks {what} ({refusal}): load the modules as root, or use a full kernel."


def _try(argv: Sequence[str], text: str | None = None) -> str:
    trial = subprocess.run(argv, input=text, capture_output=True, text=True)
    return "" if trial.returncode == 0 else (trial.stderr.strip().splitlines() or ["no reason given"])[0]


def _why_no_namespaces() -> str:
    """The switches distributions use to forbid user namespaces, and how to turn each the other way."""
    if os.geteuid() == 0:
        return "This machine permits no new namespaces even to root: in a container, run it with --privileged."
    for file, forbidding, remedy in (
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
    ):
        path = Path("/proc/sys", file)
        if path.exists() and path.read_text().strip() == forbidding:
            return f"Ordinary users may not make namespaces here: as root, `{remedy}`, or run the lab as root."
    return "This machine permits no new namespaces to ordinary users: run the lab as root, outside of containers."


def _unshare() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _init(argv: Sequence[str]) -> int:
    """Process 1 of the sandbox: makes `/run` its own, passes signals on, reaps orphans, ends as the command does."""
    furnish()
    # A shell's background job starts with SIGINT ignored, and so would all that comes of it: no Ctrl-C would arrive.
    child = subprocess.Popen(
        argv,
        env={**os.environ, MARK: "1", "TMPDIR": TEMPORARY},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for number in FORWARDED:
        signal.signal(number, lambda number, _frame: os.kill(child.pid, number))
    return reap_until(child.pid)


def furnish() -> None:
    """In a sandbox just made: private memory at `/run`, for names and temporary files, and loopback up.

    And as many open files as this user may have: hundreds of connections end in one process.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "sandbox", "/run"], check=True)
    Path("/run/netns").mkdir()
    Path(TEMPORARY).mkdir(mode=0o700)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def reap_until(child: int) -> int:
    """What process 1 does: waits for every orphan, until the one that matters ends; its exit code as in a shell."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def die_with_parent() -> None:
    """For a process that must not outlive the one that starts it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _only_child(pid: int) -> int | None:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = children.read_text().split() if children.exists() else []
    return int(found[0]) if found else None


def _has(command: str) -> bool:
    return shutil.which(command, path=_environment()["PATH"]) is not None


def _environment() -> dict[str, str]:
    """With the folders that `ip` and `nft` are in, which Debian leaves out of an ordinary user's PATH."""
    return {**os.environ, "PATH": os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))}


def _kernel_version() -> tuple[int, ...]:
    numbers = os.uname().release.split("-")[0].split(".")
    return tuple(int(number) for number in numbers[:2] if number.isdigit())


def main() -> int:
    if sys.argv[1:2] == ["--init"]:
        return _init(sys.argv[2:])
    if sys.argv[1:2] == ["--missing"]:
        print("\n".join(missing()) or "Nothing is missing: the lab can run here.")
        return 0
    argv = sys.argv[2:] if sys.argv[1:2] == ["--"] else sys.argv[1:]
    if not argv:
        print(
            "usage: python -m natkeeper_lab.sandbox -- command [argument ...]\n"
            "       python -m natkeeper_lab.sandbox --missing"
        )
        return 2
    lacks = missing()
    if lacks:
        print("\n".join(lacks), file=sys.stderr)
        return 3
    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
