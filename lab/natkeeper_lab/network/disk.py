"""What a guest keeps while it is off: the part of its file system that its user data writes to.

Made by `network.network` at an instance's first boot, and gone with the network. May not import boto3, moto or
anything of `api`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

STATE = Path("var/lib/natkeeper")
INSTALLED = STATE / "boot"
"""What the boot script's unit runs at every later boot, relative to the disk's root."""


class Disk:
    """cloud-init runs user data at an instance's first boot only: this knows whether that has been."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="natkeeper-disk-")
        self.root = Path(self._directory.name)
        self.has_booted = False

    def install(self, script: str) -> None:
        """The lab's guests have no systemd, so the lab keeps the script where the boot script keeps it for its unit;
        nothing is kept of a script that never began to set the machine up."""
        if (self.root / STATE).is_dir() and not self.has_installed:
            (self.root / INSTALLED).write_text(script)

    @property
    def has_installed(self) -> bool:
        """Something runs at the next boot."""
        return (self.root / INSTALLED).is_file()

    def wipe(self) -> None:
        """It is not there any more."""
        self._directory.cleanup()
