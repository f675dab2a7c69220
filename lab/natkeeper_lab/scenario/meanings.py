"""What each word of a scenario file means, in sentences for people. Data only.

Printed by `scenario.reference`; a test holds the keys against `scenario.vocabulary`. What a word may be given is there.
"""

from __future__ import annotations

from collections.abc import Mapping

TOP: Mapping[str, str] = {
    "name": "Needed. The scenario's name; in the library it is the file's.",
    "why": "Needed. A sentence that says what the scenario shows.",
    "zones": "Needed. `[a]`, `[a, b]` or `[a, b, c]`: one egress group in each, named as its zone.",
    "stack": "Template parameters that differ from their defaults. See [parameters](#parameters).",
    "flows": "Established connections that are opened before the first step. See [flows](#flows).",
    "timeline": "Needed. The [steps](#steps), each with `at` (seconds after the clock's zero) and `do` (the verb).",
    "expect": "The [expectations](#expectations), judged in the order of the file.",
}
FLOW: Mapping[str, tuple[str, str, str]] = {
    "from": ("group", "", "The zone whose private host opens them."),
    "count": ("count", "1", "How many; 2000 at most."),
    "speaks": ("`client`, `server` or `both`", "`client`", "Who sends lines on the connection."),
    "every": ("seconds, above 0", "0.2", "The time between two lines."),
    "port": ("count, 65535 at most", "443", "The server's port."),
}
"""Key: kind, default, meaning. They are checked in `scenario.file`."""

