"""The lab's ruler, on rows made by hand."""

from natkeeper_lab.measure import Outage, Probe, outages, probes


def rows(*answers: bool) -> list[Probe]:
    return [Probe(5 * k, 5 * k + 1 if is_ok else None) for k, is_ok in enumerate(answers)]


def test_no_failure_is_no_outage() -> None:
    assert outages(rows(True, True, True)) == []


def test_an_outage_lies_between_its_neighbours() -> None:
    (outage,) = outages(rows(True, False, False, False, True))
    assert outage == Outage(5, 15, 0, 20, 3)
    assert (outage.shortest_ns, outage.longest_ns, outage.downtime_seen_ns) == (10, 20, 15)


def test_outages_are_told_apart_by_one_success() -> None:
    assert [outage.probes for outage in outages(rows(True, False, True, False, False, True))] == [1, 2]


def test_an_outage_cut_short_by_the_end_knows_no_upper_bound() -> None:
    (outage,) = outages(rows(True, False, False))
    assert (outage.longest_ns, outage.downtime_seen_ns) == (None, 5)


def test_answers_that_overtook_each_other_are_judged_by_when_they_were_asked() -> None:
    assert outages(list(reversed(rows(True, False, True)))) == outages(rows(True, False, True))


def test_rows_of_the_prober_are_read_as_written() -> None:
    assert probes([[10, 12, ""], [15, 0, "ETIMEDOUT"]]) == [Probe(10, 12), Probe(15, None, "ETIMEDOUT")]
