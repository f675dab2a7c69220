"""The guest behind an interface: its namespace, its user data, its processes, and the faults it can suffer.

Called by `network.network`. May not import boto3, moto or anything of `api`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from natkeeper_lab.network.disk import INSTALLED, Disk
from natkeeper_lab.network.interface import Interface
from natkeeper_lab.network.kernel import Kernel
from natkeeper_lab.network.metadata import Metadata

ISOLATE = Path(__file__).with_name("isolate.py")
SMALLEST_BURST = 3000  # two full packets: a limiter that takes not even one lets nothing through
USER_DATA_SECONDS = 60.0  # longer than any boot in the lab; a script that hangs must not hang the lab
# What a distribution starts with, and a NAT must change: the lab would prove nothing if it started out right.
AS_INSTALLED = {
    "net.ipv4.conf.all.rp_filter": 1,
    "net.ipv4.conf.default.rp_filter": 1,
    "net.ipv4.conf.all.send_redirects": 1,
    "net.ipv4.conf.default.send_redirects": 1,
}


@dataclass(frozen=True)
class BootResult:
    """`exit_code` is None without a script; negative is a signal, as when the guest was switched off meanwhile."""

    exit_code: int | None
    console: str
    seconds: float

    @property
    def is_ok(self) -> bool:
        return self.exit_code in (None, 0)


@dataclass(frozen=True)
class Faults:
    is_hung: bool = False
    drops_forwarding: bool = False
    loss_percent: float = 0
    megabits: float = 0
    """What is carried in a second, both ways together; 0 is whatever comes."""
    takes_no_new_flows: bool = False


class Guest:
    def __init__(self, kernel: Kernel, instance_id: str, interface: Interface, user_data: str) -> None:
        self._kernel = kernel
        self.volume: Disk
        self.instance_id = instance_id
        self.interface = interface
        self.user_data = user_data
        self.faults = Faults()
        self._metadata: Metadata | None = None
        self._processes: list[subprocess.Popen[Any]] = []

    @property
    def namespace(self) -> str:
        return self.instance_id

    def power_on(self, device: str) -> None:
        self._kernel.create(self.namespace, AS_INSTALLED)
        self._metadata = Metadata(self._kernel, self.interface, self.instance_id, self.user_data)
        self.interface.wire(self._kernel, self.namespace, device)

    def power_off(self) -> None:
        """The cable goes first: a process inside keeps a deleted namespace alive, and forwarding."""
        self.interface.unwire(self._kernel)
        for process in self._processes:
            _kill(process)
        if self._metadata:
            self._metadata.close()
        self._kernel.delete(self.namespace)

    def adopt(self, process: subprocess.Popen[Any]) -> None:
        self._processes = [known for known in self._processes if known.poll() is None] + [process]

    def boot(self) -> BootResult:
        """User data at the instance's first boot; later what that installed, as its unit would.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html
        """
        is_first, self.volume.has_booted = not self.volume.has_booted, True
        if not is_first:
            return self._run("", f"/{INSTALLED}") if self.volume.has_installed else BootResult(None, "", 0.0)
        result = self.run_user_data()
        self.volume.install(self.user_data)
        return result

    def run_user_data(self) -> BootResult:
        """Runs the script to its end. Never raises for what the script does: an instance boots all the same."""
        return self._run(self.user_data) if self.user_data.startswith("#!") else BootResult(None, "", 0.0)

    def _run(self, script: str, *installed: str) -> BootResult:
        started = time.monotonic()
        process = self._kernel.inside(self.namespace, lambda: self._isolated(*installed))
        self.adopt(process)
        try:
            console, _ = process.communicate(script.encode(), USER_DATA_SECONDS)
        except subprocess.TimeoutExpired:
            _kill(process)
            console, _ = process.communicate()
            console += f"user data killed after {USER_DATA_SECONDS:.0f} s\n".encode()
        return BootResult(process.returncode, console.decode(errors="replace"), time.monotonic() - started)

    def suffer(self, faults: Faults) -> None:
        self.faults = faults
        self._kernel.nft(self.namespace, _fault_rules(faults))

    def forget_rules(self) -> None:
        self._kernel.nft(self.namespace, "flush ruleset\n")
        self.suffer(self.faults)

    def _isolated(self, *installed: str) -> subprocess.Popen[Any]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(ISOLATE), str(self.volume.root), *installed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C"},
            start_new_session=True,
        )


def _kill(process: subprocess.Popen[Any]) -> None:
    """With its children: each was started as leader of its own process group."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)


def _fault_rules(faults: Faults) -> str:
    """In a table of its own, before all others, so that the guest's rules stay as its boot script made them."""
    lost = round(faults.loss_percent * 100)
    loss = f"numgen random mod 10000 < {lost} drop" if lost else ""
    full = "ct state new drop" if faults.takes_no_new_flows else ""
    return f"""
table inet lab_faults
delete table inet lab_faults
table inet lab_faults {{
  chain arriving {{
    type filter hook prerouting priority -450; policy accept;
    iifname "lo" accept
    {"drop" if faults.is_hung else loss}
    {_limit(faults.megabits)}
  }}
  chain tracked {{
    type filter hook prerouting priority -150; policy accept;
    iifname "lo" accept
    {full}
  }}
  chain sending {{
    type filter hook output priority -450; policy accept;
    oifname "lo" accept
    {"drop" if faults.is_hung else ""}
  }}
  chain crossing {{
    type filter hook forward priority -450; policy accept;
    {"drop" if faults.drops_forwarding else ""}
  }}
}}
"""


def _limit(megabits: float) -> str:
    """What is above it is dropped, as EC2 does above an instance's allowance; a tenth of a second's worth may come at
    once.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-network-performance-ena.html
    """
    if not megabits:
        return ""
    rate = max(1, round(megabits * 1_000_000 / 8))
    return f"limit rate over {rate} bytes/second burst {max(SMALLEST_BURST, rate // 10)} bytes drop"
