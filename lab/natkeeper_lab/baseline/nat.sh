#!/bin/bash
# The NAT instance of the baseline: what tutorials and the published modules run, in nftables' words.
set -eu
sysctl -q -w net.ipv4.ip_forward=1
device=$(ip -4 route show default | awk '{ for (i = 1; i < NF; i++) if ($i == "dev") { print $(i + 1); exit } }')
nft -f - <<RULES
table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "$device" masquerade
  }
}
RULES
