"""Campaign files: short ones suffice, and every mistake is found before anything runs."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk, molecule

from nequip_decorr.campaign.models import in_words
from nequip_decorr.campaign.plan import plan_campaign
from nequip_decorr.campaign.schema import KEYS, MODES, CampaignError, load_campaign, parse_campaign
from nequip_decorr.campaign.store import read_plan
from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.engines import available_engines
from nequip_decorr.md.spec import ModelSpec, RunSpec
from nequip_decorr.models.compiling import content_hash
from nequip_decorr.models.metadata import read_info, type_names
from nequip_decorr.resources import configs_dir

EMT = {"ase": {"calculator": "ase.calculators.emt.EMT"}}


def fake_compiled(path: Path, types: str = "Cu Al") -> Path:
    """A zip with the metadata of a compiled model, and no model."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data/aotinductor/model/x.wrapper.json", '{"nodes": []}')
        note = json.dumps({"type_names": types, "r_max": "4.0", "AOTI_DEVICE_KEY": "cpu"})
        archive.writestr("m/data/aotinductor/model/x.wrapper_metadata.json", note)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, a in (("a", 3.6), ("b", 3.7), ("c", 3.8)):
        ase.io.write(tmp_path / f"{name}.xyz", bulk("Cu", a=a, cubic=True).repeat(2))
    ase.io.write(tmp_path / "frames.xyz", [bulk("Cu", a=a, cubic=True).repeat(2) for a in (3.5, 4)])
    fake_compiled(tmp_path / "stock.nequip.pt2")
    fake_compiled(tmp_path / "decorr.nequip.pt2")
    return tmp_path


def campaign_data(**changes: Any) -> dict[str, Any]:
    data = {"models": {"emt": EMT}, "structures": ["a.xyz"], "temperatures_K": 300}
    return {key: value for key, value in {**data, **changes}.items() if value != "absent"}


def mistakes(folder: Path, **changes: Any) -> list[str]:
    with pytest.raises(CampaignError, match="mistake") as caught:
        parse_campaign(campaign_data(**changes), folder)
    return caught.value.mistakes


needs_library = pytest.mark.skipif(
    available_engines()["lammps-library"] is not None,
    reason=f"engine lammps-library: {available_engines()['lammps-library']}",
)


@needs_library
def test_fifteen_lines_are_enough(folder: Path) -> None:
    text = """\
models:
  stock: stock.nequip.pt2
  decorr: decorr.nequip.pt2
structures: [a.xyz, b.xyz, c.xyz]
temperatures_K: [300, 1200]
"""
    assert len(text.splitlines()) <= 15
    (folder / "melt.yaml").write_text(text)
    campaign = load_campaign(folder / "melt.yaml")
    assert campaign.num_runs == 2 * 3 * 2 * 3
    assert campaign.name == "melt"
    assert campaign.out == folder / "melt_stability"
    assert campaign.run["engine"] == "lammps-library"
    assert campaign.run["steps"] == 10_000
    assert campaign.warnings == ()
    assert "runs 36 = models 2 x structures 3 x temperatures 2 x seeds 3" in campaign.summary()
    assert "decorr.nequip.pt2; no extrapolation grade, so no trusted time" in campaign.summary()


