"""AWS's own times, as the command line takes them and as the verbs set them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from natkeeper_cli.main import main
from natkeeper_lab.scenario.file import parse as parse_file
from natkeeper_lab.scenario.times import NEVER, of_verb, parse


def test_times_are_read_by_name() -> None:
    assert parse("remap=3, model=dark,public=never,boot=300,start=60.5") == {
        "remap": 3.0,
        "model": "dark",
        "public": NEVER,
        "boot": 300.0,
        "start": 60.5,
    }
    assert parse("route=1,call=0.5,destination=2,events=10,public=45")["public"] == 45.0
    assert parse("") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("remp=3", "'remp' is no time of AWS's; did you mean 'remap'?"),
        ("remap", "remap: '' is not a number of seconds"),
        ("remap=soon", "remap: 'soon' is not a number of seconds"),
        ("remap=never", "remap: 'never' is not a number of seconds"),
        ("remap=-1", "remap: -1 is not between 0 and 86400 seconds"),
        ("remap=nan", "remap: nan is not between"),
        ("model=dusk", "model: 'dusk' is unknown"),
        ("remap=1,remap=2", "remap is given twice"),
    ],
)
def test_a_time_that_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parse(text)


@pytest.mark.parametrize(
    ("step", "times"),
    [
        ("address_remap, seconds: 3", {"remap": 3.0, "model": "late"}),
        ("address_remap, seconds: 3, model: dark", {"remap": 3.0, "model": "dark"}),
        ("public_address, seconds: 170", {"public": 170.0}),
        ("public_address, never: true", {"public": NEVER}),
        ("boot, seconds: 300", {"boot": 300.0}),
        ("start, seconds: 60", {"start": 60.0}),
        ("destination_delay, seconds: 5", {"destination": 5.0}),
    ],
)
def test_a_verb_sets_the_times_of_its_name(tmp_path: Path, step: str, times: dict[str, object]) -> None:
    path = tmp_path / "times.yaml"
    path.write_text(f"name: t\nwhy: w\nzones: [a]\ntimeline:\n  - {{at: 1, do: {step}}}\n")
    (found,) = parse_file(path).timeline
    assert of_verb(found.do, found.args) == times


def test_the_command_refuses_a_time_that_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["lab", "run", "stop-the-nat", "--aws", "remp=3"])
    assert caught.value.code == 2
    assert "did you mean 'remap'?" in capsys.readouterr().err
