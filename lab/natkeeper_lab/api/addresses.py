"""Public addresses of interfaces: which Elastic IP or auto-assigned address a private address has, and moving them.

The address and interface mends act through these functions with the world locked; the projection reads them.
May not import boto3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from natkeeper_lab.api.options import ApiOptions
from natkeeper_lab.api.pool import AddressPool


class AddressWorld(Protocol):
    """The part of `api.world.World` that moving addresses needs."""

    options: ApiOptions
    auto_pool: AddressPool


@dataclass(frozen=True, eq=False)
class UnderWay:
    """An association that packets do not follow yet. `former`: interface and private address to which they still go;
    None is nowhere."""

    former: tuple[Any, str] | None


def under_way(eip: Any) -> UnderWay | None:
    """The Elastic IP's association that packets do not follow yet, if it is one."""
    found: UnderWay | None = getattr(eip, "lab_under_way", None)
    return found


def packets_at(eip: Any) -> tuple[Any, str] | None:
    """Interface and private address to which packets for the Elastic IP go now, whatever the API shows."""
    if eip.eni is None:
        return None
    waiting = under_way(eip)
    return (eip.eni, eip.private_ip_address) if waiting is None else waiting.former


def auto_address(eni: Any) -> str | None:
    """The auto-assigned public address of the interface's primary private address."""
    found: str | None = getattr(eni, "lab_auto_address", None)
    return found


def elastic_at(eni: Any, private: str | None) -> Any:
    """The Elastic IP associated with this private address of the interface, or None."""
    return next(
        (eip for eip in eni.ec2_backend.addresses if eip.eni is eni and eip.private_ip_address == private), None
    )


def public_at(eni: Any, private: str | None) -> tuple[str, str] | None:
    """The public address and its owner as DescribeInstances shows them: the account's id, or `amazon`."""
    if eip := elastic_at(eni, private):
        return eip.public_ip, eni.ec2_backend.account_id
    if private == eni.private_ip_address and (auto := auto_address(eni)):
        return auto, "amazon"
    return None


def is_auto_wanted(eni: Any) -> bool:
    """The interface's AssociatePublicIpAddress attribute."""
    return str(eni.public_ip_auto_assign).lower() == "true"


def grow_auto_address(world: AddressWorld, eni: Any) -> None:
    """Assign an auto-assigned public address if the interface wants one and its primary address is bare.

    None comes while a secondary private address has an Elastic IP:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html
    """
    if has_elastic_on_a_secondary(eni):
        return
    primary = getattr(eni, "private_ip_address", None)
    if not is_auto_wanted(eni) or auto_address(eni) or (primary and elastic_at(eni, primary)):
        return
    used = {auto_address(other) for other in eni.ec2_backend.enis.values()}
    eni.lab_auto_address = world.auto_pool.take({address for address in used if address})


def has_elastic_on_a_secondary(eni: Any) -> bool:
    """A new interface is asked before it has addresses, and has none."""
    primary = getattr(eni, "private_ip_address", None)
    return any(eip.eni is eni and eip.private_ip_address != primary for eip in eni.ec2_backend.addresses)


def drop_auto_address(eni: Any) -> None:
    eni.lab_auto_address = None
