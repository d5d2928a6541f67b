"""The commands, and a campaign that is killed again and again (with real MD)."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.io
import pytest
import yaml
from ase.build import bulk

from nequip_decorr.campaign.several import join
from nequip_decorr.campaign.store import read_runs
from nequip_decorr.campaign.times import known_and_missing
from nequip_decorr.cli.main import main
from nequip_decorr.cli.stability import _closing
from nequip_decorr.datasets.siox import quartz
from nequip_decorr.md.engines import available_engines
from tests.helpers import synthetic

NO_LIBRARY = available_engines()["lammps-library"]
REAL = pytest.mark.skipif(NO_LIBRARY is not None, reason=f"engine lammps-library: {NO_LIBRARY}")


def write_campaign(folder: Path, **changes: Any) -> Path:
    """The Tersoff reference, which survives, and a bad Lennard-Jones, which does not."""
    ase.io.write(folder / "quartz.xyz", quartz())
    data = {
        "models": {
            "tersoff": {"reference": "siox"},
            "lj": {"lammps": {"pair_style": "lj/cut 4", "pair_coeff": "* * 0.3 1.8"}},
        },
        "structures": ["quartz.xyz"],
        "temperatures_K": [300],
        "replicas": 2,
        "length_ps": 0.2,
        **changes,
    }
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def start(path: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "nequip_decorr.cli", "stability", "run", str(path)]
    return subprocess.Popen(
        [*command, "--out", str(out), "--workers", "2", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def manifests(out: Path) -> list[dict[str, Any]]:
    found = []
    for path in out.glob("runs/[!.]*/manifest.json"):
        try:
            found.append(json.loads(path.read_text()))
        except FileNotFoundError:
            continue
    return found


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    for _ in range(1200):
        if found := condition():
            return found
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("nothing happened within a minute")


def finished(out: Path) -> dict[str, str]:
    return {m["run_id"]: m["attempt"] for m in manifests(out) if m["result"] and not m["redo"]}


def running(out: Path) -> list[int]:
    return [m["pid"] for m in manifests(out) if m["status"] == "running"]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def table_without_times(out: Path) -> bytes:
    with (out / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["wall_s"]
    return json.dumps(rows).encode()


@REAL
@pytest.mark.slow
def test_a_campaign_killed_three_times_gives_the_same_table(tmp_path: Path) -> None:
    path = write_campaign(tmp_path, replicas=5, length_ps=2.505)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    said, _ = start(path, whole).communicate(timeout=300)
    assert "next: nequip-decorr stability report" in said

    kept: dict[str, str] = {}
    for victim in ("main", "worker", "main"):
        process = start(path, killed)
        wait_until(lambda: len(finished(killed)) > len(kept) and running(killed), process)  # noqa: B023
        workers = running(killed)
        os.kill(process.pid if victim == "main" else workers[0], signal.SIGKILL)
        if victim == "worker":
            wait_until(lambda: gone(workers[0]), process)  # noqa: B023
            time.sleep(1.0)
            process.kill()
        process.communicate()
        for _ in range(100):  # nobody goes on computing
            if all(gone(pid) for pid in workers):
                break
            time.sleep(0.05)
        assert all(gone(pid) for pid in workers)
        now = finished(killed)
        assert kept.items() <= now.items()
        kept = now
    assert len(kept) < 10, "the kills came too late to mean anything"
    said, _ = start(path, killed).communicate(timeout=300)
    assert f"{len(kept)} finished before and kept" in said
    assert kept.items() <= finished(killed).items()
    assert table_without_times(whole) == table_without_times(killed)
    with (whole / "runs.csv").open(newline="") as file:
        ends = {(row["model"], row["status"]) for row in csv.DictReader(file)}
    assert ends == {("tersoff", "survived"), ("lj", "failed")}


@REAL
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    path = write_campaign(tmp_path, models={"tersoff": {"reference": "siox"}}, length_ps=3)
    out = tmp_path / "out"
    process = start(path, out)
    workers = wait_until(lambda: running(out), process)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"Stopped by {number.name}; finished runs are kept." in said
    assert "will be done again. Start the same command again to go on." in said
    assert all(gone(pid) for pid in workers)
    assert all(m["redo"] and m["status"] == "interrupted" for m in manifests(out) if m["result"])
    process = start(path, out)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "all runs: 2 survived" in said


def processes_in(folder: Path) -> list[str]:
    """Processes whose working directory lies in a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.resolve().is_relative_to(folder):
                found.append((link.parent / "comm").read_text().strip())
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")
def test_kill_9_leaves_no_lammps_behind(tmp_path: Path) -> None:
    if reason := available_engines()["lammps"]:
        pytest.skip(f"engine lammps: {reason}")
    models = {"tersoff": {"reference": "siox"}}
    path = write_campaign(tmp_path, models=models, length_ps=100, engine="lammps")
    out = tmp_path / "out"
    process = start(path, out)
    wait_until(lambda: processes_in(out), process)
    process.kill()
    process.communicate()
    for _ in range(100):
        if not processes_in(out):
            break
        time.sleep(0.05)
    assert processes_in(out) == []


