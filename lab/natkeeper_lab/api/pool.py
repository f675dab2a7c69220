"""A range of public addresses that are handed out in turn, so that a released one does not come back at once.

`api.world` holds one for Elastic IPs and one for auto-assigned addresses. May not import moto or boto3.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container


class AddressPool:
    def __init__(self, first: str, last: str) -> None:
        low, high = int(ipaddress.IPv4Address(first)), int(ipaddress.IPv4Address(last))
        self._addresses = [str(ipaddress.IPv4Address(number)) for number in range(low, high + 1)]
        self._next = 0

    def take(self, used: Container[str]) -> str | None:
        """The next address that is not in use; None when all are."""
        for _ in self._addresses:
            candidate = self._addresses[self._next]
            self._next = (self._next + 1) % len(self._addresses)
            if candidate not in used:
                return candidate
        return None