def test_a_model_is_described_with_its_grade(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    plain = in_words(ModelSpec("m", "nequip", path=str(path)))
    assert "compiled before the runs" in plain
    assert plain.endswith(f"(to make one: nequip-decorr extrapolation fit {path} TRAINING_DATA)")
    beside = tmp_path / "best.grade.npz"
    beside.touch()
    plain = in_words(ModelSpec("m", "nequip", path=str(path)))
    entry = yaml.safe_load(plain.partition("beside it: ")[2].removesuffix(")"))
    assert entry == {"path": str(path), "grade": str(beside)}
    graded = in_words(ModelSpec("m", "nequip", path=str(path), grade=str(beside)))
    assert graded.endswith("(a minute or more); grade best.grade.npz")
    assert in_words(ModelSpec("m", "lammps", pair_style="sw")) == "pair_style sw"


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_sets_the_sizes_and_a_key_overrides_it(folder: Path, mode: str) -> None:
    campaign = parse_campaign(campaign_data(mode=mode, timestep_fs=2), folder)
    assert campaign.run["steps"] == MODES[mode]["length_ps"] * 500
    assert campaign.seeds == tuple(range(1, MODES[mode]["replicas"] + 1))
    assert campaign.run["trajectory_every"] == MODES[mode]["trajectory_every"]
    assert parse_campaign(campaign_data(mode=mode, seeds=[5]), folder).seeds == (5,)
    assert parse_campaign(campaign_data(mode=mode, length_ps=3), folder).run["steps"] == 3000


def test_every_mistake_is_reported_at_once(folder: Path) -> None:
    found = mistakes(
        folder,
        models={"gone": "gone.nequip.pt2", "emt": EMT},
        structures=["missing.cif"],
        temperature_K=300,
        temperatures_K=[300, -5],
        ensemble="nvtt",
        criteria={"contact_fractoin": 0.5, "temperature_factor": "hot"},
        timestep_fs=float("nan"),
        seeds=[1, 1],
        walltime="soon",
    )
    text = "\n".join(found)
    for expected in (
        r"campaign: unknown key 'temperature_K' \(did you mean 'temperatures_K'\?\); allowed: bar",
        r"models\.gone: no such file: .*gone\.nequip\.pt2",
        r"structures\[0\]: no such file: .*missing\.cif",
        r"temperatures_K\[1\]: got -5; allowed: a finite number above 0",
        r"seeds: 1 is given twice",
        r"criteria: unknown key 'contact_fractoin' \(did you mean 'contact_fraction'\?\)",
        r"criteria\.temperature_factor: got 'hot'; allowed: a finite number above 1",
        r"timestep_fs: got nan; allowed: a finite number above 0",
        r"ensemble: got 'nvtt'; allowed: one of nve, nvt, npt \(did you mean 'nvt'\?\)",
        r"walltime: got 'soon'; allowed: seconds, or a text such as",
    ):
        assert re.search(expected, text), f"{expected} is not in\n{text}"
    assert len(found) == 10


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"models": "absent"}, r"models: got nothing; allowed: a mapping of name to model"),
        ({"models": {"x": {"lammps": {"pair_style": "sw"}}}}, r"pair_coeff: got nothing; allowed"),
        (
            {"models": {"x": {"lammps": {"pair_style": "sw", "pair_coeff": "* *\nshell rm x"}}}},
            r"pair_coeff: got .*; allowed: the words after the LAMMPS command, on one line",
        ),
        (
            {"models": {"x": {"lammps": {"pair_style": "sw", "pair_coeff": "* * no.sw Cu"}}}},
            r"pair_coeff: no such file beside the campaign file",
        ),
        ({"models": {"x": {"ase": {"calculator": "os.system"}}}}, r"not a class of an ASE calc"),
        ({"models": {"x": {"ase": {"calculator": "subprocess.Popen"}}}}, r"not a class of an ASE"),
        ({"models": {"x": {"ase": {"calculator": "no.such"}}}}, r"cannot be imported"),
        ({"models": {"x": {"reference": "sioxx"}}}, r"one of siox \(did you mean 'siox'\?\)"),
        (
            {"models": {"x": "a.xyz"}},
            r"models\.x: .*a\.xyz: is a text file; allowed: a compiled model \(\.nequip\.pt2\)",
        ),
        ({"models": {"x": {"path": "a", "ase": {}}}}, r"models\.x: got .*; allowed: a file name"),
        ({"structures": ["a.xyz", "a.xyz"]}, r"'a' names 2 of them"),
        ({"structures": {"s": {"file": "a.xyz", "repeat": 0}}}, r"repeat: got 0; allowed"),
        ({"structures": ["frames.xyz@7"]}, r"cannot be read"),
        ({"temperatures_K": "absent"}, r"temperatures_K: got nothing; allowed: a finite number"),
        ({"temperatures_K": []}, r"temperatures_K: got \[\]; allowed"),
        ({"temperatures_K": True}, r"temperatures_K: got True; allowed"),
        ({"temperatures_K": [300, 300]}, r"temperatures_K: 300 is given twice"),
        ({"replicas": 2.5}, r"replicas: got 2.5; allowed: a finite whole number of at least 1"),
        ({"replicas": 2, "seeds": [1]}, r"seeds, replicas: both are given"),
        ({"length_ps": "long"}, r"length_ps: got 'long'; allowed: a finite number above 0"),
        ({"mode": "fast"}, r"mode: got 'fast'; allowed: one of quick, standard, full"),
        ({"engine": "gromacs"}, r"engine: got 'gromacs'; allowed: one of lammps, lammps-library"),
        ({"device": "tpu"}, r"device: got 'tpu'; allowed: cpu, cuda"),
        ({"criteria": {"check_every": None}}, r"check_every: got nothing; .*cannot be switched"),
        ({"criteria": {"check_every": 0}}, r"check_every: got 0; allowed"),
        ({"criteria": [1]}, r"criteria: got \[1\]; allowed: a mapping"),
        ({"criteria": {"contact_fraction": 1.0}}, r"every run would fail at step 0"),
        ({"protocol": "ramp"}, r"protocol: got 'ramp'; allowed: constant, or \{ramp:"),
        ({"protocol": {"ramp": {"pressure_end_GPa": 5}}}, r"ensemble: got 'nvt'; allowed: npt"),
        (
            {"protocol": {"ramp": {"temperature_end_K": 900}}, "ensemble": "nve"},
            r"ensemble: got 'nve'; allowed: nvt or npt with a temperature ramp",
        ),
        ({"reference": "tersof"}, r"reference: got 'tersof'; allowed: one of emt"),
        ({"reference": {"a": {"rdf": "none.csv"}}}, r"reference\.a\.rdf: no such file"),
        ({"reference": {"z": {"rdf": "a.xyz"}}}, r"reference: unknown key 'z'.*allowed: a"),
        ({"lammps_command": 5}, r"lammps_command: got 5; allowed: a command"),
        ({"walltime": -1}, r"walltime: got -1; allowed: seconds"),
    ],
)
def test_a_mistake_says_what_got_and_allowed(
    folder: Path, changes: dict[str, Any], expected: str
) -> None:
    assert any(re.search(expected, line) for line in mistakes(folder, **changes))


