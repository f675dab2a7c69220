"""`natkeeper lab run` and the demo as the machine's owner meets them: killed, as an ordinary user, without a network.

Looks from outside of the sandbox. The killed ones are started side by side, because each mostly waits for its moment.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.packets

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534  # nobody and nogroup, on every distribution
MARK = "NATKEEPER_TEST_MARK"
QUIET = """\
name: quiet
why: the smallest scenario there is
zones: [a]
stack: {StandbyMode: none}
timeline: [{at: 0.5, do: stop_schedule, seconds: 1}]
expect: [{instance: nat@a, is: running, within: 2}]
"""
BUILDING, PLAYING, CLOSING = r"^--- ", r"stop_schedule", r"invariants"


@dataclass(frozen=True)
class Moment:
    """When a process dies: so many seconds, at random, after a line of its own."""

    argv: tuple[str, ...]
    line: str
    earliest: float
    latest: float
    number: signal.Signals


RUN = ("-m", "natkeeper_cli", "lab", "run", "FILE", "--time-scale", "8")
MANY, DEMO = ("--repeat", "2"), ("-m", "natkeeper_lab.demo")
MOMENTS = {
    "building, killed outright": Moment(RUN, BUILDING, 0, 2, signal.SIGKILL),
    "building, ended": Moment(RUN, BUILDING, 0, 2, signal.SIGTERM),
    "settling, killed outright": Moment(RUN, BUILDING, 2.5, 6, signal.SIGKILL),
    "settling, Ctrl-C": Moment(RUN, BUILDING, 2.5, 6, signal.SIGINT),
    "playing, killed outright": Moment(RUN, PLAYING, 0, 1, signal.SIGKILL),
    "closing, killed outright": Moment(RUN, CLOSING, 0, 0.3, signal.SIGKILL),
    "two labs, killed outright": Moment((*RUN, *MANY), "", 2, 9, signal.SIGKILL),
    "two labs, Ctrl-C": Moment((*RUN, *MANY), "", 2, 9, signal.SIGINT),
    "the demo, killed outright": Moment(DEMO, "", 0.5, 8, signal.SIGKILL),
    "the demo, ended": Moment(DEMO, "", 0.5, 8, signal.SIGTERM),
}


class Victim:
    """A command of the lab's that is killed at its moment, and what it had made until then."""

    def __init__(self, name: str, moment: Moment, place: Path) -> None:
        self.name, self._moment = name, moment
        self.temporary = place / "temporary"
        self.temporary.mkdir(parents=True)
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.wait = random.uniform(moment.earliest, moment.latest)
        self.namespaces: set[str] = set()
        file = place / "quiet.yaml"
        file.write_text(QUIET)
        argv = [str(file) if each == "FILE" else each for each in moment.argv]
        own = {**os.environ, MARK: self.mark, "TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, *argv], cwd=place, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        assert self._process.stdout is not None
        if self._moment.line:
            next((line for line in self._process.stdout if re.search(self._moment.line, line)), None)
        time.sleep(self.wait)
        self.namespaces = {space for pid in processes(self.mark) if (space := namespace(pid))} - {namespace("self")}
        self._process.send_signal(self._moment.number)
        self._process.communicate()

    def is_gone(self) -> bool:
        self._thread.join(60)
        return not processes(self.mark) and not self.namespaces & {namespace(pid) for pid in pids()}

    @property
    def leftovers(self) -> list[str]:
        return sorted(str(each) for each in self.temporary.rglob("*"))


def test_killed_at_any_moment_nothing_is_left(tmp_path: Path) -> None:
    mounts, named = Path("/proc/self/mounts").read_text(), sorted(Path("/run").glob("netns/nk-*"))
    victims = [Victim(name, each, tmp_path / str(number)) for number, (name, each) in enumerate(MOMENTS.items())]
    for each in victims:
        assert eventually(each.is_gone), (each.name, each.wait, "processes or namespaces are left")
        assert each.leftovers == [], (each.name, each.wait)
    assert any(each.namespaces for each in victims)  # or the test had nothing to find
    assert Path("/proc/self/mounts").read_text() == mounts
    assert sorted(Path("/run").glob("netns/nk-*")) == named


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; here everything runs as one already")
def test_an_ordinary_user_plays_a_scenario_without_any_network(tmp_path: Path) -> None:
    """In a network namespace with no route and no name server. Where the interpreter lies in a folder that is closed to
    others, an open one takes its place, for this command alone."""
    file = tmp_path / "quiet.yaml"
    file.write_text(QUIET)
    base = Path(sys.base_prefix)
    closed = next((each for each in reversed((base, *base.parents)) if not each.stat().st_mode & 0o001), None)
    script = """set -e
        base=$1 packages=$2 tree=$3 file=$4 python=$5 user=$6 closed=$7
        mount -t tmpfs open /mnt; mkdir /mnt/base /mnt/packages /mnt/tree
        mount --bind "$base" /mnt/base; mount --bind "$packages" /mnt/packages; mount --bind "$tree" /mnt/tree
        cp "$file" /mnt/quiet.yaml; echo 'nameserver 192.0.2.1' > /mnt/resolv; mount --bind /mnt/resolv /etc/resolv.conf
        if [ -n "$closed" ]; then
            mount -t tmpfs open "$closed"; mkdir -p "$base"; mount --bind /mnt/base "$base"
        fi
        cd /mnt/tree
        exec setpriv --reuid="$user" --regid="$user" --clear-groups env -i \\
            PATH=/usr/local/bin:/usr/bin:/bin HOME=/nonexistent \\
            PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/mnt/tree/src:/mnt/tree/cli:/mnt/tree/lab:/mnt/packages \\
            "$base/bin/$python" -m natkeeper_cli lab run /mnt/quiet.yaml --time-scale 8"""
    packages = next(each for each in sys.path if each.endswith("site-packages"))
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    given = [str(base), packages, str(ROOT), str(file), python, str(NOBODY), str(closed or "")]
    command = ["unshare", "--net", "--mount", "sh", "-c", script, "sh", *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS  quiet" in done.stdout


def test_where_neither_root_nor_an_ordinary_user_may_it_says_what_to_do(tmp_path: Path) -> None:
    """A stand-in for `unshare` that refuses, as a hardened kernel does."""
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)
    own = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "natkeeper_cli", "lab", "run", "stop-the-nat"]
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert re.search(r"as root|--privileged|Ordinary users may not", done.stderr), done.stderr


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def namespace(pid: int | str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def processes(mark: str) -> list[int]:
    """By their environment: every process of a command inherits it."""
    found = []
    for pid in pids():
        try:
            if f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


assert shutil.which("setpriv") or os.geteuid() != 0, "setpriv is part of util-linux, as unshare is"
