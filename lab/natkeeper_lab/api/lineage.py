"""How often each function ran in one chain of functions, as the X-Ray header tells it; and when that is a loop.

Used by `api.functions`. The runtime client puts the header into a function's environment and every AWS SDK into the
calls it makes from there, so the chain is followed through real clients; destinations are Lambda's own and hand it on.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html

`Lineage` is documented by example only (`Lineage=43e12f0f:5`); several functions, separated by `|`, are the lab's way.
"""

from __future__ import annotations

import re
import secrets
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

LIMIT = 16
"""Invocations of one function in one chain. AWS says "approximately 16 times"."""
_LINEAGE = re.compile(r"Lineage=([0-9a-f:|]+)")
_ROOT = re.compile(r"Root=([0-9a-fA-F-]+)")
_COUNT = re.compile(r"([0-9a-f]{8}):(\d+)")


def _new_root() -> str:
    """https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-traceids"""
    return f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"


@dataclass(frozen=True)
class Lineage:
    counts: Mapping[str, int] = field(default_factory=dict)
    root: str = field(default_factory=_new_root)

    @classmethod
    def of(cls, header: str) -> Lineage:
        """What an X-Amzn-Trace-Id header says; a new chain when it says nothing. SDKs quote what they send."""
        header = unquote(header)
        root, counted = _ROOT.search(header), _LINEAGE.search(header)
        counts = {name: int(count) for name, count in _COUNT.findall(counted[1])} if counted else {}
        return cls(counts, root[1]) if root else cls(counts)

    def entering(self, arn: str) -> Lineage:
        """The chain with one more invocation of this function."""
        name = _short(arn)
        return Lineage({**self.counts, name: self.counts.get(name, 0) + 1}, self.root)

    def is_loop_of(self, arn: str) -> bool:
        """Whether this function has run more often in the chain than Lambda lets it."""
        return self.counts.get(_short(arn), 0) > LIMIT

    @property
    def header(self) -> str:
        counts = "|".join(f"{name}:{count}" for name, count in self.counts.items())
        return f"Root={self.root};Parent={secrets.token_hex(8)};Sampled=0" + (f";Lineage={counts}" if counts else "")


def _short(arn: str) -> str:
    return f"{zlib.crc32(arn.encode()):08x}"
