"""The orders of a move, made by hand: the right one, and the wrong ones that natkeeper never uses and that must lose.

Called by `bench.sections` and by tests, on a `Natkeeper` that is still asleep. The calls are plain EC2 calls with
the latency of everybody's; nothing in natkeeper can be switched to make them.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import boto3

from natkeeper_lab.bench.play import CALM, FLOWS, GROUP, Played, apart_ms, restored
from natkeeper_lab.bench.rig import Rig
from natkeeper_lab.rulers import Rulers
from natkeeper_lab.stack import ANYWHERE

PAUSE = 0.06
"""With a call of 60 ms this is natkeeper's own time from routes to address (Policy.teaching_pause)."""
NOTICING = 0.1
"""From a stop to the first call of a hand that is as quick as natkeeper."""


@dataclass(frozen=True)
class Order:
    """`loses`: whose connections cannot survive it, `client` or `server` (docs/architecture.md says why)."""

    name: str
    is_planned: bool
    is_bare: bool
    is_address_first: bool
    loses: tuple[str, ...] = ()


RIGHT = Order("planned, bare landing, routes first", is_planned=True, is_bare=True, is_address_first=False)
WRONG = (
    Order("planned, address first", is_planned=True, is_bare=True, is_address_first=True, loses=("server",)),
    Order(
        "planned, landing not bare",
        is_planned=True,
        is_bare=False,
        is_address_first=False,
        loses=("client", "server"),
    ),
    Order(
        "stop, landing not bare, routes first",
        is_planned=False,
        is_bare=False,
        is_address_first=False,
        loses=("client",),
    ),
)


class ByHand:
    """Zone a's routes and address, moved to zone b's NAT and back."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._slow: Any = boto3.client("ec2")
        self._deployed = rig.stack.groups[GROUP]
        self._there = rig.stack.interface_of(rig.nat("b"))
        described = rig.stack.describe(rig.nat("b"))["NetworkInterfaces"][0]["PrivateIpAddresses"]
        self._landing = next(each["PrivateIpAddress"] for each in described if not each["Primary"])
        self._stray = ""

    def play(self, order: Order) -> Played:
        """One move in that order, and everything back as it was."""
        stack = self._rig.stack
        if not order.is_bare:
            self._make_public()
        stack.api.clear_calls()
        rulers = Rulers(stack, GROUP, client=FLOWS, server=FLOWS if order.is_planned else 0)
        at = time.monotonic()
        if not order.is_planned:
            at = self._rig.stop(GROUP)
            time.sleep(NOTICING)
        self._move(order)
        time.sleep(CALM)
        measured = rulers.stop()
        moves = self._rig.moves(GROUP, at)
        self._restore()
        assert measured.client is not None
        return Played(
            event=order.name,
            moved_ms=round((moves[-1].ended_at - at) * 1000, 1),
            restored={GROUP: restored(measured, at)},
            new_lost=sum(each.probes for each in measured.outages),
            down=round(measured.downtime_seen, 3),
            lost_for_good=measured.new_lost,
            client=measured.client,
            server=measured.server,
            apart_ms=apart_ms(moves, stack.api.calls(), self._deployed.allocation, at),
        )

    def _move(self, order: Order) -> None:
        steps = [self._routes, self._address]
        if order.is_address_first:
            steps.reverse()
        steps[0](self._slow, self._there)
        if order.is_planned:
            time.sleep(PAUSE)
        steps[1](self._slow, self._there)

    def _routes(self, ec2: Any, interface: str) -> None:
        def one(table: str) -> None:
            ec2.replace_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, NetworkInterfaceId=interface)

        with ThreadPoolExecutor(len(self._deployed.tables)) as pool:
            list(pool.map(one, self._deployed.tables))

    def _address(self, ec2: Any, interface: str) -> None:
        where = {"PrivateIpAddress": self._landing} if interface == self._there else {}
        allocation = self._deployed.allocation
        ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=interface, AllowReassociation=True, **where)

    def _make_public(self) -> None:
        """Somebody's Elastic IP on the landing address."""
        ec2 = self._rig.stack.ec2
        self._stray = ec2.allocate_address(Domain="vpc")["AllocationId"]
        ec2.associate_address(AllocationId=self._stray, NetworkInterfaceId=self._there, PrivateIpAddress=self._landing)

    def _restore(self) -> None:
        stack = self._rig.stack
        nat = self._rig.nat(GROUP)
        if stack.describe(nat)["State"]["Name"] != "running":
            stack.wait_for(nat, "stopped")
            stack.ec2.start_instances(InstanceIds=[nat])
            stack.wait_for(nat, "running")
        home = stack.interface_of(nat)
        self._address(stack.ec2, home)
        self._routes(stack.ec2, home)
        if self._stray:
            stack.ec2.release_address(AllocationId=self._stray)
            self._stray = ""
