"""A prober's process lives where private hosts live, and hears from Lambda all the same."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from natkeeper_lab.runtime import FunctionHost, Here, Inside, Place
from natkeeper_lab.runtime.artefact import assemble
from tests.lab.vpc import Vpc

pytestmark = pytest.mark.packets
WEB = ("203.0.113.10", 443)


@pytest.fixture
def lab_port() -> Iterator[int]:
    """Something that listens on the lab's own loopback, as its API does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def look(place: Place, port: int) -> dict[str, Any]:
    """What a function sees there: its namespace, the far end, and the lab's own loopback."""
    code = assemble(Path(__file__).parents[1] / "contract" / "function_code")
    host = FunctionHost("prober", "functions.surroundings", code=code, place=place)
    try:
        result = host.invoke(json.dumps({"addresses": [WEB, ("127.0.0.1", port)]}).encode())
    finally:
        host.stop()
    seen: dict[str, Any] = json.loads(result.payload)
    return seen


def namespace(vpc: Vpc, where: str) -> str:
    process = vpc.network.spawn(where, ["readlink", "/proc/self/ns/net"], stdout=-1, text=True)
    return str(process.communicate(timeout=60)[0]).strip()


def test_function_inside_sees_what_a_private_host_sees(quiet_vpc: Vpc, lab_port: int) -> None:
    seen = look(Inside(quiet_vpc.network, "eni-db-a"), lab_port)
    assert seen["namespace"] == namespace(quiet_vpc, "eni-db-a") != os.readlink("/proc/self/ns/net")
    assert seen["fates"] == ["ok", "ConnectionRefusedError"]
    assert seen["api"].startswith("127.0.0.1:")


def test_function_inside_is_invoked_while_no_packet_leaves_its_subnet(quiet_vpc: Vpc, lab_port: int) -> None:
    network = quiet_vpc.network
    network.set_route("rtb-a", "0.0.0.0/0", None)
    try:
        seen = look(Inside(network, "eni-db-a"), lab_port)
    finally:
        network.set_route("rtb-a", "0.0.0.0/0", "eni-nat-a")
    assert seen["fates"][0] == "TimeoutError"


@pytest.mark.usefixtures("quiet_vpc")
def test_function_outside_the_vpc_sees_the_labs_own_network(lab_port: int) -> None:
    seen = look(Here(), lab_port)
    assert seen["namespace"] == os.readlink("/proc/self/ns/net")
    assert seen["fates"][1] == "ok"
