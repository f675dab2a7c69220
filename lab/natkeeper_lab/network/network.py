"""A VPC's packet plane on one Linux machine: the lab's implementation of `packets.Packets`.

Called by the lab's EC2 API after each change it accepted, by the demo, and by tests. Runs inside `sandbox` only.
May not import boto3, moto or anything of `api`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

from natkeeper_lab import sandbox
from natkeeper_lab.network import gateway, router
from natkeeper_lab.network.disk import Disk
from natkeeper_lab.network.guest import BootResult, Faults, Guest
from natkeeper_lab.network.interface import Interface
from natkeeper_lab.network.kernel import Kernel
from natkeeper_lab.network.security_group import MidStream
from natkeeper_lab.packets import SecurityRule

GuestType = Callable[[Kernel, str, Interface, str], Guest]


class Network:
    """Build it, use it, close it; or use it as a context manager.

    `mid_stream` picks the model of what AWS leaves open: whether a stateful security group lets a packet from the
    middle of a connection it never saw pass ("accept") or not ("refuse").
    """

    def __init__(
        self,
        vpc_cidr: str = "10.0.0.0/16",
        mid_stream: MidStream = "accept",
        internet_addresses: Sequence[str] = gateway.INTERNET_ADDRESSES,
        guest_device: str = "ens5",
    ) -> None:
        if not sandbox.is_inside():
            raise RuntimeError(
                "the lab's network only runs inside its sandbox: python -m natkeeper_lab.sandbox -- <command>"
            )
        self._kernel = Kernel()
        self._router = router.Router(self._kernel, vpc_cidr)
        self._gateway = gateway.Gateway(self._kernel, vpc_cidr, internet_addresses)
        self._mid_stream = mid_stream
        self._guest_device = guest_device
        self._lock = threading.RLock()
        self._subnets: dict[str, IPv4Network] = {}
        self._interfaces: dict[str, Interface] = {}
        self._guests: dict[str, Guest] = {}
        self._boots: dict[str, BootResult] = {}
        self._disks: dict[str, Disk] = {}
        self._count = 0
        self._processes: list[subprocess.Popen[Any]] = []
        self._router.build()
        self._gateway.build()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Everything this network made is gone afterwards: processes, namespaces, cables."""
        with self._lock:
            for process in self._processes:
                process.kill()
                process.wait()
            for instance_id in list(self._guests):
                self.power_off(instance_id)
            for interface_id in list(self._interfaces):
                self.delete_interface(interface_id)
            self._kernel.cut("", "internet")
            for namespace in (router.NAMESPACE, gateway.NAMESPACE, gateway.INTERNET):
                self._kernel.delete(namespace)
            self._kernel.close()
            for instance_id in list(self._disks):
                self.forget(instance_id)

    # The verbs of lab.packets.Packets

    def add_route_table(self, table_id: str) -> None:
        with self._lock:
            self._router.add_table(table_id)

    def set_route(self, table_id: str, destination: str, target: str | None) -> None:
        with self._lock:
            self._router.set_route(table_id, destination, target)

    def add_subnet(self, subnet_id: str, cidr: str, table_id: str) -> None:
        with self._lock:
            self._subnets[subnet_id] = IPv4Network(cidr)
            self._router.add_subnet(subnet_id, table_id)

    def use_route_table(self, subnet_id: str, table_id: str) -> None:
        with self._lock:
            self._router.use_table(subnet_id, table_id)

    def add_interface(self, interface_id: str, subnet_id: str, addresses: list[str]) -> None:
        with self._lock:
            if interface_id in self._interfaces:
                return
            self._count += 1
            interface = Interface(
                interface_id, self._count, subnet_id, self._subnets[subnet_id], list(addresses), self._mid_stream
            )
            interface.plug_into(self._kernel, router.NAMESPACE)
            self._interfaces[interface_id] = interface
            self._router.attach(interface)

    def set_addresses(self, interface_id: str, addresses: list[str]) -> None:
        with self._lock:
            interface = self._interfaces[interface_id]
            gone = set(interface.addresses) - set(addresses)
            interface.addresses = list(addresses)
            interface.enforce(self._kernel)
            self._router.own(interface)
            self._router.disown(interface, gone)

    def set_source_dest_check(self, interface_id: str, is_on: bool) -> None:
        with self._lock:
            interface = self._interfaces[interface_id]
            interface.is_checked = is_on
            interface.enforce(self._kernel)

    def set_security_rules(self, interface_id: str, ingress: list[SecurityRule], egress: list[SecurityRule]) -> None:
        with self._lock:
            interface = self._interfaces[interface_id]
            interface.ingress, interface.egress = tuple(ingress), tuple(egress)
            interface.enforce(self._kernel)

    def delete_interface(self, interface_id: str) -> None:
        with self._lock:
            interface = self._interfaces.pop(interface_id, None)
            if interface is None:
                return
            if interface.guest is not None:
                self.power_off(interface.guest)
            self._router.detach(interface)
            self._kernel.cut(router.NAMESPACE, interface.router_device)
            self._kernel.delete(interface.namespace)

    def map_public_address(self, public: str, private: str | None) -> None:
        with self._lock:
            self._gateway.map(public, private)

    def boot(self, instance_id: str, interface_id: str, user_data: str, guest_type: GuestType = Guest) -> None:
        """Returns when the user data has run, well or not: see `boot_result`."""
        with self._lock:
            if instance_id in self._guests:
                return
            guest = guest_type(self._kernel, instance_id, self._interfaces[interface_id], user_data)
            guest.power_on(self._guest_device)
            self._guests[instance_id] = guest
            guest.volume = self._volume_of(instance_id)
        self._boots[instance_id] = guest.boot()

    def power_off(self, instance_id: str) -> None:
        with self._lock:
            guest = self._guests.pop(instance_id, None)
            if guest is not None:
                guest.power_off()

    # What the lab has beside EC2

    def boot_result(self, instance_id: str) -> BootResult:
        """How the last boot's script went. KeyError when it has not ended yet."""
        return self._boots[instance_id]

    def console_output(self, instance_id: str) -> str:
        """What the user data printed, kept when the guest is gone; empty while it runs."""
        result = self._boots.get(instance_id)
        return result.console if result else ""

    def forget(self, instance_id: str) -> None:
        """The instance's disk is gone: its next boot is a first one."""
        self._disks.pop(instance_id).wipe()

    def run_user_data(self, instance_id: str) -> BootResult:
        """Run it again, as natkeeper.service on a real instance does every minute."""
        result = self._boots[instance_id] = self._guests[instance_id].run_user_data()
        return result

    def spawn(
        self,
        where: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        is_bare: bool = False,
        **popen: Any,
    ) -> subprocess.Popen[Any]:
        """Start a process in `internet`, or in a guest named by instance or interface; it dies with the guest.

        `argv[0]` may be "python" for the interpreter that runs the lab; `env` is added to this process's own, unless
        `is_bare`: then it is all there is.
        """
        command = [sys.executable, *argv[1:]] if argv[0] == "python" else list(argv)
        environment = {**({} if is_bare else os.environ), **(env or {})}
        popen.setdefault("start_new_session", True)  # the lab stops it, not the user's Ctrl-C
        process: subprocess.Popen[Any] = self._kernel.inside(
            self._namespace(where), lambda: subprocess.Popen(command, env=environment, **popen)
        )
        with self._lock:
            guest = self._guest_of(where)
            if guest is not None:
                guest.adopt(process)
            else:
                self._processes.append(process)
        return process

    def listen(self, where: str, address: str = "127.0.0.1", port: int = 0) -> socket.socket:
        """A listening socket inside a guest or `internet`, for this process to accept on."""
        return self._kernel.inside(self._namespace(where), lambda: socket.create_server((address, port)))

    def connect(self, where: str, address: str, port: int, timeout: float = 1.0) -> socket.socket:
        """A TCP connection made from inside a guest or `internet`; OSError as the caller there would get it."""
        return self._kernel.inside(self._namespace(where), lambda: socket.create_connection((address, port), timeout))

    def hang(self, instance_id: str) -> None:
        """Running as far as EC2 can tell; forwards and answers nothing."""
        self._suffer(instance_id, is_hung=True)

    def unhang(self, instance_id: str) -> None:
        self._suffer(instance_id, is_hung=False)

    def drop_forwarding(self, instance_id: str, is_on: bool = True) -> None:
        """Answers for itself and forwards nothing."""
        self._suffer(instance_id, drops_forwarding=is_on)

    def packet_loss(self, instance_id: str, percent: float) -> None:
        """Of every hundred packets that arrive, lose this many."""
        self._suffer(instance_id, loss_percent=percent)

    def limit_bandwidth(self, instance_id: str, megabits: float) -> None:
        """It carries no more than this in a second, both ways together."""
        self._suffer(instance_id, megabits=megabits)

    def fill_conntrack(self, instance_id: str, percent: float) -> None:
        """So full is its connection table: with no room left, packets of connections that are not in it are dropped.

        The table itself is not filled. The kernel of the lab's machine has one limit for all namespaces, of entries
        that would take it 80 MB (262,144 of them), and what a full one does is this.
        """
        self._suffer(instance_id, takes_no_new_flows=percent >= 100)

    def flush_nat(self, instance_id: str) -> None:
        """Someone typed `nft flush ruleset`."""
        with self._lock:
            self._guests[instance_id].forget_rules()

    def is_on(self, instance_id: str) -> bool:
        """Whether a guest runs as this instance."""
        return instance_id in self._guests

    def block(self, addresses: Sequence[str]) -> None:
        """These hosts of the internet fall silent, for the VPC and for everybody else; an empty list ends it."""
        listed = f"ip daddr {{ {', '.join(addresses)} }} drop" if addresses else ""
        rules = f"chain arriving {{ type filter hook input priority 0; policy accept; {listed}\n }}"
        script = f"table ip silent\ndelete table ip silent\ntable ip silent {{\n{rules}\n}}\n"
        self._kernel.nft(gateway.INTERNET, script)

    def block_public_access(self, gateways: Sequence[str] | None) -> None:
        """VPC Block Public Access, ingress-only: nothing comes in from the internet but for these NAT gateways' private
        addresses. None: it is off."""
        self._kernel.nft(gateway.NAMESPACE, gateway.access_rules(gateways))

    def _volume_of(self, instance_id: str) -> Disk:
        """The same at each boot of an instance."""
        if instance_id not in self._disks:
            self._disks[instance_id] = Disk()
        return self._disks[instance_id]

    def _suffer(self, instance_id: str, **change: Any) -> None:
        with self._lock:
            guest = self._guests[instance_id]
            guest.suffer(replace(guest.faults, **change) if change else Faults())

    def _guest_of(self, where: str) -> Guest | None:
        interface = self._interfaces.get(where)
        return self._guests.get(interface.guest or "" if interface else where)

    def _namespace(self, where: str) -> str:
        guest = self._guest_of(where)
        if guest is not None:
            return guest.namespace
        if where in (gateway.INTERNET, gateway.NAMESPACE, router.NAMESPACE):
            return where
        raise KeyError(f"no guest runs as or behind {where}")
