"""The Linux kernel as the lab needs it: named namespaces, netlink inside them, nft rulesets, sysctls.

Called by the other modules of `network` only. Nothing here knows what a VPC is.
May not import boto3, moto or anything of `api`.

A thread, not a process, enters a namespace: `setns` is per thread, so a short-lived thread can open a socket, write a
sysctl or start a child in another namespace while the rest of the process stays where it is (setns(2)).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

PREFIX = "nk-"  # so that `ip netns` shows at a glance whose they are
HERE = ""  # the namespace the lab's own process lives in
NAMED = Path("/run/netns")  # where `ip netns` looks, ip-netns(8)
CLONE_NEWNET = 0x40000000  # linux/sched.h
MS_BIND = 4096  # linux/mount.h
MNT_DETACH = 2
NUD_PERMANENT = 0x80  # linux/neighbour.h
ONLINK = 4  # RTNH_F_ONLINK, linux/rtnetlink.h: the next hop is no address of the link
SILENT_METRIC = 4000  # worse than any real route, so it only catches what nothing else matches

# A new namespace copies these from the machine, whatever its owner chose (Documentation/networking/ip-sysctl.rst,
# devconf_inherit_init_net), and any of them would make the lab answer where AWS is silent.
QUIET = {
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
    "net.ipv4.ip_forward": 0,
    "net.ipv6.conf.all.disable_ipv6": 1,
    "net.ipv6.conf.default.disable_ipv6": 1,
}

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


class Kernel:
    """Named namespaces and everything done inside them. Safe to call from several threads."""

    def __init__(self) -> None:
        # One thread talks netlink: pyroute2 keeps a socket per thread, and opening one costs more than using it.
        self._netlink = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._sockets: dict[str, IPRoute] = {}
        self._indices: dict[tuple[str, str], int] = {}

    def create(self, namespace: str, sysctls: Mapping[str, int] | None = None) -> None:
        """A namespace with loopback up, silent about everything it does not know a way for."""
        path = _path(namespace)
        NAMED.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)

        def unshare_and_name() -> None:
            _checked(_libc.unshare(CLONE_NEWNET), "unshare")
            _checked(_libc.mount(b"/proc/thread-self/ns/net", bytes(path), None, MS_BIND, None), f"mount {path}")

        _in_a_thread(unshare_and_name)
        self.sysctl(namespace, {**QUIET, **(sysctls or {})})
        self.up(namespace, "lo")
        self.silence(namespace)

    def delete(self, namespace: str) -> None:
        def close() -> None:
            if namespace in self._sockets:
                self._sockets.pop(namespace).close()
            for key in [key for key in self._indices if key[0] == namespace]:
                del self._indices[key]

        self._netlink.submit(close).result()
        path = _path(namespace)
        if path.exists():
            _libc.umount2(bytes(path), MNT_DETACH)
            path.unlink()

    def close(self) -> None:
        for namespace in list(self._sockets):
            self.delete(namespace)
        self._netlink.shutdown()
        os.close(self._home)

    def inside(self, namespace: str, work: Callable[[], T]) -> T:
        """The result of `work`, run by a thread that lives in the namespace. Children it starts live there too."""

        def enter_and_work() -> T:
            if namespace != HERE:
                _enter(_path(namespace))
            return work()

        return _in_a_thread(enter_and_work)

    def nft(self, namespace: str, script: str) -> None:
        """Apply the script as one transaction."""
        run = self.inside(
            namespace, lambda: subprocess.run(["nft", "-f", "-"], input=script, text=True, capture_output=True)
        )
        if run.returncode:
            raise RuntimeError(f"nft in {namespace}: {run.stderr.strip()}\n{script}")

    def sysctl(self, namespace: str, values: Mapping[str, int]) -> None:
        def write() -> None:
            for key, value in values.items():
                file = Path("/proc/sys", *key.split("."))
                if file.exists():  # no IPv6 in this kernel, or conntrack not loaded yet
                    file.write_text(str(value))

        self.inside(namespace, write)

    def tap(self, namespace: str, device: str) -> None:
        """A device whose other end is a file, for a virtual machine to open."""
        command = ["ip", "tuntap", "add", device, "mode", "tap"]
        self.inside(namespace, lambda: subprocess.run(command, check=True))
        self.up(namespace, device)

    def cable(self, one: str, one_end: str, other: str, other_end: str, macs: tuple[str, str] | None = None) -> None:
        """A virtual cable between two namespaces, both ends up."""
        peer = os.open(_path(other) if other != HERE else "/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        near: dict[str, Any] = {"address": macs[0]} if macs else {}
        far: dict[str, Any] = {"address": macs[1]} if macs else {}
        try:
            far |= {"ifname": other_end, "net_ns_fd": peer}
            self._call(one, lambda ip: ip.link("add", ifname=one_end, kind="veth", peer=far, **near))
        finally:
            os.close(peer)
        self.up(one, one_end)
        self.up(other, other_end)

    def cut(self, namespace: str, device: str) -> None:
        """Remove a cable, at both ends at once."""
        index = self._indices.pop((namespace, device), None)
        if index is not None:
            self._call(namespace, lambda ip: ip.link("del", index=index))

    def up(self, namespace: str, device: str) -> None:
        index = self._index(namespace, device)
        self._call(namespace, lambda ip: ip.link("set", index=index, state="up"))

    def address(self, namespace: str, device: str, cidr: str, verb: str = "replace") -> None:
        host, _, length = cidr.partition("/")
        index = self._index(namespace, device)
        self._call(namespace, lambda ip: ip.addr(verb, index=index, address=host, prefixlen=int(length)))

    def neighbour(self, namespace: str, device: str, host: str, mac: str) -> None:
        """A permanent neighbour: nothing ever has to ask for it, so nothing can fail to answer."""
        index = self._index(namespace, device)
        self._call(namespace, lambda ip: ip.neigh("replace", dst=host, lladdr=mac, ifindex=index, state=NUD_PERMANENT))

    def route(self, namespace: str, cidr: str, device: str, via: str | None = None, table: int = 254) -> None:
        index = self._index(namespace, device)
        hop: dict[str, Any] = {"gateway": via, "flags": ONLINK} if via else {"scope": 253}  # link, rtnetlink(7)
        self._call(namespace, lambda ip: ip.route("replace", dst=cidr, oif=index, table=table, **hop))

    def no_route(self, namespace: str, cidr: str, table: int = 254) -> None:
        self._forgiving(namespace, lambda ip: ip.route("del", dst=cidr, table=table))

    def silence(self, namespace: str, cidr: str = "0.0.0.0/0", table: int = 254, metric: int = SILENT_METRIC) -> None:
        """Packets to these addresses vanish. Without it Linux answers with an ICMP error, which AWS does not."""
        blackhole: dict[str, Any] = {"dst": cidr, "type": "blackhole", "table": table}
        if metric:
            blackhole["priority"] = metric
        self._call(namespace, lambda ip: ip.route("replace", **blackhole))

    def rule(self, namespace: str, priority: int, table: int, verb: str = "add", **match: str) -> None:
        self._forgiving(namespace, lambda ip: ip.rule(verb, priority=priority, table=table, **match))

    def _call(self, namespace: str, action: Callable[[IPRoute], T]) -> T:
        return self._submit(namespace, action).result()

    def _forgiving(self, namespace: str, action: Callable[[IPRoute], object]) -> None:
        """No complaint when it was done before: no verb of the lab raises for a repeat."""
        try:
            self._call(namespace, action)
        except NetlinkError as error:
            if error.code not in (2, 3, 17):  # ENOENT, ESRCH: not there; EEXIST: there already
                raise

    def _submit(self, namespace: str, action: Callable[[IPRoute], T]) -> Future[T]:
        def run() -> T:
            if namespace not in self._sockets:
                if namespace != HERE:
                    _enter(_path(namespace))
                try:
                    self._sockets[namespace] = IPRoute()
                finally:
                    _checked(_libc.setns(self._home, CLONE_NEWNET), "setns home")
            return action(self._sockets[namespace])

        return self._netlink.submit(run)

    def _index(self, namespace: str, device: str) -> int:
        key = (namespace, device)
        if key not in self._indices:
            self._indices[key] = self._call(namespace, lambda ip: int(ip.link_lookup(ifname=device)[0]))
        return self._indices[key]


def _path(namespace: str) -> Path:
    return NAMED / (PREFIX + namespace)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _enter(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.setns(descriptor, CLONE_NEWNET), f"setns {path}")
    finally:
        os.close(descriptor)


def _in_a_thread(work: Callable[[], T]) -> T:
    """The thread dies with its work, so a namespace it entered never leaks into other work."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, name="in-namespace", daemon=True)
    thread.start()
    thread.join()
    return future.result()