VERBS: Mapping[str, Mapping[str, str]] = {
    "Instances": {
        "stop_instance": "Somebody stops the instance.",
        "start_instance": "Somebody starts the instance; one that is still stopping, as soon as EC2 takes the call.",
        "terminate_instance": "Somebody terminates the instance.",
        "reboot": "The instance stays running by EC2's word, and its guest is away for as long as a start takes. User "
        "data runs at the first boot only, as on EC2; at a later one, after a stop too, the guest runs what the boot "
        "script installed (`/var/lib/natkeeper/boot`, as its unit would: the lab's guests have no systemd). With "
        "`original: true` it is the instance that was there before the first step; where that runs no more, nothing "
        "happens.",
        "hang": "The instance runs by EC2's word, and forwards and answers nothing.",
        "drop_forwarding": "The instance answers for itself and forwards nothing.",
        "flush_nat": "Somebody flushes the NAT's ruleset (`nft flush ruleset`).",
        "packet_loss": "The NAT loses so many of every hundred packets that arrive.",
        "limit_bandwidth": "What the NAT is sent beyond so many Mbit/s, both ways together, is dropped until its next "
        "boot. On virtual time the lost share is what all zones send through it beyond the limit: 0.22 Mbit/s for a "
        "zone's ruler, and 0.0018 Mbit for each line of a flow (measured in the lab).",
        "fill_conntrack": "The NAT's connection table is so full. At 100 percent a packet of a connection that the NAT "
        "does not know is dropped and known connections live on; below, nothing is noticed. It lasts until the next "
        "boot.",
        "enable_source_dest_check": "Somebody turns the source/dest check of the NAT's interface on.",
        "break_user_data": "The next launches boot badly: `script`, a bare machine; `rules`, one whose script ends "
        "well, forwards, and has loaded no rule.",
        "remove_tag": "Somebody removes the tag by which natkeeper knows its own instances.",
        "tag_foreign_instance": "Somebody's own NAT, which forwards whatever comes, is launched with the stack's three "
        "tags: into the public subnet of the group's zone (the first one's, if no group is given) in a security group "
        "of its own, or into another VPC. It is never counted as natkeeper's.",
    },
    "Places": {
        "zone_down": "The zone's NATs fall silent, and EC2 has no machine to start or launch there. EC2 still shows "
        "them as running, as it does at first. The private hosts stay.",
        "zone_up": "The zone works again.",
        "block_probe_target": "One probe target falls silent, for the VPC and for everybody else.",
        "block_probe_targets": "All probe targets fall silent.",
        "unblock": "The probe target answers again; without a target, all of them.",
        "associate_subnet": "The prober's subnet is put on another table. `other`: somebody else's, whose packets come "
        "back by a NAT gateway of theirs. `main`: the VPC's main table by name, which leads nowhere. `none`: the same, "
        "for want of any. A zone of which a file says so has a private subnet for its prober alone; the workloads' "
        "stays.",
        "block_public_access": "VPC Block Public Access, ingress-only: nothing comes in from the internet but for NAT "
        "gateways.",
        "unblock_public_access": "VPC Block Public Access ends.",
    },
    "Routes and addresses, by hand": {
        "replace_route": "Somebody points the table's default route at another NAT.",
        "delete_route": "Somebody deletes the table's default route.",
        "add_table": "Somebody makes a private route table that natkeeper was never told of, with a default route to "
        "the zone's NAT.",
        "disassociate_address": "Somebody takes the group's Elastic IP off whatever it is on.",
        "release_address": "Somebody gives the group's Elastic IP back to AWS. It is listed no more, and "
        "AssociateAddress answers InvalidAllocationID.NotFound.",
    },
    "Events": {
        "lose_events": "The next events never arrive.",
        "delay_events": "The next events arrive so much later.",
        "duplicate_events": "The next events arrive twice.",
        "shuffle_events": "The next events arrive together, the last one first.",
        "send_event": "One event, as it is: a file beside the scenario or in `events/`, or the event itself. What has "
        "no `detail-type` invokes the controller directly.",
        "spot_warning": "EC2 marks the instance's spot request for termination, and sends the warning.",
        "rebalance_recommendation": "EC2 sends a rebalance recommendation for the instance.",
        "health_event": "AWS Health sends a notice. A retirement is also shown by EC2's own API. `foreign: N` names N "
        "other people's instances before the target's; EC2 knows these and shows nothing of them.",
        "foreign_events": "State changes of so many instances that are not ours arrive at a steady rate.",
        "forged_report": "A Lambda destination's record of somebody else's function, with a prober's report in it that "
        "ends `ahead` seconds from now. Its run was never started.",
    },
    "AWS's API": {
        "api_error": "The next calls of the operation fail with the code.",
        "api_throttle": "The next calls of the operation fail with RequestLimitExceeded.",
        "api_slow": "Calls of the operation take so much longer; without `times`, from now on.",
        "api_lost_reply": "The next calls of the operation are applied, and their answers are lost.",
        "api_stale": "From now on the operation's answers are so old. Only answers that describe something can be.",
        "no_capacity": "EC2 has no machine of these types in these zones to launch or to start; without either, of any "
        "type in any zone, and without `times`, from now on.",
        "api_down": "Every call to EC2 fails for so long.",
    },
    "The controller, its ledger and its clock": {
        "crash_controller": "The controller's next invocation dies once that many of its calls are applied, before it "
        "hears the last answer.",
        "ledger_down": "Every call to DynamoDB fails for so long.",
        "poison_ledger": "Somebody writes one field of the group's item, or of the memory in it, once no pass holds "
        "its lease (10 s at most are waited for that).",
        "clock_skew": "The function's clock is wrong by so many seconds; the controller's, if no target is given.",
        "stop_schedule": "The minute's tick does not come for so long.",
        "second_controller": "From now on everything wakes a second copy of the controller beside the first.",
        "new_generation": "A new version of the launch template is deployed.",
    },
    "The operator": {
        "pause": "The operator pauses the group, or all groups.",
        "resume": "The operator ends the pause of the group, or of all groups.",
        "switchover": "The operator moves the group to what is named: home, a group's NAT, the standby or the gateway.",
        "failover": "The operator moves the group away from where it is.",
    },
    "AWS's times": {
        "address_remap": "Packets follow an Elastic IP so long after AssociateAddress was answered. Meanwhile the "
        "former mapping works (`late`), or neither does (`dark`). What the API shows changes at once.",
        "public_address": "An auto-assigned public address comes so long after an Elastic IP left the primary address, "
        "or after the attribute was set; or never.",
        "boot": "From RunInstances until the guest forwards. EC2 shows it as running as early as before.",
        "start": "From StartInstances until the guest forwards. EC2 shows it as running as early as before.",
        "api_time": "Every call of the operation takes so long. Of several verbs that fit, the last one counts; "
        "`api_slow` comes on top.",
        "destination_delay": "A function's destination hears of its end so much later.",
        "cpu_share": "The function gets so much of one processor. On virtual time the run is void, and says so.",
    },
}
"""By area, in the order in which the page has them."""

