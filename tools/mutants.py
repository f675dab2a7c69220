"""Mutation testing of `core`: breaks it in some 7,500 small ways and asks the example tests to notice each.

Run by `make mutants`. mutmut makes the mutants and runs the tests that reach each one; this module gives it a copy of
the sources to work on (build/mutants), then prints the score and every survivor. Fails when the score is under FLOOR,
when a survivor has no reason in `tools/equivalent_mutants.toml`, or when the run did not get to its end. A run
that was interrupted goes on where it stopped, as long as neither sources nor tests changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from mutmut.mutation.data import MutantLineSpans
from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).resolve().parents[1]
STAGE = ROOT / "build" / "mutants"
CORE = Path("src/natkeeper/core")
COPIED = ("src/natkeeper", "tests/core", "tests/support")
EXPLAINED = ROOT / "tools" / "equivalent_mutants.toml"
FLOOR = 90.0
"""Percent (docs/mutation-testing.md)."""
NOTICED = ("killed", "timeout", "segfault")
"""A time-out is a mutant that never ends where the original takes milliseconds."""


@dataclass(frozen=True)
class Mutant:
    """`where`: module and function. `status`: mutmut's word. `becomes`: the changed lines of a survivor."""

    name: str
    where: str
    status: str
    becomes: str = ""


# -- the copy that is mutated


class _PlainProperties(cst.CSTTransformer):
    """`@property def x` to `def x` and `x = property(x)`: mutmut leaves decorated functions alone, and properties are
    where much of the view's judgement is."""

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:  # noqa: ARG002, N802
        body: list[cst.BaseStatement] = []
        for each in updated_node.body.body:
            if isinstance(each, cst.FunctionDef) and [_name(one) for one in each.decorators] == ["property"]:
                name = each.name.value
                body += [each.with_changes(decorators=[]), cst.parse_statement(f"{name} = property({name})")]
            else:
                body.append(each)
        return updated_node.with_changes(body=updated_node.body.with_changes(body=body))


def _name(decorator: cst.Decorator) -> str:
    return decorator.decorator.value if isinstance(decorator.decorator, cst.Name) else ""


def stage(root: Path, target: Path) -> str:
    """Copies what the tests need to `target`, with properties made plain. Returns a digest of it.

    A file that is the same already is not touched: mutmut goes by times, and keeps its verdicts on old files.
    """
    digest = hashlib.sha256()
    wanted = {path.relative_to(root) for each in COPIED for path in (root / each).rglob("*") if _is_source(path)}
    for path in sorted(wanted):
        content = (root / path).read_bytes()
        if path.parent == CORE and path.suffix == ".py":
            content = cst.parse_module(content).visit(_PlainProperties()).bytes
        digest.update(str(path).encode() + b"\0" + content)
        _write(target / path, content)
    for each in COPIED:
        for stray in (target / each).rglob("*"):
            if _is_source(stray) and stray.relative_to(target) not in wanted:
                stray.unlink()
    _write(target / "pyproject.toml", (root / "pyproject.toml").read_bytes())
    return digest.hexdigest()


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _write(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# -- the run


def run(names: Iterable[str], jobs: int) -> None:
    """mutmut on the copy: all mutants without a verdict, or those of the names, whatever was said of them before."""
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(jobs), *names]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with (STAGE / "log").open("w") as log:
        print(f"mutmut runs with {jobs} at a time; its own words: {STAGE.relative_to(ROOT) / 'log'}", flush=True)
        output = None if sys.stdout.isatty() else log
        if subprocess.call(command, cwd=STAGE, env=environment, stdout=output, stderr=output):
            raise SystemExit(f"mutmut failed: see {STAGE / 'log'}")


def results() -> Iterator[Mutant]:
    """Every mutant of the copy with its verdict."""
    with chdir(STAGE):
        for path in sorted(CORE.glob("*.py")):
            meta = Path("mutants") / f"{path}.meta"
            codes = json.loads(meta.read_text())["exit_code_by_key"] if meta.exists() else {}
            for name, code in codes.items():
                status = status_by_exit_code[code]
                module, _, function = name.removeprefix("natkeeper.core.").rpartition(".")
                where = f"{module}.{_function(function)}"
                yield Mutant(name, where, status, "" if status in NOTICED else _changed(path, function))


