"""The boot script's way through what this machine must not do: swap, packages, units. Every command is a fake.

The fakes write down what they were called with; the fake of dnf makes the fake of nft, as the real one does. Files in
/proc, /etc and /var become files of the test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from natkeeper.nat_instance import NatProfile, render_user_data

PROFILE = NatProfile("a", ("10.0.2.0/24",), (("10.0.3.0/24",),))
SMALL, LARGE = 475_000, 1_900_000  # what MemTotal says, in KB, on instances of 512 MB and 2 GB
BORROWED = (
    "awk",
    "bash",
    "cat",
    "chmod",
    "flock",
    "grep",
    "install",
    "mkdir",
    "mv",
    "rm",
    "seq",
    "sort",
    "touch",
    "wc",
)
LOG = 'echo "${0##*/} $*" >>"$LOG"\n'
FAKES = {
    "curl": """
case "$*" in
*api/token*) echo TOKEN ;;
*local-ipv4s*) printf '10.0.1.20\\n10.0.1.120\\n' ;;
*local-ipv4*) echo 10.0.1.20 ;;
*mac*) echo 02:00:00:00:00:01 ;;
esac""",
    "ip": """
case "$*" in
*monitor*) exec /usr/bin/sleep 60 ;;
*"route show default"*) echo "default via 10.0.1.1 dev ens5" ;;
*"rule show"*) echo "100: from all iif ens5 lookup main" ;;
*"to 10.0.1.20/32"*) echo "2: ens5 inet 10.0.1.20/24 scope global dynamic ens5" ;;
esac""",
    "systemctl": LOG + '[ "$1" != is-enabled ] || { echo "${ENABLED:-enabled}"; [ "${ENABLED:-enabled}" = enabled ]; }',
    "fallocate": LOG + 'touch "$3"',
    "mkswap": LOG,
    "swapon": LOG + "exit ${SWAPON:-0}",
    "modprobe": "",
    "sleep": LOG,
    "dnf": LOG
    + """
tries=$(wc -l <"$LOG.dnf" 2>/dev/null || echo 0)
echo >>"$LOG.dnf"
ls -l /proc/self/fd | grep "$STATE" >>"$LOG.open"
[ "$tries" -ge "${BUSY:-0}" ] || { echo "can't create transaction lock" >&2; exit 1; }
printf '#!/bin/bash\\n' >"$BIN/nft"
chmod 755 "$BIN/nft\"""",
}


