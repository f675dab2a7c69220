"""The sandbox as its user meets it: signals, exit codes, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from natkeeper_lab import sandbox

pytestmark = pytest.mark.packets

ROOT = Path(__file__).resolve().parents[2]
BUILD_AND_WAIT = """
import subprocess, sys, time
from natkeeper_lab.network import Network
with Network() as network:
    network.add_route_table("rtb-1")
    network.add_subnet("subnet-1", "10.0.1.0/24", "rtb-1")
    network.add_interface("eni-1", "subnet-1", ["10.0.1.9"])
    network.boot("i-1", "eni-1", "")
    network.spawn("i-1", ["sleep", sys.argv[1]])
    try:
        print("ready", flush=True)  # within: the signal may come before the next line
        time.sleep(60)
    except KeyboardInterrupt:
        print("tidy", flush=True)
"""


def start(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "natkeeper_lab.sandbox", "--", *argv],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def building(mark: str) -> subprocess.Popen[str]:
    process = start(sys.executable, "-c", BUILD_AND_WAIT, mark)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def mark() -> str:
    """Seconds for `sleep` that no other process on this machine sleeps: how a test finds its own again."""
    return f"61.{os.getpid()}{time.monotonic_ns()}"


def processes(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_exit_code_is_that_of_the_command() -> None:
    assert start("sh", "-c", "exit 7").wait(60) == 7


def test_a_command_killed_by_a_signal_says_which() -> None:
    assert start("sh", "-c", "kill -9 $$").wait(60) == 128 + signal.SIGKILL


def test_the_command_sees_no_interface_and_no_process_of_this_machine() -> None:
    output, _ = start("sh", "-c", "ls /run; cat /proc/net/dev | wc -l; ls /proc | grep -c '^[0-9]'").communicate(
        timeout=60
    )
    *shown, interfaces, count = output.split()
    assert shown == ["netns", "temporary"]  # its own, and empty of this machine's
    assert int(interfaces) == 3  # two lines of heading, and loopback
    assert int(count) < 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command(number: signal.Signals) -> None:
    own = mark()
    process = building(own)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == (0 if number == signal.SIGINT else 128 + number)
    assert output == ("tidy\n" if number == signal.SIGINT else "")
    assert eventually(lambda: not processes(own))


def test_nothing_is_left_when_the_outer_process_is_killed_outright() -> None:
    own = mark()
    mounts, named = Path("/proc/self/mounts").read_text(), sorted(Path("/run").glob("netns/nk-*"))
    process = building(own)
    assert eventually(lambda: len(namespaces_of(processes(own))) == 2)  # the sandbox's own and the guest's
    spawned = processes(own)
    assert len(spawned) >= 3  # outer, init, the command, and what it spawned
    namespaces = namespaces_of(spawned)
    process.kill()
    process.wait()
    assert eventually(lambda: not processes(own))
    assert eventually(lambda: not namespaces & network_namespaces())
    assert Path("/proc/self/mounts").read_text() == mounts
    assert sorted(Path("/run").glob("netns/nk-*")) == named


def namespaces_of(pids: list[int]) -> set[str]:
    """Not this process's own. What was spawned is still the spawner for a moment, in the spawner's namespace."""
    return {os.readlink(f"/proc/{pid}/ns/net") for pid in pids} - {os.readlink("/proc/self/ns/net")}


def network_namespaces() -> set[str]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.add(os.readlink(entry / "ns/net"))
            except OSError:
                continue
    return found


def test_nothing_is_missing_where_these_tests_run() -> None:
    assert sandbox.missing() == []


def test_a_missing_command_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sandbox.COMMANDS, "no-such-command", "some-package")
    assert sandbox.missing() == ["The command `no-such-command` is missing: install some-package."]


def test_forbidden_namespaces_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sandbox, "_unshare", lambda: ["sh", "-c", "echo unshare failed: Operation not permitted >&2; exit 1"]
    )
    (sentence,) = sandbox.missing()
    assert "permits no new namespaces" in sentence or "may not make namespaces" in sentence
    assert "Operation not permitted" in sentence


def test_what_the_kernel_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "NFT_TRIALS", {"dreams (nft_dream)": "table ip t { chain c { dream; }; }"})
    monkeypatch.setattr(sandbox, "_try", lambda argv, _text=None: "Error: no" if argv[0] == "nft" else "")
    (sentence,) = sandbox.trials()
    assert sentence.startswith("The kernel's nftables lacks dreams (nft_dream) (Error: no)")


def test_the_network_refuses_to_be_built_outside() -> None:
    from natkeeper_lab.network import Network

    with pytest.raises(RuntimeError, match="only runs inside its sandbox"):
        Network()
