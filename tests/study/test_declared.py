"""The study's declaration, its selection rule and its prototypes of loss terms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from scipy import stats

from benchmarks.study import hfo2, metrics
from benchmarks.study.__main__ import main
from benchmarks.study.analysis import (
    TIME,
    Tables,
    log_stable_time,
    over,
    relation,
    select,
    variance_shares,
)
from benchmarks.study.data import collected_from, log_spaced
from benchmarks.study.declared import DECLARED, read_study, training_config
from benchmarks.study.stages import jobs
from benchmarks.study.text import _on_top
from nequip_decorr import FeatureDecorrelation
from nequip_decorr.resources import configs_dir

STOCK_CONFIG = yaml.safe_load((configs_dir() / "siox_allegro.yaml").read_text())


def test_every_condition_makes_a_config() -> None:
    study = read_study()
    regime = study.regime("harsh")
    for condition in study.conditions.values():
        config = training_config(STOCK_CONFIG, condition, regime, 3)
        loss = config["training_module"]["loss"]
        assert config["seed"] == 3
        assert ("extra_metrics" in loss) == (condition.term is not None)
        assert condition.name == "stock" or condition.prediction


def test_the_papers_form_is_the_shipped_config() -> None:
    study = read_study()
    shipped = yaml.safe_load((configs_dir() / "siox_allegro_decorr.yaml").read_text())
    config = training_config(STOCK_CONFIG, study.condition("paper"), study.regime("harsh"), 1)
    ours = config["training_module"]["loss"]["extra_metrics"][0]
    theirs = shipped["training_module"]["loss"]["extra_metrics"][0]
    assert ours["coeff"] == theirs["coeff"]
    assert ours["metric"].pop("penalty") == "pearson_squared"
    schedule = theirs["metric"].pop("schedule")
    assert ours["metric"] == theirs["metric"]
    scheduler = {"_target_": "nequip_decorr.DecorrelationScheduler", "metric": ours["name"]}
    # Shipped, the coefficient ends at the term's own.
    assert config["trainer"]["callbacks"][1] == {**scheduler, **schedule, "end": theirs["coeff"]}
    assert config["epochs"] == shipped["epochs"]


def test_halves_share_no_removed_oxygens_velocities_or_hfo2_cells() -> None:
    halves = read_study().halves
    assert halves["tuning"].removal_seed != halves["heldout"].removal_seed
    for name in ("tuning", "hfo2_tuning"):
        a, b = halves[name], halves[name.replace("tuning", "heldout")]
        assert not set(a.velocity_seeds) & set(b.velocity_seeds)
        assert not set(a.cells) & set(b.cells)


def test_missing_hfo2_data_say_where_they_were_sought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEQUIP_DECORR_HFO2", str(tmp_path))
    with pytest.raises(ValueError, match=r"no HfO2 data in .*NEQUIP_DECORR_HFO2"):
        hfo2.data_folder()
    with pytest.raises(SystemExit, match=r"no HfO2 data in .*NEQUIP_DECORR_HFO2"):
        main(["screen", "--work", str(tmp_path), "--regimes", "harsh", "hfo2_many"])
    assert not (tmp_path / "models").exists(), "nothing is trained before all data are there"
    assert read_study().half_of("hfo2", "tuning") == "hfo2_tuning"
    assert read_study().half_of("harsh", "tuning") == "tuning"


def test_md_that_frames_are_collected_from_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"again trains on frames of MD that is not there.*screen"):
        main(["confirm", "--work", str(tmp_path), "--regimes", "again"])
    study = read_study()
    assert collected_from(study.regime("harsh"), tmp_path) == []
    for seed in (1, 2):
        note = tmp_path / "models" / "harsh" / "wall" / str(seed) / "md_tuning.json"
        note.parent.mkdir(parents=True)
        note.touch()
    folders = collected_from(study.regime("again"), tmp_path)
    assert [f.relative_to(tmp_path / "models").as_posix() for f in folders] == [
        "harsh/wall/1/md_tuning",
        "harsh/wall/2/md_tuning",
    ]


def test_a_second_round_takes_as_many_steps() -> None:
    study = read_study()
    harsh, again = study.regime("harsh"), study.regime("again")
    # Two crystals; 12 runs: 6 cells with one velocity, of two models.
    cells = len(study.halves["tuning"].ratios) * 2 * len(study.halves["tuning"].velocity_seeds)
    frames = 2 * again.frames + cells * 2 * again.collected["per_run"]
    assert frames == 80
    assert frames * again.epochs == 2 * harsh.frames * harsh.epochs


def test_frames_are_spaced_in_the_logarithm_of_time() -> None:
    frames = [Atoms(info={"k": k}) for k in range(501)]
    assert [f.info["k"] for f in log_spaced(frames, 6)] == [1, 3, 12, 42, 144, 500]
    assert [f.info["k"] for f in log_spaced(frames[:3], 6)] == [1, 2]
    assert log_spaced(frames[:1], 6) == []


def test_hfo2_stock_has_no_term(tmp_path: Path) -> None:
    stock = hfo2.stock_config(tmp_path)
    assert "extra_metrics" not in stock["training_module"]["loss"]
    assert [c["_target_"].rsplit(".", 1)[1] for c in stock["trainer"]["callbacks"]] == [
        "ModelCheckpoint"
    ]
    assert len(stock["test_files"]) == len(hfo2.TEST_SETS)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match="no condition 'papre'; declared: stock, paper"):
        read_study().condition("papre")


def test_frames_of_silicon_oxide_train_nothing_in_hafnium_oxide(tmp_path: Path) -> None:
    study = read_study()
    names = ["stock", "more_data"]
    listed = jobs(study, tmp_path, ["harsh", "hfo2_many"], names, [1], "tuning")
    assert [(j.model.regime, j.model.condition) for j in listed] == [
        ("harsh", "stock"),
        ("harsh", "more_data"),
        ("hfo2_many", "stock"),
    ]
    options = ["--regimes", "hfo2_many", "--conditions", "more_data"]
    with pytest.raises(SystemExit, match="more_data trains on the frames of medium, not of hfo2"):
        main(["screen", "--work", str(tmp_path), *options])


def test_an_unknown_key_is_an_error(tmp_path: Path) -> None:
    data = yaml.safe_load(DECLARED.read_text())
    data["conditions"][1]["shedule"] = {}
    path = tmp_path / "conditions.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ValueError, match="shedule"):
        read_study(path)


def _tables(rmst: dict[str, float], error: dict[str, float], seeds: int = 4) -> Tables:
    """Runs that fail at a set time, correlation falling with it."""
    models: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    for name, time in rmst.items():
        for seed in range(1, seeds + 1):
            scaled = time * (1 + 0.1 * seed)
            key = {"regime": "harsh", "condition": name, "train_seed": seed}
            models.append(
                {**key, "force_mae_test_id": error[name], "correlation_test_id": 1 / scaled}
            )
            for structure in ("a", "b"):
                runs.append(
                    {**key, "half": "tuning", "structure": structure, "temperature_K": 2000.0}
                    | {"seed": 1, "status": "failed", "cause": "contact", "length_ps": 10.0}
                    | {"stable_time_ps": scaled}
                )
    return Tables.of("harsh", models, runs)


def test_best_found_is_the_longest_lived_within_the_bound() -> None:
    rmst = {"stock": 1.0, "a": 1.5, "b": 3.0}
    tables = _tables(rmst, {"stock": 0.1, "a": 0.101, "b": 0.105})
    assert select(tables, ["a", "b"], "stock") == ("a", 1.02)
    tables = _tables(rmst, {"stock": 0.1, "a": 0.108, "b": 0.12})
    assert select(tables, ["a", "b"], "stock") == ("a", 1.1)
    tables = _tables({**rmst, "a": 0.5}, {"stock": 0.1, "a": 0.1, "b": 0.2})
    assert select(tables, ["a", "b"], "stock")[0] is None


def test_relation_has_the_sign_that_was_planted() -> None:
    tables = _tables({"stock": 1.0, "a": 2.0}, {"stock": 0.1, "a": 0.1})
    assert log_stable_time(tables, "tuning")["stock", 1] == pytest.approx(0.0414, abs=1e-3)
    found = relation(tables, ["tuning"], within=False)
    assert found is not None
    assert found.models == 8
    assert found.estimate.value == pytest.approx(-1.0)


def test_between_conditions_and_within_them_are_told_apart() -> None:
    tables = _tables({"stock": 1.0, "a": 10.0}, {"stock": 0.1, "a": 0.1})
    # Falls with the time within each condition; the longer-lived condition is the correlated one.
    factor = {"stock": 1, "a": 1000}
    models = [
        {**m, "correlation_test_id": m["correlation_test_id"] * factor[m["condition"]]}
        for m in tables.models
    ]
    signs = [
        found.estimate.value
        for within in (False, True)
        if (found := relation(replace(tables, models=models), ["tuning"], within))
    ]
    assert signs[0] > 0.4
    assert signs[1] == pytest.approx(-1)


def test_whole_seeds_are_fewer_than_models() -> None:
    # Correlation and time are the seed's alone, so 20 conditions say no more than one.
    names = [f"c{k}" for k in range(20)]
    tables = _tables(dict.fromkeys(names, 1.0), dict.fromkeys(names, 0.1), seeds=6)
    by_seed = {1: 0.3, 2: 0.6, 3: 0.1, 4: 0.5, 5: 0.2, 6: 0.4}
    models = [{**m, "correlation_test_id": by_seed[m["train_seed"]]} for m in tables.models]
    found = relation(replace(tables, models=models), ["tuning"], within=False)
    assert found is not None
    widths = [e.high - e.low for e in (found.estimate, found.by_seed)]
    assert widths[1] > 2 * widths[0]
    assert found.estimate.value == found.by_seed.value


def test_ratios_over_stock_seed_by_seed() -> None:
    tables = _tables({"stock": 1.0, "a": 2.0}, {"stock": 0.1, "a": 0.11})
    found = over(tables, "tuning", "stock", "a")
    assert found[TIME][0] == pytest.approx(2)
    assert found[TIME][1] == pytest.approx([2] * 4)
    assert found["force_mae_test_id"][1] == pytest.approx([1.1] * 4)
    assert found["force_mae_ood"][1] == []


def test_what_is_said_of_a_half_is_of_its_seeds() -> None:
    rmst = {"stock": 1.0, "careful": 2.0, "careful_paper": 3.0}
    tables = _tables(rmst, {"stock": 0.1, "careful": 0.2, "careful_paper": 0.22})
    for name, error in (("careful", 0.2), ("careful_paper", 2.0)):
        key = {"regime": "harsh", "condition": name, "train_seed": 101}
        tables.models.append({**key, "force_mae_test_id": error})
    said = _on_top(tables, "tuning")
    assert "RMST ratio 1.5 [" in said
    assert "ID force error ratio 1.1 [1.1, 1.1]" in said


def test_what_was_planted_in_the_seeds_is_found_there() -> None:
    tables = _tables({"stock": 1.0, "a": 1.0, "b": 1.0}, dict.fromkeys(("stock", "a", "b"), 0.1))
    shares = variance_shares(tables, "tuning", ["stock", "a", "b"], (1, 4))
    assert shares is not None
    assert shares.seed == pytest.approx(1)
    assert shares.condition == pytest.approx(0, abs=1e-12)
    assert shares.seed_p < 1e-6
    assert shares.condition_p == pytest.approx(1)
    assert shares.by_seed_ps == pytest.approx({1: 1.1, 4: 1.4})
    tables = _tables({"stock": 1.0, "a": 10.0}, dict.fromkeys(("stock", "a"), 0.1))
    shares = variance_shares(tables, "tuning", ["stock", "a"], (1, 2))
    assert shares is not None
    assert shares.condition > 0.99


def test_shares_of_noise_are_those_of_a_two_way_analysis_of_variance() -> None:
    # Against the sums of squares of a least squares fit of dummies.
    names, seeds = ["stock", "a", "b", "c"], (1, 2, 3)
    tables = _tables(dict.fromkeys(names, 1.0), dict.fromkeys(names, 0.1), seeds=3)
    rng = np.random.default_rng(0)
    y = rng.normal(size=(4, 3))
    runs = [
        {**r, "stable_time_ps": 10 ** y[names.index(r["model"]), r["train_seed"] - 1]}
        for r in tables.runs
    ]
    shares = variance_shares(replace(tables, runs=runs), "tuning", names, seeds)
    assert shares is not None
    which = np.indices(y.shape).reshape(2, -1)
    full = np.concatenate([np.eye(4)[which[0]], np.eye(3)[which[1]]], axis=1)

    def rest(columns: np.ndarray) -> float:
        fit = columns @ np.linalg.lstsq(columns, y.ravel(), rcond=None)[0]
        return float(((y.ravel() - fit) ** 2).sum())

    seed, condition = rest(full[:, :4]) - rest(full), rest(full[:, 4:]) - rest(full)
    total = float(((y - y.mean()) ** 2).sum())
    assert shares.seed == pytest.approx(seed / total)
    assert shares.condition == pytest.approx(condition / total)
    f = (condition / 3) / (rest(full) / 6)
    assert shares.condition_p == pytest.approx(stats.f.sf(f, 3, 6))


def _output(seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    edges, atoms = 60, 10
    index = torch.stack([torch.arange(edges) % atoms, (torch.arange(edges) * 7 + 3) % atoms])
    length = torch.rand(edges, 1, generator=rng)
    noise = torch.randn(edges, 8, generator=rng)
    return {
        "edge_features": (noise + 3 * length).requires_grad_(),
        "edge_index": index,
        "edge_lengths": length,
        "atom_types": torch.zeros(atoms, 1, dtype=torch.long),
        "pos": torch.randn(atoms, 3, generator=rng),
    }


@pytest.mark.parametrize(
    "name", ["AtomDecorrelation", "ResidualDecorrelation", "Correlating", "VarianceFloor"]
)
def test_prototypes_give_a_finite_value_and_gradient(name: str) -> None:
    data = _output()
    value = getattr(metrics, name)(block_size=4)(data, data)
    (gradient,) = torch.autograd.grad(value, data["edge_features"])
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


def test_length_explains_what_was_planted() -> None:
    data = _output()
    with torch.no_grad():
        plain = FeatureDecorrelation()(data, data)
        residual = metrics.ResidualDecorrelation()(data, data)
        rewarded = metrics.Correlating()(data, data)
    assert residual < 0.5 * plain
    assert float(rewarded) == pytest.approx(1 - float(plain))