def test_a_model_must_know_the_elements(folder: Path) -> None:
    ase.io.write(folder / "salt.xyz", bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(2))
    found = mistakes(folder, models={"m": "stock.nequip.pt2"}, structures=["salt.xyz"])
    expected = "structure 'salt' has Cl, Na, which model 'm' does not know; it knows Cu, Al"
    assert expected in found
    (folder / "broken.nequip.pt2").write_bytes(b"PK not really")
    found = mistakes(folder, models={"m": "broken.nequip.pt2"})
    assert any("is a text file; allowed: a compiled model" in line for line in found)


@pytest.mark.parametrize(
    ("atoms", "ensemble", "expected"),
    [
        (Atoms("Cu", cell=[3, 3, 3], pbc=True), "nvt", "has 1 atoms; allowed: at least 2"),
        (Atoms("Cu2", [[0, 0, 0], [0, 0, np.nan]]), "nvt", "not finite"),
        (molecule("H2O"), "npt", "allowed with npt: periodic"),
        (Atoms("X2", [[0, 0, 0], [0, 0, 3]]), "nvt", "unknown element"),
    ],
)
def test_structures_that_cannot_be_run(
    folder: Path, atoms: Atoms, ensemble: str, expected: str
) -> None:
    ase.io.write(folder / "bad.traj", atoms)
    found = mistakes(folder, structures=["bad.traj"], ensemble=ensemble)
    assert any(expected in line for line in found)


def test_a_long_time_step_is_a_warning(folder: Path) -> None:
    water = molecule("H2O", vacuum=4.0)
    ase.io.write(folder / "water.xyz", water)
    changes: dict[str, Any] = {"structures": ["water.xyz"], "timestep_fs": 20}
    campaign = parse_campaign(campaign_data(**changes), folder)
    text = "\n".join(campaign.warnings)
    assert "timestep_fs: 20 fs is long for H in 'water' (about 1.0 fs" in text
    assert "thermostat_damping_fs" not in text
    assert "has only 3 atoms" in text
    assert parse_campaign(campaign_data(timestep_fs=5), folder).warnings == ()


