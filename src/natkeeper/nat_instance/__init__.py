"""What boots on a NAT instance: renders the user data, and names its generation.

Called by the adapter that launches instances, and by the lab, which boots the very same text.
May not import boto3 or read the environment; it reads only the files beside it.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from importlib.resources import files
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Literal

MAX_USER_DATA_BYTES = 16 * 1024  # raw, before base64: EC2 user guide, "Run commands when you launch an EC2 instance"
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # it ends up in log lines of the instance
_ALLOWED = {"web": "tcp dport { 80, 443 }", "all": ""}


@dataclass(frozen=True)
class NatProfile:
    """What one NAT instance translates.

    `hosted` holds the private CIDRs of the other groups this NAT may carry, in ring order: the k-th is translated to
    the k-th secondary private address (sorted as numbers), or to the primary where there are not that many. A standby
    has no `own_cidrs`: it hosts its own group, so that its primary may keep a public address for the canary.
    """

    group: str
    own_cidrs: tuple[str, ...]
    hosted: tuple[tuple[str, ...], ...] = ()
    egress_profile: Literal["web", "all"] = "all"
    canary_address: str | None = None


def render_user_data(profile: NatProfile) -> str:
    """The script a NAT instance boots with. ValueError when the profile makes no sense or the script grows too big."""
    text = "\n".join([*_settings(profile), _without_comments(_file("boot.sh")), ""])
    if len(text.encode()) > MAX_USER_DATA_BYTES:
        raise ValueError(f"user data of {len(text.encode())} bytes; EC2 takes {MAX_USER_DATA_BYTES}")
    return text


def generation(profile: NatProfile, launch_template_version: str) -> str:
    """Twelve hex digits that change whenever an instance launched now would differ from one launched before."""
    return hashlib.sha256(f"{launch_template_version}\n{render_user_data(profile)}".encode()).hexdigest()[:12]


def _settings(profile: NatProfile) -> list[str]:
    if not _GROUP.fullmatch(profile.group):
        raise ValueError(f"group {profile.group!r}: letters, digits, dots, dashes and underscores only")
    if profile.egress_profile not in _ALLOWED:
        raise ValueError(f"egress profile {profile.egress_profile!r}: web or all")
    if not profile.own_cidrs and not any(profile.hosted):
        raise ValueError(f"group {profile.group} has no private CIDR to translate")
    canary = str(IPv4Address(profile.canary_address)) if profile.canary_address else ""
    hosted = " ".join(shlex.quote(_cidrs(group)) for group in profile.hosted if group)
    return [
        "#!/bin/bash",
        f"GROUP={shlex.quote(profile.group)}",
        f"OWN={shlex.quote(_cidrs(profile.own_cidrs))}",
        f"HOSTED=({hosted})",
        f"PRIVATE={shlex.quote(_cidrs(sum(profile.hosted, profile.own_cidrs)))}",
        f"CANARY={shlex.quote(canary)}",
        f"ALLOWED={shlex.quote(_ALLOWED[profile.egress_profile])}",
        f"RULESET={shlex.quote(_without_comments(_file('ruleset.nft')))}",
        f"SYSCTL={shlex.quote(_without_comments(_file('sysctl.conf')))}",
    ]


def _cidrs(cidrs: tuple[str, ...]) -> str:
    """For an nft set, which takes no two elements that overlap."""
    return ", ".join(map(str, collapse_addresses(IPv4Network(cidr) for cidr in cidrs)))


def _without_comments(text: str) -> str:
    """Comments are for readers of the repository; the instance has 16 KB."""
    return "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def _file(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
