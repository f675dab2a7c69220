"""The internet gateway, the internet behind it, and the lab's own foot in that internet.

Called by `network.network`. The gateway translates 1:1 and remembers nothing, so an Elastic IP moves with one
nft transaction and established connections cannot tell. May not import boto3, moto or anything of `api`.
"""

from __future__ import annotations

from collections.abc import Sequence

from natkeeper_lab.network import router
from natkeeper_lab.network.kernel import HERE, Kernel

NAMESPACE = "igw"
INTERNET = "internet"
INTERNET_CIDR = "203.0.113.0/24"  # TEST-NET-3, RFC 5737
WEB, TARGETS, CANARY = "203.0.113.10", ("203.0.113.11", "203.0.113.12", "203.0.113.13"), "203.0.113.99"
INTERNET_ADDRESSES = (WEB, *TARGETS, CANARY)
LAB_ADDRESS, LAB_LINK = "198.18.0.2", "198.18.0.1"  # 198.18.0.0/15 is for benchmarks, RFC 2544

# Both directions look at what the maps made of a packet: a private source without a public identity, or a public
# destination without a private one, is dropped in silence.
RULESET = """
table ip gateway {
  map outwards { type ipv4_addr : ipv4_addr; }
  map inwards { type ipv4_addr : ipv4_addr; }
  set public { type ipv4_addr; }
  set private { type ipv4_addr; }
  chain translate {
    type filter hook prerouting priority -300; policy accept;
    notrack
    iifname "vpc" ip saddr set ip saddr map @outwards
    iifname "internet" ip daddr set ip daddr map @inwards
  }
  chain crossing {
    type filter hook forward priority 0; policy drop;
    iifname "vpc" oifname "internet" ip saddr @public accept
    iifname "internet" oifname "vpc" ip daddr @private accept
  }
  chain itself {
    type filter hook input priority 0; policy drop;
  }
}
"""


class Gateway:
    def __init__(self, kernel: Kernel, vpc_cidr: str, internet_addresses: Sequence[str]) -> None:
        self._kernel = kernel
        self._vpc_cidr = vpc_cidr
        self._internet_addresses = internet_addresses
        self._private_by_public: dict[str, str] = {}

    def build(self) -> None:
        kernel = self._kernel
        kernel.create(NAMESPACE, {"net.ipv4.ip_forward": 1})
        kernel.create(INTERNET)
        kernel.cable(router.NAMESPACE, router.GATEWAY_DEVICE, NAMESPACE, "vpc")
        kernel.cable(NAMESPACE, "internet", INTERNET, "igw")
        kernel.cable(HERE, "internet", INTERNET, "lab")
        for namespace, device, cidr in (
            (router.NAMESPACE, router.GATEWAY_DEVICE, "169.254.1.1/30"),
            (NAMESPACE, "vpc", f"{router.GATEWAY}/30"),
            (NAMESPACE, "internet", "169.254.2.1/30"),
            (INTERNET, "igw", "169.254.2.2/30"),
            (INTERNET, "lab", f"{LAB_LINK}/30"),
            (HERE, "internet", f"{LAB_ADDRESS}/30"),
            *((INTERNET, "igw", f"{address}/32") for address in self._internet_addresses),
        ):
            kernel.address(namespace, device, cidr)
        kernel.route(NAMESPACE, self._vpc_cidr, "vpc", "169.254.1.1")
        kernel.route(NAMESPACE, "0.0.0.0/0", "internet", "169.254.2.2")
        kernel.route(INTERNET, "0.0.0.0/0", "igw", "169.254.2.1")
        kernel.route(HERE, INTERNET_CIDR, "internet", LAB_LINK)
        kernel.nft(NAMESPACE, RULESET)

    def map(self, public: str, private: str | None) -> None:
        """A public address has one private and the other way round: whoever held either loses it at once."""
        if self._private_by_public.get(public) == private:
            return
        gone = {here: there for here, there in self._private_by_public.items() if public == here or private == there}
        script = "".join(_elements("delete", here, there) for here, there in gone.items())
        if private is not None:
            script += _elements("add", public, private)
        self._kernel.nft(NAMESPACE, script)
        for here in gone:
            del self._private_by_public[here]
        if private is not None:
            self._private_by_public[public] = private


def access_rules(gateways: Sequence[str] | None) -> str:
    """Beside the translation, whose map must stay as it is: what is blocked now may be let in again.

    https://docs.aws.amazon.com/vpc/latest/userguide/security-vpc-bpa.html (ingress-only)
    """
    free = f"ip daddr {{ {', '.join(gateways)} }} accept" if gateways else ""
    drop = 'iifname "internet" oifname "vpc" drop' if gateways is not None else ""
    rules = f"chain entering {{ type filter hook forward priority 10; policy accept; {free}\n{drop}\n }}"
    return f"table ip access\ndelete table ip access\ntable ip access {{\n{rules}\n}}\n"


def _elements(verb: str, public: str, private: str) -> str:
    return (
        f"{verb} element ip gateway outwards {{ {private} : {public} }}\n"
        f"{verb} element ip gateway inwards {{ {public} : {private} }}\n"
        f"{verb} element ip gateway public {{ {public} }}\n"
        f"{verb} element ip gateway private {{ {private} }}\n"
    )