EXPECTATIONS: Mapping[str, str] = {
    "restored": "New connections from the zone (one every 10 ms, each given 0.8 s) work again, for a second at least.",
    "never_down": "No new connection failed that was given 2 s, so that one lost SYN may be repeated.",
    "downtime": "The zone's outages add up to at most so many seconds, measured with the strict 0.8 s.",
    "egress_address": "The far end sees the zone come from the same public address as before, or from another one.",
    "flows": "Such a share of the zone's flows lives to the end of the run, the way home included. A flow that ends in "
    "silence is lost. Not judged on virtual time.",
    "route": "Where the zone's default routes lead. `unchanged`: natkeeper did not move them, and they are where they "
    "were.",
    "incidents": "The ledger has so many incidents of the group, and each interval contains what the lab saw. Only "
    "incidents in which something was wrong count: `planned-move` and `transient` do not.",
    "writes": "natkeeper's calls to EC2 that were applied; with an `operation`, of any service. A service before the "
    "colon counts that service's calls alone (`dynamodb:*`). Reads are no writes, unless the operation names reads "
    "(`Describe*`).",
    "instances": "The group never had more instances at one time.",
    "metric": "A metric that the controller printed is within the bounds. Counters are added up; `DowntimeLow`, "
    "`DowntimeHigh` and `AddressRemap` (ms) are taken at their largest, gauges at their latest.",
    "alarm": "The template's alarm is in that state, by CloudWatch's rules (M of N, the evaluation range, missing "
    "data). Its minute is one tick of the lab, and periods follow each other from when natkeeper was switched on. "
    "`dead-letters` cannot be judged: the lab has no such queue. `throttled` counts what Lambda's control plane turned "
    "away.",
    "invariants": "[The invariants](invariants.md) hold after every call. They are judged in every run; `invariants: "
    "false` turns them off.",
    "instance": "The instance is in that state. `kept` (not gone) and `terminated` speak of the instance that was "
    "there before the first step, the other states of the one that is there now.",
    "log": "The log has a decision with this reason code.",
    "dark": "Like `downtime`, and an outage that is not over counts up to the moment of judging.",
    "failovers": "So many of the group's moves at most were decided as `fail-over` or `last-resort`.",
    "moves": "natkeeper sent the group's default routes elsewhere so many times at most. All tables of a group that go "
    "to one target are one move; away and home again are two; what a person does is none.",
    "egress_addresses": "A page on the internet, asked ten times a second, saw the group come from so many public "
    "addresses at most.",
    "message": "A message with this text was published to the stack's topic. A message is about a group if it names "
    "its zone; `all` in place of the group is every message.",
    "messages": "So many messages about the group at most were published to the stack's topic.",
    "calls": "natkeeper made so many calls of the operation at most that were answered; reads and refused ones count "
    "too.",
}
CLOCKS: Mapping[str, str] = {
    "within": "It must come about no later than so many seconds after the step.",
    "eventually": "It must come about no later than so many seconds after its own clock started. Not beside `within`.",
    "after": "The number of the step that it counts from, in the order of time; the first is 1. Without it, the last.",
}