class Instance:
    """A folder that the script takes for the machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state, self.bin, self.log = folder / "state", folder / "bin", folder / "log"
        for name in ("state", "bin", "units", "repositories", "sys/net/netfilter", "sys/net/ipv4/conf/all"):
            (folder / name).mkdir(parents=True)
        for path in (folder / "sys/net/ipv4/conf/ens5", folder / "hash"):
            path.mkdir()
        for name in (*BORROWED, "ls"):
            (self.bin / name).symlink_to(f"/usr/bin/{name}")
        for name, text in FAKES.items():
            self.fake(name, text)
        self.memory(LARGE)
        self.script = folder / "script"
        self.script.write_text(self._moved(render_user_data(PROFILE)))

    def fake(self, name: str, text: str) -> None:
        file = self.bin / name
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)

    def memory(self, total: int, swap: int = 0) -> None:
        (self.folder / "meminfo").write_text(f"MemTotal: {total} kB\nSwapTotal: {swap} kB\n")

    def run(self, mode: str = "pass", env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"LOG": str(self.log), "BIN": str(self.bin), "STATE": str(self.state), **(env or {})}
        command = ["/bin/bash", str(self.script), *([mode] if mode else [])]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    def called(self, name: str = "") -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(name)]

    def _moved(self, text: str) -> str:
        places = {
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin": f"PATH={self.bin}",
            "STATE=/var/lib/natkeeper": f"STATE={self.state}",
            "UNITS=/etc/systemd/system": f"UNITS={self.folder / 'units'}",
            "REPOSITORIES=/etc/yum.repos.d": f"REPOSITORIES={self.folder / 'repositories'}",
            "/run/systemd/system": str(self.folder / "units"),
            "/proc/meminfo": str(self.folder / "meminfo"),
            "/proc/sys/": f"{self.folder / 'sys'}/",
            "/sys/module/nf_conntrack/parameters/hashsize": str(self.folder / "hash/size"),
        }
        for real, fake in places.items():
            assert real in text, real
            text = text.replace(real, fake)
        return text


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return Instance(tmp_path)


def test_swap_comes_before_any_package_work_on_a_small_machine(instance: Instance) -> None:
    instance.memory(SMALL)
    result = instance.run()
    assert result.returncode == 0, result.stderr
    order = [line.split()[0] for line in instance.called() if line.split()[0] in ("fallocate", "swapon", "dnf")]
    assert order == ["fallocate", "swapon", "dnf"]


@pytest.mark.parametrize(("memory", "swap"), [(LARGE, 0), (SMALL, 500_000)])
def test_no_swap_is_made_on_a_large_machine_or_beside_another(instance: Instance, memory: int, swap: int) -> None:
    instance.memory(memory, swap)
    assert instance.run().returncode == 0
    assert instance.called("swapon") == instance.called("fallocate") == []


def test_a_machine_that_refuses_swap_says_so_and_goes_on(instance: Instance) -> None:
    instance.memory(SMALL)
    result = instance.run(env={"SWAPON": "1"})
    assert result.returncode == 0, result.stderr
    assert "no swap: going on without" in result.stdout
    assert instance.called("dnf")


def test_a_swap_file_that_is_there_after_a_reboot_is_used_again(instance: Instance) -> None:
    instance.memory(SMALL)
    assert instance.run().returncode == instance.run().returncode == 0
    assert len(instance.called("fallocate")) == 1
    assert len(instance.called("swapon")) == 2


def test_only_nftables_is_installed_from_one_repository_without_weak_dependencies(instance: Instance) -> None:
    (instance.folder / "repositories/amazonlinux.repo").touch()
    assert instance.run().returncode == 0
    (line,) = instance.called("dnf")
    assert line.endswith("install nftables")
    assert "--repo=amazonlinux" in line.split()
    assert "--setopt=install_weak_deps=False" in line.split()


def test_a_distribution_with_other_repositories_is_not_asked_for_amazons(instance: Instance) -> None:
    assert instance.run().returncode == 0
    assert "--repo" not in instance.called("dnf")[0]


def test_nothing_is_installed_where_nft_is_there(instance: Instance) -> None:
    instance.fake("nft", "")
    assert instance.run().returncode == 0
    assert instance.called("dnf") == instance.called("systemctl stop") == []


def test_the_script_waits_while_another_holds_the_package_lock(instance: Instance) -> None:
    result = instance.run(env={"BUSY": "3"})
    assert result.returncode == 0, result.stderr
    assert len(instance.called("dnf")) == 4
    assert result.stdout.count("nftables not installed yet, trying again") == 3


def test_what_would_fight_for_the_memory_stands_still_while_a_package_is_installed(instance: Instance) -> None:
    assert instance.run().returncode == 0
    stopped, dnf, *started = [line for line in instance.called() if line.split()[1] in ("stop", "start", "--assumeyes")]
    assert stopped.startswith("systemctl stop amazon-ssm-agent.service dnf-makecache.timer")
    assert dnf.startswith("dnf ")
    assert "systemctl start --no-block amazon-ssm-agent.service" in started


def test_what_somebody_has_disabled_is_not_started_afterwards(instance: Instance) -> None:
    assert instance.run(env={"ENABLED": "disabled"}).returncode == 0
    assert instance.called("systemctl start") == []


def test_a_pass_that_was_killed_leaves_it_to_the_next_to_let_the_others_go(instance: Instance) -> None:
    instance.fake("dnf", LOG + "kill -9 $PPID")
    assert instance.run().returncode != 0
    assert instance.called("systemctl start") == []
    instance.fake("nft", "")
    assert instance.run().returncode == 0
    assert instance.called("systemctl start --no-block amazon-ssm-agent.service")


def test_a_failed_installation_lets_the_others_go_and_says_so(instance: Instance) -> None:
    result = instance.run(env={"BUSY": "99"})
    assert result.returncode == 1
    assert "boot failed: cannot install nftables" in result.stderr
    assert instance.called("systemctl start --no-block amazon-ssm-agent.service")


def test_children_do_not_inherit_the_lock(instance: Instance) -> None:
    """Without systemd's word, so that the script itself takes the lock."""
    (instance.script).write_text(instance.script.read_text().replace("has_systemd() { [ -d", "has_systemd() { [ -z"))
    result = instance.run("")
    assert result.returncode == 0, result.stderr
    assert (instance.state / "lock").exists()
    assert instance.called("dnf")
    assert "state/lock" not in Path(f"{instance.log}.open").read_text()


