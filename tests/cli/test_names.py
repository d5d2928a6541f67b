"""Names of commands and options, former ones, the help texts, ``--json`` and ``--quiet``."""

import argparse
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.io
import pytest
from ase.build import bulk

from nequip_decorr.cli.main import EPILOG, main, parser
from nequip_decorr.cli.options import OLD_COMMANDS, progress
from nequip_decorr.processes import pasteable
from tests.cli.test_stability import write_campaign


def commands(found: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command that does something."""
    groups = [a for a in found._actions if isinstance(a, argparse._SubParsersAction)]
    for group in groups:
        for below in group.choices.values():
            yield from commands(below)
    if not groups:
        yield found


ALL = {command.prog: command for command in commands(parser())}


def test_the_commands() -> None:
    names = {prog.removeprefix("nequip-decorr ") for prog in ALL}
    stability = {"example", "run", "status", "report", "compare", "collect"}
    assert names == {
        *("demo", "data siox", "inspect", "compile", "label", "improve"),
        *(f"stability {name}" for name in stability),
        *("lammps input", "lammps check", "extrapolation fit", "extrapolation score"),
    }


@pytest.mark.parametrize("prog", ALL)
def test_each_help_has_an_example_that_parses(prog: str) -> None:
    text = (ALL[prog].epilog or "").replace(",\n      ", ", ")
    shown = [line.strip() for line in text.splitlines()]
    examples = [line for line in shown if line.startswith("nequip-decorr ")]
    assert any(line.startswith(prog) for line in examples)
    for line in examples:
        words = shlex.split(line.split(" > ")[0].split("   ")[0])
        parser().parse_args(words[1:])


@pytest.mark.parametrize("prog", ALL)
def test_options_are_lower_case_and_have_a_help(prog: str) -> None:
    options = [a for a in ALL[prog]._actions if a.help != argparse.SUPPRESS]
    words = [word for option in options for word in option.option_strings]
    assert [word for word in words if word != word.lower()] == []
    assert {"--quiet", "--debug", "--help"} <= set(words)
    assert all(option.help for option in options)


def test_general_options_stand_before_or_after_the_command() -> None:
    for words in (["-q", "stability", "example"], ["stability", "example", "--quiet"]):
        options = parser().parse_args(words)
        assert options.quiet and not options.debug


def test_the_top_command_says_what_each_status_means() -> None:
    assert all(f"\n  {status} " in EPILOG for status in (0, 1, 2, 3, 70, 130))


@pytest.mark.parametrize("old", OLD_COMMANDS)
def test_a_former_command_says_its_present_name(
    old: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--debug", old, "--help"])
    said = capsys.readouterr()
    new = f"nequip-decorr {' '.join(OLD_COMMANDS[old])}"
    assert said.out.startswith(f"usage: {new} ")
    assert f"`nequip-decorr {old}` is now `{new}`" in said.err


def test_a_former_option_works(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lammps", "input", "m", "s", "--out", "o"]
    found = parser().parse_args([*words, "--max-force-eV-per-A", "7", "--energy-below-eV", "off"])
    assert found.max_force_eV_per_A == 7.0 and found.energy_drop_eV_per_atom is None
    said = capsys.readouterr().err
    assert "`--max-force-eV-per-A` is now `--max-force-ev-per-a`" in said
    assert "`--energy-below-eV` is now `--energy-drop-ev-per-atom`" in said
    assert parser().parse_args([*words, "--max-force-ev-per-a", "7"]).max_force_eV_per_A == 7.0
    assert capsys.readouterr().err == ""


def test_json_and_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ase.io.write(tmp_path / "copper.xyz", bulk("Cu", cubic=True).repeat(2))
    arguments = {"epsilon": 0.3, "r0": 2.6}
    morse = {"calculator": "ase.calculators.morse.MorsePotential", "arguments": arguments}
    emt = {"calculator": "ase.calculators.emt.EMT"}
    path = write_campaign(
        tmp_path,
        models={"emt": {"ase": emt}, "soft": {"ase": morse}},
        structures={"copper": "copper.xyz"},
        length_ps=0.01,
    )
    assert main(["stability", "run", str(path), "--workers", "1", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    results = str(tmp_path / "c_stability")

    def answer(*words: str) -> Any:
        assert main(["stability", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    status = answer("status", results)
    assert status["counts"] == {"survived": 4}
    assert {run["model"] for run in status["runs"]} == {"emt", "soft"}
    (compared,) = answer("compare", results)
    assert compared["verdict"] == "inconclusive" and compared["n_pairs"] == 2
    report = answer("report", results)
    assert Path(report["page"]).is_file() and report["campaigns"] == ["c"]
    assert main(["stability", "compare", results, "--models", "emt", "x", "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "models: got x" in said.err


def test_progress_leaves_nothing_in_a_pipe(capfd):
    assert list(progress(range(3), "counting")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")


def test_a_printed_command_of_ours_names_files_from_where_it_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / "a b.xyz")
    assert pasteable(["nequip-decorr", "label", path]) == "nequip-decorr label 'a b.xyz'"
    # Hydra reads a relative -cp from elsewhere.
    other = ["nequip-train", "-cp", str(tmp_path / "configs")]
    assert pasteable(other) == f"nequip-train -cp {tmp_path / 'configs'}"