def test_structures_by_glob_frame_and_name(folder: Path) -> None:
    def names(structures: Any) -> list[str]:
        return [
            s.name for s in parse_campaign(campaign_data(structures=structures), folder).structures
        ]

    assert names("[abc].xyz") == ["a", "b", "c"]
    assert names(["frames.xyz@0", "a.xyz"]) == ["frames@0", "a"]
    assert names(["frames.xyz@:"]) == ["frames@0", "frames@1"]
    assert names({"first": "frames.xyz@0", "last": "frames.xyz"}) == ["first", "last"]
    big = parse_campaign(
        campaign_data(structures={"big": {"file": "a.xyz", "repeat": [2, 1, 1]}}), folder
    )
    assert len(big.structures[0].atoms) == 64


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(90, 90), ("90 s", 90), ("30 min", 1800), ("2h", 7200), ("1 d", 86400), ("01:30:05", 5405)],
)
def test_walltime(folder: Path, value: Any, seconds: float) -> None:
    assert parse_campaign(campaign_data(walltime=value), folder).run["walltime_s"] == seconds


def test_words_of_yaml_stay_words(folder: Path) -> None:
    path = folder / "c.yaml"
    text = "models: {emt: {ase: {calculator: ase.calculators.emt.EMT}}}\ntemperatures_K: 300\n"
    path.write_text(
        f"{text}structures: {{NO: a.xyz, 1.10: b.xyz, 010: c.xyz}}\nwalltime: 1:30:00\n"
    )
    campaign = load_campaign(path)
    assert [s.name for s in campaign.structures] == ["NO", "1.10", "010"]
    assert campaign.run["walltime_s"] == 5400
    path.write_text(f"{text}structures: a.xyz\nwalltime: 1:30\n")
    with pytest.raises(CampaignError, match=r"walltime: got '1:30'; allowed: seconds.*'HH:MM:SS'"):
        load_campaign(path)


def test_old_names_of_criteria_are_read_and_said(folder: Path) -> None:
    campaign = parse_campaign(campaign_data(criteria={"energy_below_eV": 0.5}), folder)
    assert campaign.run["criteria"].energy_drop_eV_per_atom == 0.5
    assert "criteria.energy_below_eV is now energy_drop_eV_per_atom" in campaign.warnings[0]
    both = {"energy_below_eV": 0.5, "energy_drop_eV_per_atom": 1}
    assert "are one; allowed: the second" in mistakes(folder, criteria=both)[0]


def test_several_pair_coeff_lines(folder: Path) -> None:
    def coeff(value: Any) -> str | None:
        models = {"lj": {"lammps": {"pair_style": "lj/cut 7", "pair_coeff": value}}}
        return parse_campaign(campaign_data(models=models), folder).models[0].pair_coeff

    assert coeff(["1 1 0.1 2", "1 2 0.1 2"]) == "1 1 0.1 2\n1 2 0.1 2"
    assert coeff("1 1 0.1 2\n1 2 0.1 2\n") == "1 1 0.1 2\n1 2 0.1 2"
    for bad in ([], ["1 1 0.1", "shell rm x"], "1 1 0.1\n\nshell rm x", [5]):
        models = {"lj": {"lammps": {"pair_style": "lj/cut 7", "pair_coeff": bad}}}
        (line,) = mistakes(folder, models=models)
        assert "models.lj.lammps.pair_coeff" in line


def test_equal_names_show_both_files_and_a_mapping_that_works(folder: Path) -> None:
    for name in ("relax_A", "relax_B"):
        (folder / name).mkdir()
        ase.io.write(folder / name / "POSCAR", bulk("Cu", cubic=True).repeat(2), format="vasp")
    (line,) = mistakes(folder, structures=["relax_*/POSCAR"])
    assert "relax_A/POSCAR, relax_B/POSCAR" in line
    mapping = yaml.safe_load(line.split("`structures: ")[1].rstrip("`"))
    found = parse_campaign(campaign_data(structures=mapping), folder).structures
    assert [s.name for s in found] == ["relax_A-POSCAR", "relax_B-POSCAR"]


