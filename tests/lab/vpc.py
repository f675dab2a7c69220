"""A small VPC for tests: NATs a and b in the public subnet, one private host in each private subnet, and an internet.

Used by the packet tests in this folder. Zone a's group owns 198.51.100.1, zone b's 198.51.100.2.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from natkeeper.nat_instance import NatProfile, render_user_data
from natkeeper_lab import certificates
from natkeeper_lab.measure import Probe, probes
from natkeeper_lab.network import INTERNET, INTERNET_ADDRESSES, Network
from natkeeper_lab.packets import SecurityRule

EVERYTHING = [SecurityRule("0.0.0.0/0")]
FROM_PRIVATE = [SecurityRule("10.0.0.0/16", "tcp", 80, 80), SecurityRule("10.0.0.0/16", "tcp", 443, 443)]
CIDR_A, CIDR_B = "10.0.2.0/24", "10.0.3.0/24"
NAT_A, NAT_B, LANDING_A_ON_B = "10.0.1.20", "10.0.1.21", "10.0.1.121"
ELASTIC_A, ELASTIC_B = "198.51.100.1", "198.51.100.2"
CANARY = "203.0.113.99"
SHORT_SECONDS = 0.25  # long enough for any answer in the lab, which takes under 2 ms
LONG_SECONDS = 10.0  # what must be answered may be answered late, where this machine stands still
STALLED_SECONDS = 2.0  # longer than any gap a surviving connection has in these tests, even where a machine is slow


@dataclass
class Watch:
    """A process that measures inside a guest, and the file it leaves its report in."""

    process: subprocess.Popen[Any]
    output: Path

    def report(self) -> dict[str, Any]:
        self.process.wait(60)
        return json.loads(self.output.read_text())  # type: ignore[no-any-return]

    def stop(self) -> dict[str, Any]:
        self.process.terminate()
        return self.report()


class Vpc:
    def __init__(self, directory: Path, mid_stream: Literal["accept", "refuse"] = "accept") -> None:
        self.directory = directory
        self.network = Network(mid_stream=mid_stream)
        self.user_data: dict[str, str] = {}
        self._watches = 0

    def __enter__(self) -> Vpc:
        try:
            self._build()
        except BaseException:
            self.network.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.network.close()

    def _build(self) -> None:
        network = self.network
        for table in ("rtb-public", "rtb-a", "rtb-b"):
            network.add_route_table(table)
        network.set_route("rtb-public", "0.0.0.0/0", "igw-1")
        network.add_subnet("subnet-public", "10.0.1.0/24", "rtb-public")
        network.add_subnet("subnet-a", CIDR_A, "rtb-a")
        network.add_subnet("subnet-b", CIDR_B, "rtb-b")
        self.add_nat("a", [NAT_A], NatProfile("a", (CIDR_A,), (), "web", CANARY))
        self.add_nat("b", [NAT_B, LANDING_A_ON_B], NatProfile("b", (CIDR_B,), ((CIDR_A,),), "web", CANARY))
        for zone, address in (("a", "10.0.2.10"), ("b", "10.0.3.10")):
            network.add_interface(f"eni-db-{zone}", f"subnet-{zone}", [address])
            network.set_security_rules(f"eni-db-{zone}", [], EVERYTHING)
            network.boot(f"i-db-{zone}", f"eni-db-{zone}", "")
            network.set_route(f"rtb-{zone}", "0.0.0.0/0", f"eni-nat-{zone}")
        network.map_public_address(ELASTIC_A, NAT_A)
        network.map_public_address(ELASTIC_B, NAT_B)
        self._start_internet()

    def add_nat(self, name: str, addresses: list[str], profile: NatProfile) -> None:
        network = self.network
        network.add_interface(f"eni-nat-{name}", "subnet-public", addresses)
        network.set_security_rules(f"eni-nat-{name}", FROM_PRIVATE, EVERYTHING)
        network.set_source_dest_check(f"eni-nat-{name}", False)
        self.user_data[f"i-nat-{name}"] = render_user_data(profile)
        network.boot(f"i-nat-{name}", f"eni-nat-{name}", self.user_data[f"i-nat-{name}"])
        result = network.boot_result(f"i-nat-{name}")
        assert result.is_ok, result.console

    def _start_internet(self) -> None:
        self.files = certificates.issue(self.directory, INTERNET_ADDRESSES)
        argv = ["python", "-m", "natkeeper_lab.internet_server"]
        for address in INTERNET_ADDRESSES:
            argv += ["--address", address]
        argv += ["--certificate", str(self.files.certificate), "--key", str(self.files.key)]
        server = self.network.spawn(INTERNET, argv, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        server.stdout.close()

    def reaches(self, where: str, address: str = "203.0.113.10", port: int = 443) -> bool:
        """Whether a new connection is answered, however long a busy machine takes."""
        return self.attempt(where, address, port, LONG_SECONDS) == "ok"

    def attempt(
        self, where: str, address: str = "203.0.113.10", port: int = 443, seconds: float = SHORT_SECONDS
    ) -> str:
        """How a new connection fared: "ok", "silent", or the name of the error an answer caused."""
        try:
            self.network.connect(where, address, port, seconds).close()
        except TimeoutError:
            return "silent"
        except OSError as error:
            return type(error).__name__
        return "ok"

    def seen_from(self, where: str, address: str = "203.0.113.10") -> tuple[str, int, int]:
        """The public address and port the far end saw, and the port the caller really used."""
        with self.network.connect(where, address, 443, LONG_SECONDS) as connection:
            own_port = connection.getsockname()[1]
            public, port = ask(connection)
        return public, port, own_port

    @contextmanager
    def answering(self, where: str, address: str = "203.0.113.10") -> Iterator[socket.socket]:
        """A connection that has carried something already."""
        with self.network.connect(where, address, 443, LONG_SECONDS) as connection:
            ask(connection)
            yield connection

    def flows(self, mode: str, seconds: float, where: str = "eni-db-a", connections: int = 20) -> Watch:
        arguments = [mode, "--connections", str(connections), "--interval", "0.005", "--seconds", str(seconds)]
        arguments += ["--stalled-after", str(STALLED_SECONDS)]
        return self._watch(where, ["python", "-m", "natkeeper_lab.flows", *arguments])

    def probing(self, where: str = "eni-db-a", target: str = "203.0.113.11:443") -> Watch:
        return self._watch(where, ["python", "-m", "natkeeper_lab.probe", "--target", target])

    def _watch(self, where: str, argv: list[str]) -> Watch:
        self._watches += 1
        output = self.directory / f"watch-{self._watches}.json"
        process = self.network.spawn(where, [*argv, "--output", str(output)], stderr=subprocess.PIPE)
        assert process.stderr is not None
        assert process.stderr.readline() == b"ready\n"
        return Watch(process, output)


def ask(connection: socket.socket) -> tuple[str, int]:
    """Have a line echoed; the address and port the far end says it came from. TimeoutError when it stays silent."""
    connection.sendall(b"0\n")
    address, port = connection.makefile().readline().split()[1].split(":")
    return address, int(port)


def measured(report: dict[str, Any]) -> list[Probe]:
    return probes(report["rows"])
