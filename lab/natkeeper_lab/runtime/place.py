"""Where a function's process lives: beside the lab, or inside a namespace of the lab's network.

`stack` chooses; `runtime.environment` uses it. The process speaks to its Runtime API over the loopback of its
own namespace: the listening socket is made in there and served from out here, so that none of it crosses the VPC.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from natkeeper_lab.network import Network

_OUTPUT: Mapping[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


class Place(Protocol):
    def listen(self) -> socket.socket:
        """A listening TCP socket on the loopback that a process started here sees."""

    def spawn(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
        """Start argv with exactly this environment; its standard output must be a binary pipe."""


class Here:
    """Where the lab itself runs, which is not in the VPC.

    A frozen process cannot notice that the lab was killed, so the kernel is told to end it then. It goes by the thread
    that started the process (PR_SET_PDEATHSIG, prctl(2)): hence one that lives as long as the lab does.
    """

    _starter = ThreadPoolExecutor(1, thread_name_prefix="starter")
    _mortal: Sequence[str] = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()

    def listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", 0))

    def spawn(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen([*self._mortal, *argv], env=dict(env), cwd=cwd, **_OUTPUT)

        return self._starter.submit(start).result()


class Inside:
    """Where a guest of the network runs, named by its instance or interface."""

    def __init__(self, network: Network, where: str) -> None:
        self._network = network
        self._where = where

    def listen(self) -> socket.socket:
        return self._network.listen(self._where)

    def spawn(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
        return self._network.spawn(self._where, argv, env, is_bare=True, cwd=cwd, **_OUTPUT)
