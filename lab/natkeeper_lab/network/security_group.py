"""A network interface's security group and source/dest check, as an nft ruleset for the interface's own namespace.

Called by `network.interface`. Pure: text in, text out. May not touch the kernel.

How AWS treats a packet from the middle of a TCP connection that a group has not seen is undocumented, and whether
connections survive a move depends on it, so both possibilities are real rulesets here (see `MidStream`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from natkeeper_lab.packets import SecurityRule

MidStream = Literal["accept", "refuse"]
TOWARDS_VPC, TOWARDS_GUEST = "vpc", "guest"  # the two ends of an interface's namespace
EVERYWHERE = "0.0.0.0/0"
_PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp", "all": "-1"}  # EC2 also takes IANA numbers


def conntrack_settings(mid_stream: MidStream) -> dict[str, int]:
    """With loose off, Linux calls an unknown mid-stream packet invalid, and the ruleset drops what is invalid."""
    return {
        "net.netfilter.nf_conntrack_tcp_loose": int(mid_stream == "accept"),
        "net.netfilter.nf_conntrack_tcp_be_liberal": 1,  # the open question is unknown flows, not windows
    }


def ruleset(
    addresses: Sequence[str], ingress: Sequence[SecurityRule], egress: Sequence[SecurityRule], is_checked: bool
) -> str:
    """The whole ruleset; loading it replaces the former one in one transaction and keeps tracked connections."""
    check = [
        f'    iifname "{TOWARDS_GUEST}" ip saddr != {{ {", ".join(addresses)} }} drop',
        f'    iifname "{TOWARDS_VPC}" ip daddr != {{ {", ".join(addresses)} }} drop',
    ]
    # Not tracked when everything is allowed both ways: EC2 user guide, "Security group connection tracking".
    stateless = any(map(_is_everything, ingress)) and any(map(_is_everything, egress))
    verdict = ["    accept"] if stateless else ["    ct state invalid drop", "    ct state established,related accept"]
    return "\n".join(
        [
            "table inet interface",
            "delete table inet interface",
            "table inet interface {",
            "  chain tracking {",
            "    type filter hook prerouting priority -300; policy accept;",
            *(["    notrack"] if stateless else []),
            "  }",
            "  chain ingress {",
            *(f"    {_match(rule, 'saddr')} accept" for rule in ingress),
            "    drop",
            "  }",
            "  chain egress {",
            *(f"    {_match(rule, 'daddr')} accept" for rule in egress),
            "    drop",
            "  }",
            "  chain crossing {",
            "    type filter hook forward priority 0; policy drop;",
            *(check if is_checked else []),
            *verdict,
            f'    iifname "{TOWARDS_VPC}" goto ingress',
            f'    iifname "{TOWARDS_GUEST}" goto egress',
            "  }",
            "}",
            "",
        ]
    )


def _is_everything(rule: SecurityRule) -> bool:
    return rule.cidr == EVERYWHERE and _protocol(rule) == "-1"


def _protocol(rule: SecurityRule) -> str:
    return _PROTOCOLS.get(rule.protocol, rule.protocol)


def _match(rule: SecurityRule, side: Literal["saddr", "daddr"]) -> str:
    where = f"ip {side} {rule.cidr}"
    protocol = _protocol(rule)
    if protocol == "-1":
        return where
    low, high = rule.from_port, rule.to_port
    if protocol == "icmp":
        kinds = [
            f"icmp {field} {number}" for field, number in (("type", low), ("code", high)) if number not in (None, -1)
        ]
        return " ".join([where, "ip protocol icmp", *kinds])
    if low in (None, -1) or (low, high) == (0, 65535):
        return f"{where} ip protocol {protocol}"
    return f"{where} {protocol} dport {low}-{high if high is not None else low}"
