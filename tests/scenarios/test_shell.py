"""`natkeeper lab shell` on a terminal, as somebody who never saw it before uses it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.packets

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "private-host-a$ "


class Terminal:
    """A person in front of one."""

    def __init__(self) -> None:
        self._own, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "natkeeper_cli", "lab", "shell"],
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm"},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C means what it means
        )
        os.close(other)
        self.shown = ""

    def type(self, text: str) -> None:
        self.shown = ""
        os.write(self._own, text.encode())

    def read_until(self, pattern: str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.shown)):
            left = deadline - time.monotonic()
            ready = select.select([self._own], [], [], max(0.0, left))[0]
            assert ready, f"{pattern!r} did not come; on the screen:\n{self.shown}"
            try:
                self.shown += os.read(self._own, 65536).decode(errors="replace")
            except OSError:  # the other end is closed
                pytest.fail(f"it ended before {pattern!r}; on the screen:\n{self.shown}")
        return found[0]

    def end(self) -> int:
        """Its exit code; whatever it still prints is read, so that it does not wait for us."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self._own], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._own, 65536).decode(errors="replace")
                except OSError:
                    break
        code = self.process.wait(60)
        os.close(self._own)
        return code


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    if terminal.process.poll() is None:
        terminal.process.kill()
        terminal.process.wait()


def test_a_vpc_to_play_with_survives_what_is_done_to_it(terminal: Terminal) -> None:
    terminal.read_until("You are on the database server", 60)
    terminal.read_until(re.escape(PROMPT))
    terminal.type("curl -s --max-time 3 http://203.0.113.10/\n")
    before = terminal.read_until(r"you came from [0-9.]+")
    terminal.type("exit 7\n")
    terminal.read_until("exit code 7")
    terminal.type(":help\n")
    terminal.read_until("stop_instance")
    terminal.type(":stop_instanc active@a\n")
    terminal.read_until("did you mean 'stop_instance'")
    terminal.type(":stop_instance active@a\n")
    terminal.read_until("fail-over|ReplaceRoute")
    terminal.type("curl -s --max-time 3 http://203.0.113.10/\n")
    assert terminal.read_until(r"you came from [0-9.]+") == before
    terminal.type("sleep 30\n")
    time.sleep(1)
    terminal.type("\x03")  # ends what runs on the host, not the shell
    terminal.read_until(re.escape(PROMPT))
    terminal.type("exit\n")
    assert terminal.end() == 0
