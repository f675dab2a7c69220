"""A virtual machine as a guest of the lab's network.

Made by `network.Network.boot` in place of a guest that is a namespace. The machine gets its address by DHCP and
its user data from instance metadata, as on EC2; the lab speaks to it through QEMU's guest agent, not over the network.
May not import boto3, moto or anything of `api`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from natkeeper_lab.network.guest import BootResult, Guest
from natkeeper_lab.network.interface import Interface
from natkeeper_lab.network.kernel import Kernel
from natkeeper_lab.network.metadata import Metadata
from natkeeper_lab.network.security_group import TOWARDS_GUEST
from natkeeper_lab.vm.agent import Agent
from natkeeper_lab.vm.image import Image

MEMORY_MB = 512  # of a t4g.nano
KVM_TRIAL_SECONDS = 3.0  # where KVM does not work, QEMU ends at once
IDENTITY = "ec2f00d0-0000-4000-8000-000000000001"  # begins with ec2: by this cloud-init knows EC2 (its ds-identify)
SWITCHED_OFF_SECONDS = 60.0

# What a NAT must never send, counted where its packets enter the VPC: a private source, and a reset to the internet.
COUNTERS = """
table ip seen {
  counter untranslated { }
  counter resets { }
  chain leaving {
    type filter hook prerouting priority -400; policy accept;
    iifname != "guest" return
    ip daddr 10.0.0.0/8 return
    ip saddr 10.0.0.0/8 ip saddr != SUBNET counter name untranslated
    ip saddr SUBNET tcp flags & rst == rst counter name resets
  }
}
"""


class Machine(Guest):
    """`disk` is written to and outlives the machine, as a volume outlives an instance that is stopped."""

    def __init__(
        self, image: Image, disk: Path, kernel: Kernel, instance_id: str, interface: Interface, user_data: str
    ) -> None:
        super().__init__(kernel, instance_id, interface, user_data)
        self._image, self._disk = image, disk
        self._folder = disk.parent
        self._qemu: subprocess.Popen[Any] | None = None
        self.agent = Agent(self._folder / "agent")
        self.console = self._folder / "console"

    def power_on(self, device: str) -> None:
        """Returns when the machine has power. `device` is named by the machine itself."""
        self._metadata = Metadata(self._kernel, self.interface, self.instance_id, self.user_data)
        self.interface.wire_machine(self._kernel, self.instance_id)
        self._start(self._dhcp())
        self._kernel.nft(self.interface.namespace, COUNTERS.replace("SUBNET", str(self.interface.subnet)))
        self._qemu = self._start(self._command(device))

    def power_off(self) -> None:
        """As EC2 stops an instance: the machine is asked to, and loses its power when it does not."""
        if self._qemu and self._qemu.poll() is None:
            self.agent.shut_down(self._qemu, SWITCHED_OFF_SECONDS)
        self._kernel.nft(self.interface.namespace, "delete table ip seen\n")
        super().power_off()

    def run_user_data(self) -> BootResult:
        """cloud-init does."""
        return BootResult(None, "", 0.0)

    def seen(self, counter: str) -> int:
        """Packets that a NAT must never send, since power came on: `untranslated` or `resets`."""
        command = ["nft", "list", "counter", "ip", "seen", counter]
        text = self._kernel.inside(
            self.interface.namespace, lambda: subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )
        return int(text.split("packets ")[1].split()[0])

    def _start(self, command: list[str]) -> subprocess.Popen[Any]:
        process: subprocess.Popen[Any] = self._kernel.inside(
            self.interface.namespace,
            lambda: subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL),
        )
        self.adopt(process)
        return process

    def _dhcp(self) -> list[str]:
        """The lease of the primary address alone, as in a VPC; secondary ones are only in instance metadata."""
        primary, mac = self.interface.addresses[0], self.interface.guest_mac
        return [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file", "--port=0"),
            *(f"--interface={TOWARDS_GUEST}", "--bind-interfaces", f"--dhcp-leasefile={self._folder / 'leases'}"),
            f"--dhcp-range={primary},static,{self.interface.subnet.netmask},1h",
            *(f"--dhcp-host={mac},{primary}", f"--dhcp-option=3,{self.interface.subnet_gateway}"),
        ]

    def _command(self, device: str) -> list[str]:
        """Slot 5 names the interface ens5, as on EC2's Nitro. Emulated, mitigations only cost time."""
        accelerator = "kvm" if has_kvm() else "tcg"
        return [
            *("qemu-system-x86_64", "-nodefaults", "-machine", "pc", "-display", "none", "-smp", "2"),
            *("-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else "max", "-m", str(MEMORY_MB)),
            *("-smbios", f"type=1,manufacturer=Amazon EC2,product=t3.nano,serial={IDENTITY},uuid={IDENTITY}"),
            *("-drive", f"file={self._disk},format=raw,if=virtio,cache=unsafe", "-device", "virtio-rng-pci"),
            *("-netdev", f"tap,id=n,ifname={TOWARDS_GUEST},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=n,mac={self.interface.guest_mac},addr={device.removeprefix('ens')}"),
            *("-device", "virtio-serial", "-device", "virtserialport,chardev=a,name=org.qemu.guest_agent.0"),
            *("-chardev", f"socket,path={self.agent.path},server=on,wait=off,id=a"),
            *("-serial", f"file:{self.console}"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd)),
            *("-append", "root=LABEL=root rw console=ttyS0 quiet systemd.show_status=1 mitigations=off"),
        ]


def has_kvm() -> bool:
    """Whether a machine of this kind runs with the processor's help. The device's presence alone does not tell."""
    if not Path("/dev/kvm").exists():
        return False
    trial = ["qemu-system-x86_64", "-nodefaults", "-accel", "kvm", "-cpu", "host", "-m", "64", "-display", "none"]
    try:
        subprocess.run(trial, timeout=KVM_TRIAL_SECONDS, stderr=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return True
    return False