KINDS: Mapping[str, str] = {
    "number": "a number",
    "seconds": "seconds, from 0 to 86400",
    "percent": "a number from 0 to 100",
    "processor": "a number from 1 to 100, in percent of one processor",
    "rate": "a number from 0.01 to 1000, a second",
    "megabits": "a number from 0.01 to 100000, in Mbit/s",
    "share": "a number from 0 to 1",
    "count": "a whole number from 1 to 100000",
    "natural": "a whole number from 0 to 100000",
    "text": "a text that is not empty",
    "texts": "a text, or a list of texts",
    "file": "a file's name, such as `spot-interruption-warning`",
    "flag": "`true` or `false`",
    "switch": "`all`, `true` or `false`",
    "group": "a zone of the file",
    "groups": "a zone of the file, or a list of zones",
    "any-group": "a zone of the file, or `all`",
    "carrier": "`home`, `standby`, `gateway`, or a zone of the file",
    "route": "an instance of [the targets](#targets), such as `nat@b`",
    "instance": "an instance of [the targets](#targets), such as `nat@b`",
    "object": "a mapping: the event as AWS would send it",
    "operation": "an operation or a pattern, with its service or without: `ReplaceRoute`, `Describe*`, `dynamodb:*`. "
    "The services are `ec2`, `dynamodb`, `lambda` and `sns`",
    "ledger-field": "a field of a group's item (`holder`, `epoch`, `lease_until`, `inbox`, `memory`), or of the memory "
    "(`natkeeper.core.incident.Memory`)",
    "poison": "a text, a number, a list or a mapping. `+N` or `-N` is the instant N seconds from now in the field's "
    "own form: a list of instants gets 60 of them, and in a record every instant is put there. `garbage` is that text, "
    "in place of whatever the field holds",
    "metric": "one of [the metrics](#metrics)",
    "alarm": "one of [the alarms](runbook.md#alarms), without the stack's name: `egress-down-a`, `throttled`",
    "reason": "one of the reason codes (`natkeeper.core.plan.Reason`)",
}
"""What a value may be, as `scenario.values` checks it. `choice` is told by its choices."""

TARGETS: Mapping[str, str] = {
    "active": "The instance that the zone's default routes point at.",
    "standby": "The zone's standby.",
    "nat": "The zone's own NAT, whether traffic is on it or not.",
    "table": "The zone's first private route table; `table@a[1]` is its second. A zone gets as many as the file speaks "
    "of.",
    "zone": "The zone.",
    "prober": "The zone's prober.",
    "probe_target": "One of the three probe targets, from `probe_target[0]` to `probe_target[2]`.",
    "probe_targets": "All of them.",
    "controller": "The controller.",
    "ledger": "The ledger.",
}

METRICS: Mapping[str, str] = {
    "EgressUp": "Gauge: 1 while egress is up, 0 while it is down, none while nobody knows.",
    "Home": "Gauge: 1 while the group's own NAT carries its traffic, 0 while it is away.",
    "StandbyReady": "Gauge: 1 while something verified could take over.",
    "Observed": "Gauge, in percent: how much of the time between the last two reports was covered by rounds.",
    "Unknown": "Counter: passes that could not look, or had heard of no packet for two minutes.",
    "Failovers": "Counter: plans that moved the group because its path was dead.",
    "FailoversFailed": "Counter: failed calls other than launches and starts of a watch run; and plans that found no "
    "path, were out of budget, or borrowed an address.",
    "LastResort": "Counter: moves to a NAT that no packet had proven.",
    "Launches": "Counter: launches that EC2 accepted.",
    "Errors": "Counter: calls to AWS that failed.",
    "AddressRemap": "In ms: how long packets took to follow an Elastic IP.",
    "DowntimeLow": "In ms: the lower end of a closed incident's interval.",
    "DowntimeHigh": "In ms: the upper end of a closed incident's interval.",
    "Passes": "Counter: wake-ups that went through; of the whole stack.",
    "NotHealing": "Gauge: 1 while somebody's help is wanted to get the group home.",
    "Paused": "Gauge: 1 while the group is paused.",
    "ChecksMended": "Gauge: how often within the hour the source/dest check of the NAT in use was found on.",
}
