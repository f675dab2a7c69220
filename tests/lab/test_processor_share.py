"""A function process is kept within the processor share of its MemorySize, by the kernel or by stopping it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from natkeeper_lab import sandbox
from natkeeper_lab.runtime import FunctionHost, processor
from natkeeper_lab.runtime.artefact import assemble
from natkeeper_lab.runtime.processor import PERIOD, ControlGroup, Limiter, StopAndGo, Unlimited, limiter_of, share_of

CODE = Path(__file__).parents[1] / "contract" / "function_code"
PATIENCE = 10.0


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """A process that would take a whole processor."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield process
    process.kill()
    process.wait()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]


def comes_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.001)
    return False


def group_of(limiter: ControlGroup, file: str) -> str:
    return (limiter._path / file).read_text().strip()


def test_a_whole_processor_comes_with_1769_mb() -> None:
    assert share_of(1769) == 1
    assert round(share_of(256), 3) == 0.145
    assert share_of(3538) == 2


def test_the_kernel_is_told_the_share_and_its_end(busy: subprocess.Popen[bytes]) -> None:
    try:
        limiter = ControlGroup(busy.pid)
    except OSError as refusal:
        pytest.skip(f"no control group can be made here: {refusal}")
    limiter.limit(0.25)
    quota = round(PERIOD * 0.25 * 1_000_000)
    if limiter._is_old:
        assert group_of(limiter, "cpu.cfs_quota_us") == str(quota)
        assert group_of(limiter, "cpu.cfs_period_us") == "20000"
    else:
        assert group_of(limiter, "cpu.max") == f"{quota} 20000"
    assert group_of(limiter, "cgroup.procs") == str(busy.pid)
    limiter.limit(None)
    assert group_of(limiter, "cpu.cfs_quota_us" if limiter._is_old else "cpu.max").split()[0] in ("-1", "max")
    busy.kill()
    busy.wait()
    limiter.end()
    assert not limiter._path.exists()


def test_a_process_is_stopped_and_goes_on_again_and_again(busy: subprocess.Popen[bytes]) -> None:
    limiter = StopAndGo(busy.pid)
    limiter.limit(0.1)
    for _ in range(3):
        assert comes_true(lambda: state(busy.pid) == "T")
        assert comes_true(lambda: state(busy.pid) != "T")
    limiter.end()


def test_a_frozen_process_is_not_let_go_by_its_share(busy: subprocess.Popen[bytes]) -> None:
    limiter = StopAndGo(busy.pid)
    limiter.limit(0.1)
    limiter.freeze()
    assert comes_true(lambda: state(busy.pid) == "T")
    assert {state(busy.pid) for _ in range(200) if time.sleep(0.001) is None} == {"T"}
    limiter.thaw()
    assert comes_true(lambda: state(busy.pid) != "T")
    limiter.end()


def test_who_may_make_no_control_group_gets_the_other_limiter(
    busy: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processor, "CGROUPS", tmp_path)
    limiter = limiter_of(busy.pid)
    assert isinstance(limiter, StopAndGo)
    limiter.end()


def test_a_limiter_whose_process_ended_ends_too(busy: subprocess.Popen[bytes]) -> None:
    for limiter in (limiter_of(busy.pid), StopAndGo(busy.pid), Unlimited(busy.pid)):
        limiter.limit(0.5)
        busy.kill()
        busy.wait()
        limiter.thaw()
        limiter.freeze()
        limiter.end()


def test_groups_that_a_killed_lab_left_are_swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "CGROUPS", tmp_path)
    left, used, foreign = (tmp_path / name for name in ("natkeeper-lab-1", "natkeeper-lab-2", "someone-else"))
    for folder in (left, used, foreign):
        folder.mkdir()
    (used / "process").touch()  # the kernel refuses to remove a group with a process, as it does a folder that is full
    sandbox.sweep()
    assert [folder.exists() for folder in (left, used, foreign)] == [False, True, True]


class Recorder(Unlimited):
    """Notes what it is told."""

    def __init__(self, pid: int, told: list[float | None]) -> None:
        super().__init__(pid)
        self._told = told

    def limit(self, share: float | None) -> None:
        self._told.append(share)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Shares that limiters were told, in order."""
    shares: list[float | None] = []

    def make(pid: int) -> Limiter:
        return Recorder(pid, shares)

    monkeypatch.setattr("natkeeper_lab.runtime.environment.limiter_of", make)
    return shares


@pytest.fixture
def host() -> Iterator[Callable[..., FunctionHost]]:
    made: list[FunctionHost] = []

    def make(**settings: object) -> FunctionHost:
        made.append(FunctionHost("prober", "functions.handler", {}, code=assemble(CODE), **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_a_function_has_its_share_after_its_init_phase(
    host: Callable[..., FunctionHost], told: list[float | None]
) -> None:
    made = host(memory_mb=1769, has_share=True)
    made.warm()
    assert told == [1.0]


def test_a_function_has_all_there_is_unless_asked(host: Callable[..., FunctionHost], told: list[float | None]) -> None:
    host().warm()
    assert told == []


def test_a_share_is_set_for_processes_that_are_there_and_that_come(
    host: Callable[..., FunctionHost], told: list[float | None]
) -> None:
    made = host(memory_mb=1769, has_share=True)
    made.warm()
    made.set_cpu_share(5)
    made.cool()
    made.warm()
    made.set_cpu_share(None)
    assert told == [1.0, 0.05, 0.05, 1.0]


def test_nothing_of_a_function_is_left_among_the_control_groups() -> None:
    def groups() -> set[Path]:
        return {path for root in (sandbox.CGROUPS, sandbox.CGROUPS / "cpu") for path in root.glob("natkeeper-lab-*")}

    before = groups()
    made = FunctionHost("prober", "functions.handler", {}, code=assemble(CODE), has_share=True)
    made.warm(2)
    during = groups() - before
    made.stop()
    assert during & groups() == set()
