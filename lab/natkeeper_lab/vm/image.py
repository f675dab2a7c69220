"""Builds the virtual machine's disk out of Debian's packages: `python -m natkeeper_lab.vm.image FOLDER`.

Called by `make vm`, outside of the sandbox, because it needs Debian's mirror; root, because a disk has files of many
owners. The image resembles Debian's own for EC2 (netplan and networkd, cloud-init, no ifupdown), which cannot be had
from a package mirror; docs/nat-instance.md says how they differ.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

RELEASE = "bookworm"
PACKAGES = (
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "systemd-resolved",
    "libnss-resolve",
    "dbus",
    "cloud-init",
    "netplan.io",
    "curl",
    "python3",
    "cloud-guest-utils",
    "qemu-guest-agent",  # how the lab speaks to the machine; no NAT needs it
    "ca-certificates",
)
UNREAD = ("doc", "man", "locale")  # folders of /usr/share that would only cost time to unpack
DISK = "3G"  # sparse; room for the swap file that the user data makes
AFTERWARDS = (
    'chroot "$1" dpkg --purge ifupdown',
    'chroot "$1" systemctl enable systemd-networkd',
    'echo "LABEL=root / ext4 rw,discard,errors=remount-ro 0 1" >"$1/etc/fstab"',
    'echo "locale: false" >"$1/etc/cloud/cloud.cfg.d/90_no_locales.cfg"',  # or cloud-init fails for want of them
    ': >"$1/etc/machine-id"; mkdir -p "$1/var/log/journal"',
)


@dataclass(frozen=True)
class Image:
    """What QEMU is given: a root file system as the disk, and the kernel and initial RAM disk that it holds."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "root.ext4"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe"


def build(folder: Path, release: str = RELEASE) -> Image:
    """The image in `folder`, built where it is not there yet or was built by another recipe. CalledProcessError."""
    image = Image(folder)
    recipe = hashlib.sha256(f"{release}\n{Path(__file__).read_text()}".encode()).hexdigest()
    if image.recipe.exists() and image.recipe.read_text() == recipe:
        return image
    shutil.rmtree(folder, ignore_errors=True)
    root = folder / "root"
    root.mkdir(parents=True)
    _install(root, release)
    _pack(root, image)
    shutil.rmtree(root)
    image.recipe.write_text(recipe)
    return image


def _install(root: Path, release: str) -> None:
    hooks = [f"--customize-hook={command}" for command in AFTERWARDS]
    unread = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNREAD]
    included = f"--include={','.join(PACKAGES)}"
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=important", included, *unread, *hooks]
    subprocess.run([*command, release, str(root)], check=True)


def _pack(root: Path, image: Image) -> None:
    subprocess.run(["truncate", "--size", DISK, str(image.disk)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-L", "root", "-d", str(root), str(image.disk)], check=True)
    shutil.copy(next(root.glob("boot/vmlinuz-*")), image.kernel)
    shutil.copy(next(root.glob("boot/initrd.img-*")), image.initrd)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("The image can only be built by root: its files belong to many users.")
    build(Path(sys.argv[1]), *sys.argv[2:])
