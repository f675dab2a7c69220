"""A real machine as NAT b, which also hosts zone a's group. Only `make vm` runs these tests, inside the lab's sandbox.

They tell one story in the order of the file: booting takes a minute where there is no KVM.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from natkeeper.nat_instance import NatProfile, render_user_data
from natkeeper_lab.vm.image import Image
from natkeeper_lab.vm.machine import Machine
from tests.lab.vpc import ELASTIC_A, EVERYTHING, LANDING_A_ON_B, SHORT_SECONDS, Vpc

FOLDER = os.environ.get("NATKEEPER_VM", "")
"""Where `make vm` has built the image."""
collect_ignore_glob = [] if FOLDER else ["test_*.py"]
BOOT_SECONDS = 900.0  # emulated on a machine that is busy otherwise; 60 s where it is not
_figures: list[str] = []


class MachineVpc(Vpc):
    """The VPC of the other packet tests, with a virtual machine for NAT b and nothing for NAT a."""

    machine: Machine

    def add_nat(self, name: str, addresses: list[str], profile: NatProfile) -> None:
        if name != "b":
            return
        self.network.add_interface("eni-nat-b", "subnet-public", addresses)
        self.network.set_security_rules("eni-nat-b", EVERYTHING, EVERYTHING)  # what is silent is the NAT itself
        self.network.set_source_dest_check("eni-nat-b", False)
        self.user_data["i-nat-b"] = render_user_data(profile)
        self.start()

    def start(self) -> None:
        """Give it power. Its disk is what it was when it lost it."""

        def make(*arguments: object) -> Machine:
            self.machine = partial(Machine, Image(Path(FOLDER)), self.directory / "disk")(*arguments)  # type: ignore[arg-type]
            return self.machine

        self.network.boot("i-nat-b", "eni-nat-b", self.user_data["i-nat-b"], make)

    def run(self, command: str) -> str:
        return self.machine.agent.run(command)

    def is_up(self) -> bool:
        return self.machine.agent.is_up()

    def until_forwarding(self, what: str) -> float:
        """Seconds until a new connection from zone b is answered."""
        seconds = until(lambda: self.attempt("eni-db-b", seconds=SHORT_SECONDS) == "ok", BOOT_SECONDS)
        figure(f"{what}: {seconds:.1f} s to the first new connection answered")
        return seconds


def until(is_so: Callable[[], bool], limit: float) -> float:
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > limit:
            pytest.fail(f"not within {limit:.0f} s")
        time.sleep(0.02)
    return time.monotonic() - began


def figure(text: str) -> None:
    _figures.append(text)


@pytest.fixture(scope="session")
def vpc() -> Iterator[MachineVpc]:
    """Just started, with zone a's default route and address on it, too."""
    directory = Path(FOLDER, "run")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    subprocess.run(["cp", "--sparse=always", Image(Path(FOLDER)).disk, directory / "disk"], check=True)
    with MachineVpc(directory) as vpc:
        vpc.network.map_public_address(ELASTIC_A, LANDING_A_ON_B)
        vpc.network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-b")
        yield vpc
    (directory / "disk").unlink()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _figures:
        terminalreporter.write_line(line)