def test_findings_are_kept_in_the_plan(folder: Path) -> None:
    campaign = parse_campaign(
        campaign_data(timestep_fs=10, engine="ase"), folder, out=folder / "kept"
    )
    plan_campaign(campaign)
    (finding,) = read_plan(folder / "kept")["findings"]
    assert "timestep_fs: 10 fs is long for Cu in 'a'" in finding["message"]
    assert (finding["severity"], finding["remedy"]) == (
        *("warning", "use a time step of at most 7.5 fs"),
    )


def test_every_file_of_a_glob_that_cannot_be_read_is_listed(folder: Path) -> None:
    for name, text in (
        ("x_empty", ""),
        ("x_short", "3\nProperties=species:S:1:pos:R:3\nCu 0 0 0\n"),
    ):
        (folder / f"{name}.xyz").write_text(text)
    found = mistakes(folder, structures="*.xyz")
    assert len(found) == 2
    assert "x_empty.xyz cannot be read: the file is empty" in found[0]
    assert "x_short.xyz cannot be read as extxyz" in found[1]


def test_a_lammps_file_takes_format_and_elements(folder: Path) -> None:
    dump = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
    (folder / "t.dump").write_text(f"{dump}ITEM: ATOMS id type x y z\n1 1 0 0 0\n2 2 0 0 3\n")
    (line,) = mistakes(folder, structures=["t.dump"])
    assert "give `elements: [Si, O]`" in line
    entry = {"file": "t.dump", "elements": ["Cu", "Al"], "format": "lammps-dump-text"}
    for structures in (entry, {"t": entry}, [entry]):
        (found,) = parse_campaign(campaign_data(structures=structures), folder).structures
        assert str(found.atoms.symbols) == "CuAl"
    (line,) = mistakes(folder, structures={"t": {"file": "t.dump", "format": "lamps-data"}})
    assert "did you mean 'lammps-data'?" in line


def test_criteria_overrides(folder: Path) -> None:
    given = {"contact_fraction": None, "max_force_eV_per_A": "1e3", "check_every": 10}
    criteria = parse_campaign(campaign_data(criteria=given), folder).run["criteria"]
    assert criteria.contact_fraction is None
    assert criteria.max_force_eV_per_A == 1000.0
    assert (criteria.check_every, criteria.temperature_factor) == (10, 3.0)


def test_yaml_is_plain_data_and_each_key_comes_once(folder: Path) -> None:
    path = folder / "c.yaml"
    path.write_text("models: !!python/object/apply:os.system ['touch hacked']\n")
    with pytest.raises(CampaignError, match=r"not valid YAML.*could not determine a constructor"):
        load_campaign(path)
    assert not Path("hacked").exists()
    path.write_text("models: {a: {reference: siox}, a: {reference: siox}}\n")
    with pytest.raises(CampaignError, match=r"a: given twice \(again in line 1\)"):
        load_campaign(path)
    for text in ("models: [\n", "[1, 2]: a\n"):
        path.write_text(text)
        with pytest.raises(CampaignError, match="not valid YAML"):
            load_campaign(path)
    path.write_text("models: [\n")
    with pytest.raises(CampaignError, match="not valid YAML"):
        load_campaign(path)
    path.write_text("just text\n")
    with pytest.raises(CampaignError, match="got 'just text'; allowed: a mapping"):
        load_campaign(path)
    with pytest.raises(CampaignError, match="cannot be read"):
        load_campaign(folder / "none.yaml")


def test_the_example_is_valid_but_for_its_files() -> None:
    path = configs_dir() / "stability_example.yaml"
    with pytest.raises(CampaignError, match="no such file") as caught:
        load_campaign(path)
    assert all("no such file" in line or "not available" in line for line in caught.value.mistakes)
    data = yaml.safe_load(path.read_text())
    assert data["criteria"] == asdict(Criteria()), "the example shows the defaults"
    defaults = {field.name: field.default for field in fields(RunSpec)}
    for key in set(data) & set(defaults) - {"criteria"}:
        assert data[key] == defaults[key]
    commented = set(re.findall(r"^# (\w+):", path.read_text(), re.M))
    assert set(KEYS) <= set(data) | commented


