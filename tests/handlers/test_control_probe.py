"""The adapter's control probe: what the controller makes of what it sees from outside the VPC."""

from __future__ import annotations

from typing import Any, cast

import pytest

from natkeeper.adapters.prober import LambdaProber, ProbeSettings
from natkeeper.core.model import ControlProbe
from natkeeper.probing.engine import ControlProbe as Seen


def asked(*targets: str) -> ControlProbe:
    """Of a prober's adapter whose client is not needed."""
    settings = ProbeSettings({}, targets, interval=1.0, timeout=0.2, rounds_to_fail=3, canary=None)
    return LambdaProber(cast(Any, None), settings).control()


def test_names_that_nobody_can_resolve_are_no_nats_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulation, seed 300110218."""
    blind = Seen(None, {"tcp://one.example:443": "no name"})
    monkeypatch.setattr("natkeeper.adapters.prober.control_probe", lambda *_: blind)
    found = asked("tcp://one.example:443")
    assert not found.is_ok
    assert "name" in found.detail


def test_targets_that_refuse_are_named() -> None:
    found = asked("tcp://127.0.0.1:1", "tcp://127.0.0.1:2", "tcp://127.0.0.1:3")
    assert not found.is_ok
    assert "tcp://127.0.0.1:1 " in found.detail
