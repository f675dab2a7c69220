"""Writes what natkeeper needs of botocore's data to src/natkeeper/models, from the botocore installed here.

Usage: python -m tools.trim_model. Run it when an adapter calls another operation of AWS's. EC2's model alone has 750
operations in 4 MB, and making a client of it is a third of the controller's cold start (docs/decisions.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.session

TARGET = Path(__file__).resolve().parents[1] / "src" / "natkeeper" / "models"
VERSIONS = {"ec2": "2016-11-15", "dynamodb": "2012-08-10", "lambda": "2015-03-31"}
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "ec2": (
        "AssociateAddress",
        "CreateRoute",
        "DescribeAddresses",
        "DescribeInstanceStatus",
        "DescribeInstances",
        "DescribeRouteTables",
        "DescribeSpotInstanceRequests",
        "DisassociateAddress",
        "ModifyNetworkInterfaceAttribute",
        "ReplaceRoute",
        "RunInstances",
        "StartInstances",
        "StopInstances",
        "TerminateInstances",
    ),
    "dynamodb": ("PutItem", "Query", "UpdateItem"),
    "lambda": ("Invoke",),
}
"""What the adapters `ec2`, `ledger` and `prober` call; a test compares."""
ENDPOINTS_OF = (*OPERATIONS, "sns")


def trimmed(service: str) -> dict[str, Any]:
    """The service's model with these operations, the shapes they lead to, and no documentation."""
    whole = _loader().load_service_model(service, "service-2")
    operations = {name: whole["operations"][name] for name in OPERATIONS[service]}
    shapes = {name: whole["shapes"][name] for name in sorted(_reached(operations, whole["shapes"]))}
    kept = {"version": whole["version"], "metadata": whole["metadata"], "operations": operations, "shapes": shapes}
    return dict(_undocumented(kept))


def endpoints() -> dict[str, Any]:
    """Every partition with its regions, and of its services those that natkeeper calls."""
    whole = _loader().load_data("endpoints")
    return {**whole, "partitions": [_with_few_services(partition) for partition in whole["partitions"]]}


def _with_few_services(partition: Mapping[str, Any]) -> dict[str, Any]:
    services = {name: each for name, each in partition["services"].items() if name in ENDPOINTS_OF}
    return {**partition, "services": services}


def _loader() -> Any:
    return botocore.session.get_session().get_component("data_loader")


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
    """Writes the files, and says how large they are."""
    for service, version in VERSIONS.items():
        _write(TARGET / service / version / "service-2.json", trimmed(service))
    _write(TARGET / "endpoints.json", endpoints())


def _write(target: Path, data: Mapping[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{target}: {target.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
