# Turns this machine into a NAT: guard, addresses, translation rules, and forwarding last. The rules mark what they see,
# and the guard routes nothing without that mark: with the rules gone, nothing is forwarded (docs/nat-instance.md).
# cloud-init runs this on the first boot, and systemd from then on. A pass is made at boot, once a minute, and when
# rules are deleted or addresses change. A pass that finds everything in place changes nothing and says nothing.
# The settings above this line come from natkeeper.nat_instance; the addresses come from instance metadata.
set -euo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
STATE=/var/lib/natkeeper
UNITS=/etc/systemd/system
REPOSITORIES=/etc/yum.repos.d
IMDS=http://169.254.169.254/latest
MARK=0x6e6b # "nk": no other program on a NAT instance marks packets
GUARD=100   # before the rules for further addresses that amazon-ec2-net-utils numbers from 10000
# What starts a package manager, or an update of its own, on Amazon Linux 2023's first boot.
RIVALS='amazon-ssm-agent.service dnf-makecache.timer dnf-makecache.service update-motd.timer update-motd.service'

say() { echo "natkeeper[$GROUP]: $*"; }
fail() {
  say "boot failed: $*" >&2
  exit 1
}

has_systemd() { [ -d /run/systemd/system ]; }

make_swap() {
  # dnf does not fit into 512 MB beside what else runs on a first boot (amazonlinux/amazon-linux-2023#404).
  # Machine-wide, so only where this script owns the machine.
  has_systemd && awk '/^MemTotal:/ { memory = $2 } /^SwapTotal:/ { swap = $2 }
    END { exit memory >= 1000000 || swap > 0 }' /proc/meminfo || return 0
  local file=$STATE/swap
  [ -e "$file" ] || { (umask 077 && fallocate --length 512MiB "$file.new") && mkswap "$file.new" >/dev/null &&
    mv "$file.new" "$file"; } || rm -f "$file.new"
  swapon "$file" || say "no swap: going on without"
}

device_of_default_route() {
  # Waited for: at boot this can run before DHCP has answered.
  local device
  for _ in $(seq 120); do
    device=$(ip -4 route show default | awk '{ for (i = 1; i < NF; i++) if ($i == "dev") { print $(i + 1); exit } }')
    [ -n "$device" ] && echo "$device" && return
    sleep 0.5
  done
  return 1
}

guard() {
  # Routing rules outlive `nft flush ruleset`. networkd deletes those of other programs, unless they say protocol kernel
  # (networkd.conf(5), ManageForeignRoutingPolicyRules).
  local rule
  for rule in "$GUARD fwmark $MARK lookup main" "$((GUARD + 1)) blackhole"; do
    [[ $(ip -4 rule show pref "${rule%% *}") == *" iif $DEVICE "* ]] && continue
    # shellcheck disable=SC2086 # words of a command
    ip -4 rule add pref $rule iif "$DEVICE" protocol kernel || fail "cannot guard $DEVICE"
  done
}

request() { # METHOD PATH HEADER. IMDSv2 only: the launch template requires it
  if command -v curl >/dev/null; then # all errors: cloud-init restarts networkd while this asks
    curl --noproxy '*' --silent --show-error --fail --max-time 2 --retry 8 --retry-all-errors --retry-delay 1 \
      -X "$1" -H "$3" "$IMDS/$2"
  else # cloud-init, which runs this, is written in Python
    python3 -c 'import sys, urllib.request as web
method, url, header = sys.argv[1:]
asked = web.Request(url, method=method, headers=dict([header.split(": ")]))
print(web.build_opener(web.ProxyHandler({})).open(asked, timeout=2).read().decode())' "$1" "$IMDS/$2" "$3"
  fi
}

metadata() { request GET "meta-data/$1" "X-aws-ec2-metadata-token: $TOKEN"; }

read_addresses() {
  TOKEN=$(request PUT api/token 'X-aws-ec2-metadata-token-ttl-seconds: 300') || fail "no instance metadata token"
  local mac all
  mac=$(metadata mac) || fail "instance metadata names no interface"
  all=$(metadata "network/interfaces/macs/$mac/local-ipv4s") || fail "instance metadata lists no private address"
  PRIMARY=$(metadata local-ipv4) || fail "instance metadata names no primary address"
  # Sorted as numbers, because controller and instance must agree on which is the k-th without talking to each other.
  mapfile -t SECONDARIES < <(echo "$all" | awk -v p="$PRIMARY" '$0 != p' | sort -t . -k 1,1n -k 2,2n -k 3,3n -k 4,4n)
}

addresses() { ip -4 -o address show dev "$DEVICE" "$@"; }

bring_up_secondaries() {
  # cloud-init's network configuration may have them already, under any prefix length. Ours carry a label.
  local label=$DEVICE:nk address cidr
  for address in "${SECONDARIES[@]}"; do
    [ -n "$(addresses to "$address/32")" ] || ip address add "$address/32" dev "$DEVICE" label "$label" ||
      fail "cannot add $address to $DEVICE"
  done
  for cidr in $(addresses label "$label" | awk '{ print $4 }'); do
    [[ " ${SECONDARIES[*]} " == *" ${cidr%/*} "* && $(addresses to "$cidr" | wc -l) -eq 1 ]] && continue
    ip address del "$cidr" dev "$DEVICE" && say "address $cidr removed from $DEVICE" || :
  done
}

