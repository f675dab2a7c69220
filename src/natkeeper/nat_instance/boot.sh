# Turns this machine into a NAT: addresses, then translation rules, and forwarding last, so that no packet is ever
# forwarded untranslated. Runs at every boot and once a minute, and changes nothing when nothing is to change.
# The settings above this line come from natkeeper.nat_instance; the addresses come from instance metadata.
set -euo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
STATE=/var/lib/natkeeper
IMDS=http://169.254.169.254/latest

say() { echo "natkeeper[$GROUP]: $*"; }
fail() {
  say "boot failed: $*" >&2
  exit 1
}

device_of_default_route() {
  # Waited for: at boot this can run before DHCP has answered.
  local device
  for _ in $(seq 60); do
    device=$(ip -4 route show default | awk '{ for (i = 1; i < NF; i++) if ($i == "dev") { print $(i + 1); exit } }')
    [ -n "$device" ] && echo "$device" && return
    sleep 0.5
  done
  return 1
}

metadata() { # IMDSv2 only: the launch template requires it
  curl --noproxy '*' --silent --show-error --fail --max-time 2 --retry 8 --retry-connrefused --retry-delay 1 \
    -H "X-aws-ec2-metadata-token: $TOKEN" "$IMDS/meta-data/$1"
}

read_addresses() {
  TOKEN=$(curl --noproxy '*' --silent --show-error --fail --max-time 2 --retry 8 --retry-connrefused --retry-delay 1 \
    -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$IMDS/api/token") || fail "no instance metadata token"
  local mac all
  mac=$(metadata mac) || fail "instance metadata names no interface"
  all=$(metadata "network/interfaces/macs/$mac/local-ipv4s") || fail "instance metadata lists no private address"
  PRIMARY=$(metadata local-ipv4) || fail "instance metadata names no primary address"
  # Sorted as numbers, because controller and instance must agree on which is the k-th without talking to each other.
  mapfile -t SECONDARIES < <(echo "$all" | awk -v p="$PRIMARY" '$0 != p' | sort -t . -k 1,1n -k 2,2n -k 3,3n -k 4,4n)
}

bring_up_secondaries() {
  local address
  for address in "${SECONDARIES[@]}"; do
    ip address replace "$address/32" dev "$DEVICE" || fail "cannot add $address to $DEVICE"
  done
}

install_nft() {
  # Amazon Linux 2023 may come without it. An image that has it needs no network here, only instance metadata.
  command -v nft >/dev/null && return
  command -v dnf >/dev/null || fail "no nft on this machine and no dnf to install it"
  for _ in $(seq 20); do
    dnf --assumeyes --quiet install nftables && command -v nft >/dev/null && return
    say "nftables not installed yet, trying again"
    sleep 5
  done
  fail "cannot install nftables"
}

landings() {
  # One rule per group. A hosted group beyond the number of secondary addresses leaves from the primary.
  [ -z "$OWN" ] || echo "    ip saddr { $OWN } snat to $PRIMARY"
  local k
  for k in "${!HOSTED[@]}"; do
    echo "    ip saddr { ${HOSTED[$k]} } snat to ${SECONDARIES[$k]:-$PRIMARY}"
  done
}

write_ruleset() {
  local canary=""
  [ -z "$CANARY" ] || canary="    ip daddr $CANARY snat to $PRIMARY"
  local line
  while IFS= read -r line; do
    case $line in
    *@CANARY@*) [ -z "$canary" ] || echo "$canary" ;;
    *@LANDINGS@*) landings ;;
    *)
      line=${line//@PRIVATE@/$PRIVATE}
      line=${line//@DEVICE@/$DEVICE}
      echo "${line//@ALLOWED@/$ALLOWED}"
      ;;
    esac
  done <<<"$RULESET"
}

load_ruleset() {
  local rules
  rules=$(write_ruleset)
  if [ "$rules" = "$(cat "$STATE/ruleset.nft" 2>/dev/null)" ] && nft list chain ip natkeeper landing >/dev/null 2>&1; then
    return
  fi
  nft -f - <<<"$rules" || fail "the kernel refuses the ruleset"
  echo "$rules" >"$STATE/ruleset.nft"
  say "ruleset loaded on $DEVICE: primary $PRIMARY, secondaries ${SECONDARIES[*]:-none}"
}

set_kernel() {
  local key value file
  while IFS=' =' read -r key value; do
    case $key in '' | \#*) continue ;; esac
    file=/proc/sys/${key//.//}
    file=${file//@DEVICE@/$DEVICE}
    [ "$(cat "$file" 2>/dev/null)" = "$value" ] || echo "$value" >"$file" || fail "cannot set $key to $value"
  done <<<"$SYSCTL"
}

size_conntrack() {
  # Machine-wide, so only where this script owns the machine. A tracked connection with its translation takes about
  # 0.5 KB of kernel memory; a quarter of the memory for them is half as many entries as there are KB.
  has_systemd || return 0
  local memory_kb entries
  memory_kb=$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)
  entries=$((memory_kb / 2 > 65536 ? memory_kb / 2 : 65536))
  echo "$entries" >/proc/sys/net/netfilter/nf_conntrack_max || fail "cannot set nf_conntrack_max to $entries"
  echo $((entries / 4)) >/sys/module/nf_conntrack/parameters/hashsize || say "nf_conntrack hash size left as it is"
}

has_systemd() { [ -d /run/systemd/system ]; }

install_units() {
  # cloud-init runs user data on the first boot only. The timer picks up an address assigned later, and repairs.
  has_systemd && [ ! -e /etc/systemd/system/natkeeper.timer ] || return 0
  install -m 600 "$0" "$STATE/boot"
  cat >/etc/systemd/system/natkeeper.service <<UNIT
[Unit]
Description=natkeeper: keep this machine a NAT
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
ExecStart=/bin/bash $STATE/boot
UNIT
  cat >/etc/systemd/system/natkeeper.timer <<UNIT
[Unit]
Description=natkeeper: at boot and every minute
[Timer]
OnBootSec=1
OnUnitActiveSec=60
AccuracySec=5
[Install]
WantedBy=timers.target
UNIT
  systemctl daemon-reload && systemctl enable --now natkeeper.timer || fail "cannot install the systemd timer"
}

main() {
  mkdir -p "$STATE"
  exec 9>"$STATE/lock" && flock 9
  DEVICE=$(device_of_default_route) || fail "no default route"
  install_units # before anything that can fail: the timer then tries again
  read_addresses
  bring_up_secondaries
  install_nft
  modprobe nf_conntrack 2>/dev/null || true # built in, or loaded with the ruleset
  load_ruleset
  size_conntrack
  set_kernel
}

main
