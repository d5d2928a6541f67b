"""Atomic writing, hashes, and the decision what is kept and what is done again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nequip_decorr.campaign.lock import CampaignLock
from nequip_decorr.campaign.store import (
    damage,
    decide,
    file_sizes,
    finished_manifest,
    running_manifest,
    versions,
)
from nequip_decorr.files import read_json, sha256_file
from nequip_decorr.md.spec import ModelSpec, RunResult, RunSpec

SPEC = RunSpec("r", ModelSpec("m", "ase", calculator="a.B"), "s", "s.extxyz", 300.0, 1)
RESULTS = {
    status: RunResult(status, 5, 1) for status in ("survived", "failed", "interrupted", "error")
}


def finished(status: str, walltime_s: float | None = None, redo: bool = False) -> dict:
    manifest = running_manifest(SPEC, {})
    manifest["spec"]["walltime_s"] = walltime_s
    return finished_manifest(manifest, RESULTS[status], redo=redo)


def test_a_manifest_says_what_ran(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"weights")
    digest = sha256_file(path)
    assert digest == "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    manifest = json.loads(json.dumps(running_manifest(SPEC, {"model_file": digest})))
    assert manifest["status"] == "running"
    assert manifest["pid"] == os.getpid()
    assert manifest["inputs"] == {"model_file": digest}
    assert manifest["as_used"]["thermostat"] == "nose-hoover"
    assert manifest["as_used"]["timestep_fs"] == 1.0
    assert RunSpec.from_dict(manifest["spec"]) == SPEC
    assert {"python", "platform", "nequip-decorr", "torch", "ase"} <= versions().keys()


@pytest.mark.parametrize(
    ("manifest", "walltime_s", "retry", "expected"),
    [
        (None, None, False, "run"),
        (running_manifest(SPEC, {}), None, False, "run"),
        (finished("survived"), None, True, "keep"),
        (finished("failed"), None, True, "keep"),
        (finished("error"), None, False, "keep"),
        (finished("error"), None, True, "run"),
        (finished("interrupted", redo=True), None, False, "run"),
        (finished("interrupted", 60.0), 60.0, False, "keep"),
        (finished("interrupted", 60.0), 30.0, False, "keep"),
        (finished("interrupted", 60.0), 120.0, False, "run"),
        (finished("interrupted", 60.0), None, False, "run"),
        (finished("survived", 60.0), 120.0, False, "keep"),
    ],
)
def test_decision(
    manifest: dict | None, walltime_s: float | None, retry: bool, expected: str
) -> None:
    assert decide(manifest, walltime_s, retry) == expected


def test_a_record_cut_short_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "ring").mkdir()
    (tmp_path / "thermo.csv").write_text("step\n0\n1\n")
    (tmp_path / "ring" / "1.xyz").write_text("frame")
    (tmp_path / "progress").write_text("1")
    manifest = {"files": file_sizes(tmp_path)}
    assert manifest["files"] == {"ring/1.xyz": 5, "thermo.csv": 9}
    assert damage(manifest, tmp_path) is None
    os.truncate(tmp_path / "thermo.csv", 4)
    assert damage(manifest, tmp_path) == "record damaged: thermo.csv has 4 of 9 bytes"
    (tmp_path / "thermo.csv").unlink()
    assert "thermo.csv is missing" in (damage(manifest, tmp_path) or "")
    assert decide(finished("survived"), None, retry_errors=False, damaged=True) == "keep"
    assert decide(finished("survived"), None, retry_errors=True, damaged=True) == "run"


def test_one_runner_per_campaign(tmp_path: Path) -> None:
    with (
        CampaignLock(tmp_path),
        pytest.raises(RuntimeError, match=f"another `stability run`.*process {os.getpid()} on"),
        CampaignLock(tmp_path),
    ):
        pass
    (tmp_path / ".holder-1-of-1.json").write_text('{"pid": 1, "host": "gone", "since": "long ago"}')
    with CampaignLock(tmp_path):  # nobody holds it, whatever the file says
        assert read_json(tmp_path / ".holder-1-of-1.json")["pid"] == os.getpid()
