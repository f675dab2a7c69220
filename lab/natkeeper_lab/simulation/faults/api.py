"""EC2's and DynamoDB's API misbehaves. Rows of the fault table."""

from __future__ import annotations

from natkeeper_lab.simulation.api import DESCRIBES, READS, THROTTLED, Call
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.faults.table import Act, fault
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.setting import CANARY_ROUTE

WRITES = (
    *("ReplaceRoute", "CreateRoute", "AssociateAddress", "ModifyNetworkInterfaceAttribute"),
    *("RunInstances", "StartInstances", "StopInstances", "TerminateInstances"),
)
LEDGER = ("UpdateItem", "Query", "PutItem")
UNAVAILABLE = ApiError("Unavailable", "The service is unavailable", 503)
INTERNAL = ApiError("InternalError", "An internal error has occurred", 500)
UNAUTHORIZED = ApiError("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
EXPIRED = ApiError("RequestExpired", "Request has expired.", 400)


@fault(
    "throttle-one-call",
    "API",
    complicates=True,
    sees="nothing, or a failover that takes a second longer",
    does="botocore tries again after a random part of a second; what still fails is made up for in the next turn",
    never="gives up the other tables because one was throttled",
)
def _one(act: Act) -> None:
    act.rule(
        "throttle-one-call", [act.dice.choice(WRITES + DESCRIBES)], refuses=THROTTLED, times=act.dice.randint(1, 4)
    )


@fault(
    "throttle-all-calls",
    "API",
    complicates=True,
    sees="`Unknown` rises; failover waits until calls get through again",
    does="looks again each time it is woken; acts as soon as a look succeeds",
    never='reads a failed look as "nothing there"',
)
def _all(act: Act) -> None:
    act.rule("throttle-all-calls", WRITES + DESCRIBES, refuses=THROTTLED, only=lambda _: act.dice.random() < 0.7)


@fault(
    "server-error",
    "API",
    complicates=True,
    sees="nothing, or a failover that takes some seconds longer",
    does="tries again: the call had no effect",
    never="counts an error as done",
)
def _server_error(act: Act) -> None:
    act.rule("server-error", [act.dice.choice(WRITES + DESCRIBES)], refuses=INTERNAL, times=act.dice.randint(1, 5))


@fault(
    "reply-lost",
    "API",
    complicates=True,
    weight=4,
    sees="nothing, or a failover that takes some seconds longer",
    does="calls again or looks: every write is harmless twice, and a launch has its token",
    never="launches a second instance for one it did not hear of",
)
def _reply_lost(act: Act) -> None:
    operations = [act.dice.choice((*WRITES, "UpdateItem", "PutItem", *DESCRIBES))]
    act.rule("reply-lost", operations, loses=True, times=act.dice.randint(1, 3))


@fault(
    "late-write",
    "API",
    complicates=True,
    weight=4,
    sees="a route or address that moves once more, and back within a pass",
    does="sees in the next pass that something is not where it belongs, and puts it there",
    never="needs a person to undo what a late call did",
)
def _late(act: Act) -> None:
    delay = act.dice.randrange(2, 45) * SECOND
    act.rule("late-write", [act.dice.choice((*WRITES, "UpdateItem"))], delay=delay, times=act.dice.randint(1, 2))


@fault(
    "slow-api",
    "API",
    complicates=True,
    sees="failover takes as much longer as two calls do",
    does="waits for each answer up to botocore's time-out, then looks again",
    never="runs into Lambda's time-out with a move half done and forgotten",
)
def _slow(act: Act) -> None:
    delay = act.dice.randrange(SECOND // 2, 3 * SECOND)
    act.rule("slow-api", WRITES + READS, delay=delay, only=lambda _: act.dice.random() < 0.6)


@fault(
    "unauthorised-call",
    "API",
    complicates=True,
    sees="`Errors`, and `failover-failed` unless it is a launch; the log names the call that was refused",
    does="does everything that it may; asks again in each pass",
    never="stops the other tables' moves because one call is refused",
)
def _unauthorised(act: Act) -> None:
    act.rule("unauthorised-call", [act.dice.choice(WRITES)], refuses=UNAUTHORIZED)


@fault(
    "expired-credentials",
    "API",
    complicates=True,
    sees="`Unknown` and `a call failed` in the log; no alarm, for passes go on and could-not-look is not down",
    does="nothing until Lambda hands out new ones",
    never="takes its own blindness for an outage",
)
def _expired(act: Act) -> None:
    act.rule("expired-credentials", WRITES + READS, refuses=EXPIRED)


@fault(
    "one-table-refuses",
    "API",
    complicates=True,
    weight=3,
    sees="one table's hosts without egress, `failover-failed`, the table's id in the log",
    does="moves all the others, and tries that one again in every pass",
    never="aborts the loop at the first table that fails",
)
def _partial(act: Act) -> None:
    table = act.table(act.group())

    def is_its(call: Call) -> bool:
        return call.params.get("RouteTableId") == table

    act.rule("one-table-refuses", ("ReplaceRoute", "CreateRoute"), refuses=UNAUTHORIZED, only=is_its)


@fault(
    "canary-route-refused",
    "API",
    complicates=True,
    weight=2,
    sees="`EC2 refuses the canary route (RouteLimitExceeded)` in the log, once, with what to do; no alarm",
    does="asks for the canary again after 15 s, then ever more slowly, in the end every two minutes; moves traffic as "
    "always",
    never="spends the account's ReplaceRoute tokens on a route that is refused in every pass",
)
def _table_full(act: Act) -> None:
    refusal = ApiError("RouteLimitExceeded", "The maximum number of routes in the table has been reached.")

    def is_canary(call: Call) -> bool:
        return call.params.get("DestinationCidrBlock") == CANARY_ROUTE

    act.rule("canary-route-refused", ("CreateRoute", "ReplaceRoute"), refuses=refusal, only=is_canary)


@fault(
    "page-cut",
    "API",
    complicates=True,
    sees="nothing; `Unknown` when the second page fails",
    does="reads every page, and takes half an answer for none",
    never="decides on the first page alone",
)
def _pages(act: Act) -> None:
    world = act.world
    world.api.page_size = 1

    def is_later_page(call: Call) -> bool:
        return call.page > 0 and act.dice.random() < 0.5

    act.rule("page-cut", ("DescribeInstances", "DescribeRouteTables"), refuses=INTERNAL, only=is_later_page)


@fault(
    "stale-describe",
    "API",
    complicates=True,
    weight=4,
    sees="nothing, or a failover one look later",
    does="looks again when an event says more than the look shows; repairs in the next pass what it did on an old look",
    never="terminates or leaves a NAT for good on the strength of one old look",
)
def _stale(act: Act) -> None:
    world = act.world
    world.answers.keeps_history = True
    world.answers.changed()
    lag = act.dice.randrange(SECOND, 15 * SECOND)
    operations = act.dice.sample(DESCRIBES, act.dice.randint(1, 3))
    act.rule("stale-describe", operations, lag=lag, only=lambda _: act.dice.random() < 0.6)


@fault(
    "address-refused",
    "API",
    complicates=True,
    sees="a message that names the code, and an incident of cause `address-refused` if traffic had to move",
    does="starts the group's own NAT, which still has the address, and goes back to it; asks again ever more slowly",
    never="waits on a NAT to which its address cannot follow while its own could be started",
)
def _address_refused(act: Act) -> None:
    refusal = ApiError("AuthFailure", "You do not have permission to access the specified resource.", 403)
    act.rule("address-refused", ("AssociateAddress",), refuses=refusal)


@fault(
    "region-down",
    "API",
    complicates=True,
    sees="`Unknown`; incidents are opened by packets alone, and measured",
    does="nothing: it cannot see. The first look that succeeds decides",
    never="writes without having looked",
)
def _region(act: Act) -> None:
    act.rule("region-down", WRITES + READS, refuses=UNAVAILABLE)


@fault(
    "ledger-down",
    "API",
    complicates=True,
    weight=4,
    sees="`Errors`; failover as always; no healing until the table answers",
    does="fails over without a lease, on what EC2 shows, or on failed probes once they failed again (3 s more); a run "
    "that ends meanwhile is followed by the next tick's; everything slower waits for its memory",
    never="launches, terminates or goes home without knowing what it did before",
)
def _ledger(act: Act) -> None:
    act.rule("ledger-down", LEDGER, refuses=ApiError("InternalServerError", "", 500))


@fault(
    "ledger-throttled",
    "API",
    complicates=True,
    sees="nothing, or `Errors`",
    does="tries twice within two seconds, then goes on as with a ledger that is down",
    never="waits for the ledger while egress is down",
)
def _ledger_slow(act: Act) -> None:
    refusal = ApiError("ProvisionedThroughputExceededException", "", 400)
    act.rule("ledger-throttled", LEDGER, refuses=refusal, only=lambda _: act.dice.random() < 0.5)
