"""Finished campaigns keep their numbers, verdicts and words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nequip_decorr.campaign.plan import run_id
from nequip_decorr.md.spec import ModelSpec, RunSpec
from tests.report.golden import FOLDER, NAMES, result


def differences(got: Any, wanted: Any, where: str = "") -> list[str]:
    """Every place at which two JSON values differ, numbers beyond rounding."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        found = [f"{where}.{key}: only in one" for key in sorted(got.keys() ^ wanted.keys())]
        for key in got.keys() & wanted.keys():
            found += differences(got[key], wanted[key], f"{where}.{key}")
        return found
    if isinstance(wanted, list) and isinstance(got, list):
        if len(got) != len(wanted):
            return [f"{where}: {len(got)} instead of {len(wanted)}"]
        return [
            d
            for k, (g, w) in enumerate(zip(got, wanted, strict=True))
            for d in differences(g, w, f"{where}[{k}]")
        ]
    if isinstance(wanted, float):
        same = isinstance(got, (int, float)) and got == pytest.approx(wanted, rel=1e-7, abs=1e-12)
    else:
        same = type(got) is type(wanted) and got == wanted
    return [] if same else [f"{where}: {got!r} instead of {wanted!r}"]


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_campaign_keeps_its_numbers_and_words(name, tmp_path):
    wanted = json.loads((FOLDER / f"{name}.json").read_text())
    assert not differences(result(name, tmp_path), wanted)


def test_a_run_keeps_its_identifier():
    """Another identifier would run every finished run of a stored campaign again."""
    spec = RunSpec("", ModelSpec("m", "lammps"), "s", "s.xyz", 300.0, 1, steps=100)
    assert run_id(spec, "a" * 64, "b" * 64) == "m-s-300K-s1-4aaeeadd37"