def _function(mangled: str) -> str:
    """`x__act__mutmut_3` to `_act`, `xǁViewǁhome__mutmut_3` to `View.home`."""
    plain = mangled.rpartition("__mutmut_")[0]
    return plain.removeprefix("xǁ").replace("ǁ", ".") if plain.startswith("xǁ") else plain.removeprefix("x_")


def _changed(path: Path, function: str) -> str:
    """The lines that the mutant has and the original does not; where it only lost some, those, after a minus."""
    spans = MutantLineSpans.load(path)
    assert spans is not None, f"no spans of {path}"
    plain = function.rpartition("__mutmut_")[0]
    names = (f"{plain}__mutmut_orig", function)
    sources = zip(spans.read_function_sources(names), names, strict=True)
    before, after = ([line.strip() for line in source.replace(name, plain).splitlines()] for source, name in sources)
    added = [each for each in after if after.count(each) > before.count(each)]
    lost = [f"- {each}" for each in before if before.count(each) > after.count(each)]
    return " ".join(dict.fromkeys(added or lost))


# -- the verdict


def explained(path: Path) -> dict[tuple[str, str], str]:
    """The reasons why mutants cannot be noticed, by place and changed lines."""
    return {(each["in"], each["becomes"]): each["because"] for each in tomllib.loads(path.read_text())["equivalent"]}


def score(mutants: Iterable[Mutant]) -> float:
    """Percent of the mutants that were noticed; those that are equivalent count as not noticed, too."""
    noticed = [each.status in NOTICED for each in mutants]
    return 100 * sum(noticed) / len(noticed) if noticed else 0.0


def tell(mutants: list[Mutant], reasons: dict[tuple[str, str], str], *, is_strict: bool = True) -> bool:
    """Prints score and survivors; whether all is as it must be. Strict: every survivor has its reason."""
    unfinished = [each for each in mutants if each.status in ("not checked", "check was interrupted by user")]
    survivors = [each for each in mutants if each.status not in NOTICED and each not in unfinished]
    for module in sorted({each.where.partition(".")[0] for each in mutants}):
        own = [each for each in mutants if each.where.partition(".")[0] == module]
        print(f"  {module:<10} {sum(each.status in NOTICED for each in own):>5} of {len(own):>5}  {score(own):6.1f} %")
    unknown = [each for each in survivors if (each.where, each.becomes) not in reasons]
    for each in unknown:
        print(f"survived: {each.name}\n    in:      {each.where}\n    becomes: {each.becomes}")
    stale = set(reasons) - {(each.where, each.becomes) for each in survivors}
    for where, becomes in sorted(stale) if not unfinished else ():
        print(f"explained, but did not survive: {where}: {becomes}")
    if unfinished:
        print(f"{len(unfinished)} of {len(mutants)} mutants have no verdict yet: run it again")
    print(f"{len(survivors)} of {len(mutants)} survived, {len(survivors) - len(unknown)} of them explained")
    print(f"mutation score of core: {score(mutants):.1f} % (at least {FLOOR:.0f} %)")
    return score(mutants) >= FLOOR and not unfinished and not (is_strict and unknown)


def main() -> int:
    parser = argparse.ArgumentParser(description="mutation testing of core")
    parser.add_argument("--jobs", type=int, default=1, help="mutants that are tested at the same time")
    parser.add_argument("--survivors", action="store_true", help="only the last run's survivors, for work on tests")
    parser.add_argument("--floor-only", action="store_true", help="an unexplained survivor is shown and does not fail")
    chosen = parser.parse_args()
    began = time.monotonic()
    digest, mark = stage(ROOT, STAGE), STAGE / "digest"
    is_new = not mark.exists() or mark.read_text() != digest
    if is_new and not chosen.survivors:
        shutil.rmtree(STAGE / "mutants", ignore_errors=True)
    mark.write_text("provisional" if is_new and chosen.survivors else digest)
    if chosen.survivors and (again := [each.name for each in results() if each.status not in NOTICED]):
        run(again, chosen.jobs)
    run((), chosen.jobs)
    is_well = tell(list(results()), explained(EXPLAINED), is_strict=not chosen.floor_only)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = used.ru_utime + used.ru_stime
    print(f"took {time.monotonic() - began:.0f} s with {chosen.jobs} at a time, {spent:.0f} s of them computing")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
