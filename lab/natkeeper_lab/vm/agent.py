"""Speaks to QEMU's guest agent: runs commands in the machine, and asks it to switch itself off.

Called by `vm.machine` and the tests of `make vm`. Standard library only.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

ANSWER_SECONDS = 60.0  # an emulated machine may be busy for long
POLL_SECONDS = 0.1


class Agent:
    """`path` is where QEMU makes the socket that leads to the agent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._asked = 0

    def run(self, command: str, seconds: float = ANSWER_SECONDS) -> str:
        """What a shell command in the machine printed, errors included. TimeoutError, or OSError while it boots."""
        arguments = {"path": "/bin/sh", "arg": ["-c", f"{command} 2>&1"], "capture-output": True}
        process = self._ask("guest-exec", **arguments)["pid"]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self._ask("guest-exec-status", pid=process)
            if status["exited"]:
                return base64.b64decode(status.get("out-data", "")).decode(errors="replace").strip()
            time.sleep(POLL_SECONDS)
        raise TimeoutError(command)

    def is_up(self, seconds: float = 5.0) -> bool:
        """Whether the agent answers within `seconds`."""
        try:
            self._connect(seconds).close()
        except (OSError, ValueError):
            return False
        return True

    def shut_down(self, qemu: subprocess.Popen[Any], seconds: float) -> None:
        """Asks, and waits for the end; whoever does not listen is left as it is."""
        with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
            with self._connect() as connection:
                _send(connection, "guest-shutdown", mode="powerdown")
            qemu.wait(seconds)

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        with self._connect() as connection:
            _send(connection, command, **arguments)
            answer = json.loads(connection.makefile().readline())
        if "return" not in answer:
            raise OSError(str(answer))
        return dict(answer["return"])

    def _connect(self, seconds: float = ANSWER_SECONDS) -> socket.socket:
        """In step (guest-sync, QEMU's agent protocol): answers that nobody waits for any more are still under way."""
        self._asked += 1
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(seconds)
            connection.connect(str(self.path))
            _send(connection, "guest-sync", id=self._asked)
            lines = connection.makefile()
            while json.loads(lines.readline()).get("return") != self._asked:
                pass
        except BaseException:
            connection.close()
            raise
        return connection


def _send(connection: socket.socket, command: str, **arguments: Any) -> None:
    connection.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