@REAL
@pytest.mark.slow
def test_walltime_of_real_runs(tmp_path: Path) -> None:
    models = {"tersoff": {"reference": "siox"}}
    changes = {"models": models, "replicas": 1, "length_ps": 500}
    out = tmp_path / "out"
    for _ in range(2):
        path = write_campaign(tmp_path, **changes, walltime="1 s")
        assert main(["stability", "run", str(path), "--out", str(out)]) == 0
    (row,) = read_runs(out)
    assert (row["status"], row["message"]) == ("interrupted", "walltime")
    assert 0 < row["stable_time_ps"] < 500
    (attempt,) = finished(out).values()
    path = write_campaign(tmp_path, **changes, walltime="2 s")
    assert main(["stability", "run", str(path), "--out", str(out)]) == 0
    assert finished(out) != {row["run_id"]: attempt}
    assert read_runs(out)[0]["last_step"] > row["last_step"]


@REAL
def test_run_status_compare_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_campaign(tmp_path)
    out = tmp_path / "c_stability"
    assert main(["stability", "run", str(path), "--check"]) == 0
    assert "c: runs 4 = models 2 x structures 1 x temperatures 1 x seeds 2" in (
        capsys.readouterr().out
    )
    assert not out.exists()
    assert main(["stability", "run", str(path), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "4 runs, 4 to do" in said
    assert "[4/4] " in said
    assert "all runs: 2 survived, 2 failed: " in said
    assert said.splitlines()[-5:] == [
        f"made in {out}:",
        "  runs.csv      a row per finished run",
        "  runs/RUN_ID/  of each run: manifest.json (result), thermo.csv (record), frames",
        f"next: nequip-decorr stability report {out}",
        f"      nequip-decorr stability compare {out}",
    ]

    assert main(["stability", "status", str(out)]) == 0
    said = capsys.readouterr().out
    assert "tersoff" in said and "2 survived" in said
    assert main(["stability", "status", str(out), "--runs"]) == 0
    said = capsys.readouterr().out
    assert "quartz" in said and "earlier settings" not in said
    shutil.copytree(next(out.glob("runs/lj-*")), out / "runs" / "lj-longer")
    shutil.copytree(next(out.glob("runs/lj-*")), out / "runs" / ".old-lj")
    assert main(["stability", "status", str(out)]) == 0
    more = f"of earlier settings or models, in {out / 'runs'}, and counted nowhere: 1\n"
    assert more in capsys.readouterr().out
    shutil.rmtree(out / "runs" / "lj-longer")
    assert main(["stability", "compare", str(out), "--models", "lj", "tersoff"]) == 0
    assert "tersoff" in capsys.readouterr().out
    page = tmp_path / "page"
    assert main(["stability", "report", str(out), "--out", str(page), "--horizon-ps", "0.1"]) == 0
    assert f"report: {page / 'index.html'}" in capsys.readouterr().out
    assert "lj" in (page / "index.html").read_text()
    assert main(["stability", "report", str(tmp_path)]) == 2
    assert "no campaign here" in capsys.readouterr().err
    next(out.glob("runs/lj-*/manifest.json")).unlink()
    assert main(["stability", "compare", str(out)]) == 0
    said = capsys.readouterr().out
    assert "1 run of lj left out: without an end yet." in said
    assert "1 run of tersoff left out: no partner." in said
    (other,) = out.glob("runs/lj-*/manifest.json")
    ended = json.loads(other.read_text())
    other.write_text(json.dumps({**ended, "status": "error", "cause": None, "message": "x"}))
    rows, missing = known_and_missing(join([out]))
    assert missing == {"lj": 1} and sum(row["status"] == "error" for row in rows) == 1
    other.unlink()
    assert main(["stability", "compare", str(out)]) == 2
    assert "; without an end yet: 2 of 'lj'" in capsys.readouterr().err
    assert main(["stability", "compare", str(out), "--models", "lj", "nobody"]) == 2
    assert "models: got nobody; allowed: tersoff, lj" in capsys.readouterr().err


def test_mistakes_end_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("model: x\n")
    assert main(["stability", "run", str(tmp_path / "c.yaml")]) == 2
    said = capsys.readouterr().err
    assert "4 mistakes" in said
    assert "unknown key 'model' (did you mean 'models'?)" in said
    assert main(["stability", "status", str(tmp_path)]) == 2
    assert "no campaign here" in capsys.readouterr().err
    (tmp_path / ".lock-1-of-1").touch()
    assert main(["stability", "status", str(tmp_path)]) == 2
    assert "no plan yet; `stability run` writes it once" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["stability", "run", "c.yaml", "--workers", "none"])
    assert "got 'none'; allowed: a whole number of at least 1" in capsys.readouterr().err


def test_a_warning_does_not_stop_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ase.io.write(tmp_path / "cu.xyz", bulk("Cu", cubic=True).repeat(2))
    data = {
        "models": {"emt": {"ase": {"calculator": "ase.calculators.emt.EMT"}}},
        "structures": ["cu.xyz"],
        "temperatures_K": 300,
        "replicas": 1,
        "length_ps": 0.05,
        "timestep_fs": 10,
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    assert main(["stability", "run", str(tmp_path / "c.yaml"), "--workers", "1"]) == 0
    said = capsys.readouterr()
    assert "warning: timestep_fs: 10 fs is long for Cu" in said.err
    assert "1 survived" in said.out


EMT = {"ase": {"calculator": "ase.calculators.emt.EMT"}}
BROKEN = {"ase": {"calculator": "ase.calculators.lj.LennardJones", "arguments": {"rc": "x"}}}


def write_copper(folder: Path, **keys: Any) -> None:
    """A campaign of copper, 5 fs long."""
    ase.io.write(folder / "cu.xyz", bulk("Cu", cubic=True).repeat(2))
    data = {"structures": ["cu.xyz"], "temperatures_K": 300, "length_ps": 0.005, **keys}
    (folder / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))


def test_a_labelled_campaign_ends_with_its_times_and_all_that_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_copper(tmp_path, models={"emt": EMT, "broken": BROKEN}, replicas=1, labels=EMT)
    status = main(["stability", "run", str(tmp_path / "c.yaml"), "--workers", "1"])
    out = tmp_path / "c_stability"
    lines = capsys.readouterr().out.splitlines()
    assert "  times.csv     stable, trusted and right time of each run" in lines
    assert lines[-4:] == [
        f"next: nequip-decorr stability status {out} --runs",
        f"      nequip-decorr stability report {out}",
        f"      nequip-decorr stability compare {out}",
        f"      nequip-decorr stability compare {out} --time right",
    ]
    assert status == 1


def test_runs_without_labels_end_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for labels, status in ((BROKEN, 1), (EMT, 0)):
        write_copper(tmp_path, models={"emt": EMT}, replicas=2, labels=labels)
        assert main(["stability", "run", str(tmp_path / "c.yaml"), "--workers", "1"]) == status
        shown.append(capsys.readouterr().out)
    assert "all runs: 2 survived" in shown[0] and "no labels (" in shown[0]
    assert "runs without labels: 2; the same command labels these alone" in shown[0]
    assert "2 finished before and kept" in shown[1] and "without labels" not in shown[1]


def test_the_trusted_time_is_offered_where_all_models_have_a_grade(tmp_path: Path) -> None:
    offered = {}
    for graded in (True, False):
        out = synthetic.write_campaign(
            tmp_path / str(graded), {"a": {}, "b": {}}, seeds=(1,), trajectory=False, graded=graded
        )
        names = [SimpleNamespace(name=name) for name in "ab"]
        campaign = SimpleNamespace(out=out, models=names, reference=None, labels=None)
        lines = _closing(campaign, read_runs(out), 0, False)
        offered[graded] = any(line.endswith("--time trusted") for line in lines)
    assert offered == {True: True, False: False}


def test_a_shard_as_in_a_slurm_array(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ase.io.write(tmp_path / "cu.xyz", bulk("Cu", cubic=True).repeat(2))
    data = {
        "models": {"emt": {"ase": {"calculator": "ase.calculators.emt.EMT"}}},
        "structures": ["cu.xyz"],
        "temperatures_K": 300,
        "replicas": 2,
        "length_ps": 0.005,
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    run = ["stability", "run", str(tmp_path / "c.yaml")]
    assert main([*run, "--shard", "2/2"]) == 0
    said = capsys.readouterr().out
    assert "1 runs, 1 to do" in said
    assert f"next: nequip-decorr stability status {tmp_path / 'c_stability'}" in said
    assert main(["stability", "status", str(tmp_path / "c_stability")]) == 0
    assert "1 survived, 1 pending" in capsys.readouterr().out
    assert main([*run, "--shard", "3/2"]) == 2
    assert "shard: got '3/2'; allowed: I/N with I from 1 to N" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["stability"], ["stability", "run"], ["stability", "report"]):
        with pytest.raises(SystemExit, match="0"):
            main([*words, "--help"])
        said = capsys.readouterr().out
        assert "nequip-decorr" in said
        assert words[1:] != ["run"] or "--shard $SLURM_ARRAY_TASK_ID/8" in said
    assert main(["stability", "example"]) == 0
    example = yaml.safe_load(capsys.readouterr().out)
    assert {"models", "structures", "temperatures_K"} <= example.keys()


def test_one_error_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["stability", "status", str(tmp_path)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("nequip-decorr: error: ") and "Traceback" not in said
    for debug in (["--debug", *words], [*words, "--debug"]):
        assert main(debug) == 2
        assert "Traceback" in capsys.readouterr().err

    def break_down(args: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr("nequip_decorr.cli.stability._status", break_down)
    assert main(words) == 70
    said = capsys.readouterr().err
    assert "Traceback" in said and "a bug" in said and "please report" in said

    def fill(args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nequip_decorr.cli.stability._status", fill)
    assert main(words) == 3

    def interrupt(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("nequip_decorr.cli.stability._status", interrupt)
    assert main(words) == 130


def test_check_shows_what_was_read_and_what_the_engine_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ase.io.write(tmp_path / "POSCAR", bulk("Cu", cubic=True).repeat(2), format="vasp")
    ase.io.write(tmp_path / "Cu1.5.xyz", bulk("Cu", cubic=True).repeat(2))
    data = {
        "models": {"emt": {"ase": {"calculator": "ase.calculators.emt.EMT"}}},
        "structures": ["POSCAR", "Cu1.5.xyz"],
        "temperatures_K": 300,
        "criteria": {"energy_below_eV": 0.5},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    assert main(["stability", "run", str(tmp_path / "c.yaml"), "--check"]) == 0
    said = capsys.readouterr()
    assert "POSCAR: Cu32, 32 atoms, read as vasp" in said.out
    assert "Cu1.5: Cu32, 32 atoms, read as extxyz" in said.out
    assert "criteria.energy_below_eV is now energy_drop_eV_per_atom" in said.err


def test_the_last_lines_of_a_run_with_reference_curves(tmp_path: Path) -> None:
    models = [SimpleNamespace(name=name) for name in ("a", "b")]
    for reference, compared in (({"cell": {"rdf": "x.csv"}}, True), ("b", False)):
        campaign = SimpleNamespace(models=models, reference=reference, labels=None, out=tmp_path)
        lines = "\n".join(_closing(campaign, [], 0, False))
        assert ("stability compare" in lines) is compared
