"""Tests marked `packets` run inside the lab's sandbox: one pytest in there runs them all, and each test out here
reports what became of its namesake. Where namespaces are not permitted they are skipped, with the reason.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from natkeeper_lab import sandbox
from tests.lab.vpc import Vpc

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 480
OUTSIDE = {"test_sandbox.py", "test_nothing_is_left.py", "test_shell.py"}  # look at it from where the user stands
_inside_outcomes: dict[str, ElementTree.Element] = {}
_inside_output: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    packets = [item for item in items if item.get_closest_marker("packets")]
    if sandbox.is_inside():
        items.sort(key=lambda item: "quiet_vpc" not in getattr(item, "fixturenames", ()))  # those share one VPC
    if not packets or sandbox.is_inside():
        return
    lacks = _missing()
    moved_inside = [item for item in packets if item.path.name not in OUTSIDE]
    for item in packets if lacks else []:
        item.add_marker(pytest.mark.skip(reason=" ".join(lacks)))
    for item in [] if lacks else moved_inside:
        item.setup = lambda: None  # type: ignore[method-assign]
        item.runtest = lambda item=item: _report(item, moved_inside)  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def shared() -> Iterator[list[Vpc]]:
    """At most one VPC, for the tests that leave it as they found it. Two at a time would fight over names."""
    kept: list[Vpc] = []
    yield kept
    _close(kept)


@pytest.fixture
def quiet_vpc(shared: list[Vpc], tmp_path_factory: pytest.TempPathFactory) -> Vpc:
    if not shared:
        shared.append(Vpc(tmp_path_factory.mktemp("vpc")).__enter__())
    return shared[0]


@pytest.fixture
def no_vpc(shared: list[Vpc]) -> None:
    _close(shared)


@pytest.fixture
def vpc(shared: list[Vpc], tmp_path: Path) -> Iterator[Vpc]:
    _close(shared)
    with Vpc(tmp_path) as vpc:
        yield vpc


def _close(kept: list[Vpc]) -> None:
    while kept:
        kept.pop().network.close()


@cache
def _missing() -> list[str]:
    return sandbox.missing()


def _report(item: pytest.Item, everything: Sequence[pytest.Item]) -> None:
    if not _inside_output:
        _run_inside([other.nodeid for other in everything])
    outcome = _inside_outcomes.get(item.nodeid)
    if outcome is None:
        pytest.fail(f"never ran inside the sandbox, which said:\n{_inside_output[0]}", pytrace=False)
    printed = outcome.findtext("system-out")
    if printed:
        item.add_report_section("call", "stdout", printed)
    for problem in (*outcome.findall("failure"), *outcome.findall("error")):
        pytest.fail(problem.text or problem.get("message", ""), pytrace=False)
    for skipped in outcome.findall("skipped"):
        pytest.skip(skipped.get("message", ""))


def _run_inside(nodeids: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory, "results.xml")
        command = [sys.executable, "-m", "pytest", *nodeids, f"--junitxml={results}", "-o", "junit_logging=system-out"]
        command += ["-o", "junit_family=xunit1", "-p", "no:cacheprovider"]  # xunit1 says which file a test is in
        command += ["--basetemp", str(Path(directory, "tests"))]  # inside we are root, and not root's pytest folder
        run = subprocess.run(
            [sys.executable, "-m", "natkeeper_lab.sandbox", "--", *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
        )
        _inside_output.append(run.stdout + run.stderr)
        if results.exists():
            for case in ElementTree.parse(results).iter("testcase"):
                _inside_outcomes[f"{case.get('file')}::{case.get('name')}"] = case
