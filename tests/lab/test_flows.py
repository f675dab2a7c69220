"""A connection is lost when it is listened to in vain, and not when nobody listens."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STALLED_AFTER = 0.5


class Echo:
    """A far end on loopback that says lines back, until it is told to be silent."""

    def __init__(self) -> None:
        self.is_silent = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                for line in lines:
                    if not self.is_silent:
                        connection.sendall(line.rstrip() + b" 192.0.2.1:443\n")
            except OSError:
                return

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    one = Echo()
    yield one
    one.close()


def flows(port: int, output: Path) -> subprocess.Popen[str]:
    argv = ["client", "--connections", "3", "--target", f"127.0.0.1:{port}", "--stalled-after", str(STALLED_AFTER)]
    process = subprocess.Popen(
        [sys.executable, "-m", "natkeeper_lab.flows", *argv, "--output", str(output)],
        cwd=Path(__file__).resolve().parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    time.sleep(0.5)
    return process


def ended(process: subprocess.Popen[str], output: Path) -> dict[str, Any]:
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    report: dict[str, Any] = json.loads(output.read_text())
    return report


def test_connections_outlive_a_machine_that_stands_still(echo: Echo, tmp_path: Path) -> None:
    process = flows(echo.port, tmp_path / "flows.json")
    process.send_signal(signal.SIGSTOP)
    time.sleep(3 * STALLED_AFTER)
    report = ended(process, tmp_path / "flows.json")
    assert (report["survived"], report["errors"]) == (3, [])


def test_connections_that_nobody_answers_are_lost(echo: Echo, tmp_path: Path) -> None:
    process = flows(echo.port, tmp_path / "flows.json")
    echo.is_silent = True
    time.sleep(3 * STALLED_AFTER)
    report = ended(process, tmp_path / "flows.json")
    assert (report["survived"], report["errors"]) == (0, ["silent"])
