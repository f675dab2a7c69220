"""Writes what natkeeper needs of botocore's model of EC2 to src/natkeeper/models, from the botocore installed here.

Usage: python -m tools.trim_model. Run it when an adapter calls another operation of EC2. The whole model has 750
operations in 4 MB, and making a client of it is a third of the controller's cold start (docs/decisions.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.session

SERVICE, VERSION = "ec2", "2016-11-15"
TARGET = Path(__file__).resolve().parents[1] / "src" / "natkeeper" / "models" / SERVICE / VERSION / "service-2.json"
OPERATIONS = (
    "AssociateAddress",
    "CreateRoute",
    "DescribeAddresses",
    "DescribeInstanceStatus",
    "DescribeInstances",
    "DescribeRouteTables",
    "DescribeSpotInstanceRequests",
    "ModifyNetworkInterfaceAttribute",
    "ReplaceRoute",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
)
"""What `natkeeper.adapters.ec2` calls; a test compares."""


def trimmed() -> dict[str, Any]:
    """The model with these operations, the shapes they lead to, and no documentation."""
    whole = botocore.session.get_session().get_component("data_loader").load_service_model(SERVICE, "service-2")
    operations = {name: whole["operations"][name] for name in OPERATIONS}
    shapes = {name: whole["shapes"][name] for name in sorted(_reached(operations, whole["shapes"]))}
    kept = {"version": whole["version"], "metadata": whole["metadata"], "operations": operations, "shapes": shapes}
    return dict(_undocumented(kept))


def _reached(operations: Mapping[str, Any], shapes: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = list(_named(operations))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _named(shapes[name])
    return found


def _named(node: Any) -> Iterator[str]:
    """The shapes that a part of a model refers to."""
    if isinstance(node, list):
        for each in node:
            yield from _named(each)
    elif isinstance(node, dict):
        if isinstance(node.get("shape"), str):
            yield node["shape"]
        for each in node.values():
            yield from _named(each)


def _undocumented(node: Any) -> Any:
    if isinstance(node, list):
        return [_undocumented(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {key: _undocumented(each) for key, each in node.items() if not _is_text(key, each)}


def _is_text(key: str, value: Any) -> bool:
    """A member of a shape may be called `documentation` too, but is no text."""
    return key in ("documentation", "documentationUrl") and isinstance(value, str)


def main() -> None:
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(trimmed(), separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{TARGET}: {TARGET.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