keep_primary_first() {
  # networkd sets the addresses that cloud-init found before DHCP has answered. Linux calls the first of a subnet
  # primary, and takes it for the machine's own packets. Adding that one anew puts it behind EC2's primary.
  local _ cidr
  for _ in "${SECONDARIES[@]}"; do
    cidr=$(addresses to "$PRIMARY/32" | awk '/ secondary / { print $4 }')
    [ -n "$cidr" ] || return 0
    cidr=$(addresses primary | awk -v p="/${cidr#*/}" 'index($4, p) { print $4; exit }')
    [[ " ${SECONDARIES[*]} " == *" ${cidr%/*} "* ]] || return 0
    echo 1 >"/proc/sys/net/ipv4/conf/$DEVICE/promote_secondaries" || return 0 # or the others would go with it
    ip address del "$cidr" dev "$DEVICE" && ip address add "$cidr" brd + dev "$DEVICE" || return 0
    say "$PRIMARY goes first again"
  done
}

install_nft() {
  # Amazon Linux 2023 may come without it. An image that has it needs no network here, only instance metadata.
  command -v nft >/dev/null && return
  command -v dnf >/dev/null || fail "no nft on this machine and no dnf to install it"
  local only=()
  [ ! -e "$REPOSITORIES/amazonlinux.repo" ] || only=(--repo=amazonlinux)
  hold_rivals
  for _ in $(seq 20); do # dnf waits for another's lock; rpm gives up where it is held (aws/aws-cdk#36717)
    dnf --assumeyes --quiet "${only[@]}" --setopt=install_weak_deps=False --setopt=tsflags=nodocs install nftables || :
    command -v nft >/dev/null && break
    say "nftables not installed yet, trying again"
    sleep 5
  done
  release_rivals
  command -v nft >/dev/null || fail "cannot install nftables"
}

hold_rivals() {
  has_systemd || return 0
  touch "$STATE/rivals-held" # so that a pass after one that was killed lets them go
  # shellcheck disable=SC2086 # a list of units
  systemctl stop $RIVALS 2>/dev/null || :
}

release_rivals() {
  [ -e "$STATE/rivals-held" ] || return 0
  local unit
  for unit in $RIVALS; do
    [ "$(systemctl is-enabled "$unit" 2>/dev/null)" != enabled ] || systemctl start --no-block "$unit" || :
  done
  rm "$STATE/rivals-held"
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
      line=${line//@MARK@/$MARK}
      echo "${line//@ALLOWED@/$ALLOWED}"
      ;;
    esac
  done <<<"$RULESET"
}

has_rules() { nft list chain ip natkeeper landing >/dev/null 2>&1; }

load_ruleset() {
  local rules
  rules=$(write_ruleset)
  if [ "$rules" = "$(cat "$STATE/ruleset.nft" 2>/dev/null)" ] && has_rules; then
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

install_units() {
  # DefaultDependencies=no: what waits for sysinit.target waits for cloud-init, which a second boot does not need.
  install -m 600 "$0" "$STATE/boot"
  cat >"$UNITS/natkeeper.service" <<UNIT
[Unit]
Description=natkeeper: keep this machine a NAT
DefaultDependencies=no
After=local-fs.target systemd-sysctl.service
Conflicts=shutdown.target
Before=shutdown.target
[Service]
ExecStart=/bin/bash $STATE/boot watch
SyslogIdentifier=natkeeper
StandardOutput=journal+console
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload && systemctl start natkeeper.service
}

enable_unit() { # in every pass, because what failed once may work the next time
  has_systemd && [ ! -L "$UNITS/multi-user.target.wants/natkeeper.service" ] || return 0
  systemctl enable --quiet natkeeper.service || say "natkeeper.service is not enabled: the next pass tries again"
}

pass() {
  enable_unit
  make_swap
  DEVICE=$(device_of_default_route) || fail "no default route"
  guard
  read_addresses
  bring_up_secondaries
  keep_primary_first
  install_nft
  release_rivals
  modprobe nf_conntrack 2>/dev/null || true # built in, or loaded with the ruleset
  load_ruleset
  size_conntrack
  set_kernel
}

locked_pass() { flock --close "$STATE/lock" bash "$0" pass; } # --close: what a pass starts must not keep the lock

changes() { # A line when rules were deleted, or an address was set or removed. Ends when it cannot tell any more.
  { nft monitor destroy & ip -4 monitor address & } 2>/dev/null
  wait -n || :
  kill $(jobs -p) 2>/dev/null
}

watch() {
  local events='' pause=5 seconds
  while :; do
    [ -n "$events" ] || exec {events}< <(changes)
    if locked_pass {events}<&-; then
      seconds=60 pause=5
    else
      seconds=$pause pause=$((pause < 30 ? pause * 2 : 60))
    fi
    if read -r -t "$seconds" -u "$events"; then
      restore_rules
      for _ in {1..50}; do read -r -t 0.2 -u "$events" || break; done # one pass for what happened together
    elif [ $? -le 128 ]; then # a monitor has ended, or there is no nft yet
      exec {events}<&-
      events=''
      sleep "$seconds"
    fi
  done
}

restore_rules() { # before the pass, which first asks instance metadata
  if ! has_rules && nft -f "$STATE/ruleset.nft" 2>/dev/null; then
    say "somebody deleted the ruleset: loaded again"
  fi
}

main() {
  mkdir -p "$STATE"
  case ${1:-} in
  pass) pass ;;
  watch) watch ;;
  *) has_systemd && install_units || locked_pass ;;
  esac
}

main "$@"
