"""Settings of a production run."""

from __future__ import annotations

from pathlib import Path

import pytest

from nequip_decorr.cli.lammps import settings_from
from nequip_decorr.cli.main import parser
from nequip_decorr.lammps_wheel import COMMAND_DEFAULT, PLUGIN_VARIABLE
from nequip_decorr.md.lammps.settings import RunSettings, run_spec


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"ensemble": "nph"}, "ensemble must be one of nve, nvt, npt, ramp, got 'nph'"),
        ({"pair": "reax"}, "pair must be one of .*, got 'reax'"),
        ({"thermostat": "berendsen"}, "thermostat must be one of .*, got 'berendsen'"),
        ({"temperature_K": 0.0}, "temperature_K must be finite and above 0, got 0.0"),
        ({"timestep_fs": float("nan")}, "timestep_fs must be finite and above 0, got nan"),
        ({"steps": 0}, "steps must be finite and at least 1, got 0"),
        ({"ranks": 0}, "ranks must be finite and at least 1, got 0"),
        ({"restart_every": -1}, "restart_every must be finite and at least 0, got -1"),
        ({"ensemble": "ramp"}, "temperature_end_K belongs to the ensemble ramp.*got None"),
        ({"temperature_end_K": 900.0}, "belongs to the ensemble ramp.*got 900.0 with nvt"),
        ({"pair": "nequip", "ranks": 2}, "runs on one MPI rank, got ranks 2"),
    ],
)
def test_mistakes(fields: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        RunSettings(**fields)  # type: ignore[arg-type]


def test_ramp_is_an_nvt_run_with_an_end() -> None:
    settings = RunSettings(ensemble="ramp", temperature_K=300, temperature_end_K=2000, seed=4)
    spec = run_spec(settings, Path("m.nequip.pt2"), "quartz")
    assert (spec.ensemble, spec.temperature_end_K, spec.seed) == ("nvt", 2000, 4)


def test_input_and_check_have_the_same_defaults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("input", "check"):
        with pytest.raises(SystemExit):
            parser().parse_args(["lammps", command, "--help"])
        words = " ".join(capsys.readouterr().out.split())
        assert f"LAMMPS executable or command (default: {COMMAND_DEFAULT})" in words
        assert f"brings the pair style (default: ${PLUGIN_VARIABLE})" in words
    arguments = ["lammps", "input", "m.nequip.pt2", "quartz.xyz", "--out", "run"]
    monkeypatch.setenv(PLUGIN_VARIABLE, "/of/environment.so")
    for more, plugin in (
        ([], "/of/environment.so"),
        (["--plugin", "/given.so"], "/given.so"),
        (["--pair", "library"], None),
    ):
        found = settings_from(parser().parse_args([*arguments, *more])).plugin
        assert found == (None if plugin is None else Path(plugin))