def test_the_plan_pairs_runs_and_names_them_by_content(folder: Path) -> None:
    models = {"emt": EMT, "stock": "stock.nequip.pt2"}
    changes: dict[str, Any] = {"models": models, "replicas": 2, "engine": "ase"}
    specs = plan_campaign(parse_campaign(campaign_data(**changes), folder, out=folder / "x"))
    starts = {}
    for spec in specs:
        key = (spec.structure, spec.temperature_K, spec.seed)
        starts.setdefault(key, set()).add(spec.structure_file)
    assert len(specs) == 4
    assert all(len(files) == 1 for files in starts.values())
    assert [spec.model.name for spec in specs] == ["emt", "stock", "emt", "stock"]
    assert specs == [RunSpec.from_dict(run["spec"]) for run in read_plan(folder / "x")["runs"]]

    def ids(**more: Any) -> set[str]:
        campaign = parse_campaign(campaign_data(**{**changes, **more}), folder, out=folder / "y")
        return {spec.run_id for spec in plan_campaign(campaign)}

    same = {spec.run_id for spec in specs}
    assert ids() == ids(walltime=60) == same
    assert ids(timestep_fs=2).isdisjoint(same)
    assert ids(criteria={"contact_fraction": 0.5}).isdisjoint(same)
    assert len(ids(replicas=3) & same) == 4
    fake_compiled(folder / "stock.nequip.pt2", "Cu Al Ni")
    assert len(ids() & same) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9._+-]+", name) for name in same)


def test_run_names_are_safe_for_a_file_system(folder: Path) -> None:
    models = {"../../x y|<b>": EMT, "../../x y|<i>": EMT}
    campaign = parse_campaign(campaign_data(models=models, replicas=1), folder, out=folder / "x")
    names = {spec.run_id for spec in plan_campaign(campaign)}
    assert len(names) == 2
    assert all(re.fullmatch(r"x-y-b-a-.*|x-y-i-a-.*", name) for name in names)


def test_type_names_without_running_a_models_code(tmp_path: Path) -> None:
    compiled = fake_compiled(tmp_path / "m.nequip.pt2", "Si O")
    assert read_info(compiled).r_max_A == 4.0
    assert type_names(ModelSpec("m", "nequip", path=str(compiled))) == ("Si", "O")
    with zipfile.ZipFile(tmp_path / "m.nequip.zip", "w") as archive:
        note = yaml.safe_dump({"package_version_id": 2, "atom_types": {0: "Hf", 1: "O"}})
        archive.writestr("m/model/package_metadata.txt", note)
    assert type_names(ModelSpec("m", "nequip", path=str(tmp_path / "m.nequip.zip"))) == ("Hf", "O")
    plain = {"hyper_parameters": {"model": {"model": {"type_names": ["Cu"]}}}}
    torch.save(plain, tmp_path / "a.ckpt")
    assert type_names(ModelSpec("m", "nequip", path=str(tmp_path / "a.ckpt"))) == ("Cu",)
    torch.save({**plain, "code": io.StringIO}, tmp_path / "b.ckpt")
    assert type_names(ModelSpec("m", "nequip", path=str(tmp_path / "b.ckpt"))) == ("Cu",)
    with pytest.raises(ValueError, match="is a text file; allowed: a compiled model"):
        (tmp_path / "c.ckpt").write_text("text")
        type_names(ModelSpec("m", "nequip", path=str(tmp_path / "c.ckpt")))
    assert type_names(ModelSpec("m", "lammps", pair_style="sw", pair_coeff="* * x.sw Si NULL")) == (
        "Si",
    )
    assert type_names(ModelSpec("m", "lammps", pair_style="lj", pair_coeff="* * 1 2")) is None


def test_content_decides_whether_models_are_the_same(tmp_path: Path) -> None:
    hashes = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.sw").write_text("potential")
        path = str(tmp_path / name / "x.sw")
        hashes.append(
            content_hash(ModelSpec(name, "lammps", pair_style="sw", pair_coeff=f"* * {path} Si"))
        )
    assert hashes[0] == hashes[1]
    (tmp_path / "b" / "x.sw").write_text("another")
    path = str(tmp_path / "b" / "x.sw")
    other = ModelSpec("b", "lammps", pair_style="sw", pair_coeff=f"* * {path} Si")
    assert content_hash(other) != hashes[0]