def test_a_deleted_ruleset_is_loaded_again_before_the_next_pass(instance: Instance) -> None:
    """The fake's rules are a file; its monitor tells of their deletion once they are there."""
    rules = instance.folder / "rules"
    wait = f"until [ -e {rules} ]; do /usr/bin/sleep 0.01; done; rm {rules}; echo delete table ip natkeeper; "
    instance.fake(
        "nft",
        f"""
case "$1" in
monitor) {wait} exec /usr/bin/sleep 60 ;;
list) [ -e {rules} ] ;;
-f) touch {rules} ;;
esac""",
    )
    command = ["/bin/bash", str(instance.script), "watch"]
    environment = {"LOG": str(instance.log), "BIN": str(instance.bin), "STATE": str(instance.state)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as watching:
        assert watching.stdout is not None
        said = [watching.stdout.readline() for _ in range(2)]
        os.killpg(watching.pid, signal.SIGKILL)
    assert "ruleset loaded" in said[0]
    assert "somebody deleted the ruleset: loaded again" in said[1]


def test_an_enable_that_failed_once_is_tried_again_by_the_next_pass(instance: Instance) -> None:
    instance.fake("systemctl", LOG + 'case "$1" in is-enabled | enable) exit 1 ;; esac')
    for passes in (1, 2):
        result = instance.run()
        assert result.returncode == 0, result.stderr
        assert "natkeeper.service is not enabled: the next pass tries again" in result.stdout
        assert len(instance.called("systemctl enable")) == passes


def test_a_pass_that_finds_everything_in_place_says_nothing(instance: Instance) -> None:
    assert "ruleset loaded" in instance.run().stdout
    second = instance.run()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_user_data_leaves_the_work_to_the_service_it_installs(instance: Instance) -> None:
    result = instance.run("")
    assert result.returncode == 0, result.stderr
    assert instance.called("systemctl")[:2] == ["systemctl daemon-reload", "systemctl start natkeeper.service"]
    assert (
        f"ExecStart=/bin/bash {instance.state}/boot watch" in (instance.folder / "units/natkeeper.service").read_text()
    )
    assert instance.called("dnf") == []


def test_user_data_does_the_work_itself_where_the_service_cannot_start(instance: Instance) -> None:
    instance.fake("systemctl", LOG + 'case "$1" in start | is-enabled | enable) exit 1 ;; esac')
    assert instance.run("").returncode == 0
    assert instance.called("dnf")


class _Metadata(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, str]] = {
        "/latest/meta-data/mac": "02:00:00:00:00:01",
        "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01/local-ipv4s": "10.0.1.20\n10.0.1.120",
        "/latest/meta-data/local-ipv4": "10.0.1.20",
    }

    def do_PUT(self) -> None:
        is_right = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._answer("TOKEN" if is_right else None)

    def do_GET(self) -> None:
        self._answer(self.answers.get(self.path) if self.headers["X-aws-ec2-metadata-token"] == "TOKEN" else None)

    def _answer(self, text: str | None) -> None:
        self.send_response(404 if text is None else 200)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.mark.parametrize("missing", ["python3", "curl"])
def test_metadata_is_read_with_curl_or_with_python(instance: Instance, missing: str) -> None:
    for name in ("curl", "python3"):
        (instance.bin / name).unlink(missing_ok=True)
        (instance.bin / name).symlink_to(f"/usr/bin/{name}")
    (instance.bin / missing).unlink()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = instance.script.read_text().replace("169.254.169.254", f"127.0.0.1:{server.server_port}")
        instance.script.write_text(text)
        result = instance.run()
        server.shutdown()
    assert result.returncode == 0, result.stderr
    assert "primary 10.0.1.20, secondaries 10.0.1.120" in result.stdout
