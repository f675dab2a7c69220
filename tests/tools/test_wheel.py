"""The wheel, installed where nothing of this checkout is: the command starts in any folder and brings what it plays."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREE = ("pyproject.toml", "README.md", "LICENSE", "template.yaml", "events", "src", "cli", "lab")
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build writes beside its sources."""
    tree, made = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in TREE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)  # type: ignore[operator]
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(made), str(tree))
    (found,) = made.glob("*.whl")
    return found


def pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def installed(wheel: Path, place: Path, *, with_extra: bool) -> Command:
    """A `natkeeper` to call in a folder of its own. What the extra needs is this environment's, and nothing else of
    it: the checkout is in it by a .pth file, which a folder that is only on the path does not bring along."""
    venv.create(place / "env", with_pip=False)
    site = next((place / "env" / "lib").glob("python*/site-packages"))
    pip("--python", str(place / "env"), "install", "--no-deps", "--no-index", str(wheel))
    if with_extra:
        (site / "extra.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (place / "elsewhere").mkdir()

    def natkeeper(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(place / "env" / "bin" / "natkeeper"), *arguments]
        own = {"PATH": "/usr/bin:/bin", "HOME": str(place), "LANG": "C.UTF-8"}
        return subprocess.run(command, cwd=place / "elsewhere", env=own, capture_output=True, text=True, timeout=240)

    return natkeeper


@pytest.fixture(scope="module")
def natkeeper(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return installed(wheel, tmp_path_factory.mktemp("whole"), with_extra=True)


def test_the_wheel_has_all_that_is_played_and_nothing_of_a_generic_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {each for each in tops if not each.endswith(".dist-info")} == {"natkeeper", "natkeeper_cli", "natkeeper_lab"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    for name in ("natkeeper/py.typed", "natkeeper_lab/data/template.yaml", "natkeeper_lab/scenarios/stop-the-nat.yaml"):
        assert name in names
    events = {f"natkeeper_lab/data/events/{path.name}" for path in (ROOT / "events").glob("*.json")}
    assert events <= set(names)


def test_without_the_extra_the_command_starts_and_says_how_to_get_it(wheel: Path, tmp_path: Path) -> None:
    natkeeper = installed(wheel, tmp_path, with_extra=False)
    assert "usage: natkeeper" in natkeeper("--help").stdout
    for arguments in (("lab", "list"), ("simulate",), ("lab", "run", "stop-the-nat", "--aws", "remap=3")):
        done = natkeeper(*arguments)
        assert (done.returncode, "pip install 'natkeeper[lab]'" in done.stderr) == (3, True), done.stderr


def test_it_lists_the_library_and_plays_schedules_and_a_scenario_on_virtual_time(natkeeper: Command) -> None:
    assert "stop-the-nat" in natkeeper("lab", "list").stdout
    schedules = natkeeper("simulate", "--schedules", "5", "--seed", "1", "--jobs", "1")
    assert (schedules.returncode, "5 schedules, 0 broken" in schedules.stdout) == (0, True), schedules.stderr
    played = natkeeper("lab", "run", "--simulate", "stop-the-nat")
    assert (played.returncode, "PASS  stop-the-nat" in played.stdout) == (0, True), played.stderr


@pytest.mark.packets
def test_it_plays_a_scenario_with_real_packets(natkeeper: Command) -> None:
    played = natkeeper("lab", "run", "stop-the-nat", "--time-scale", "8")
    assert (played.returncode, "PASS  stop-the-nat" in played.stdout) == (0, True), played.stdout + played.stderr
