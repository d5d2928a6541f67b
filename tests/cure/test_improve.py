"""The rounds of ``improve``: order, resumption and labels that come late, with faked commands."""

import json
import re
from pathlib import Path

import ase.io
import pytest
import torch
import yaml
from ase import Atoms

from nequip_decorr.campaign.labels import UNLABELLED
from nequip_decorr.campaign.models import read_models
from nequip_decorr.campaign.validate import CampaignError, Mistakes
from nequip_decorr.cli.main import main
from nequip_decorr.cure import page
from nequip_decorr.cure.improve import Improve
from nequip_decorr.cure.improve_file import absolute, load_plan
from nequip_decorr.cure.labelling import WaitingError
from nequip_decorr.cure.page import in_words
from nequip_decorr.errors import UserError
from nequip_decorr.features.frames import load_model
from nequip_decorr.models.classical import potential_files
from nequip_decorr.processes import CommandError
from nequip_decorr.training.resume import composed
from tests.helpers.forks import run
from tests.helpers.training import build, frames, module_config, run_config


class Fake:
    """Does what the commands would leave, and notes them."""

    def __init__(self, to_label=(3, 2, 0), labels=()):
        self.to_label, self.labels = list(to_label), list(labels)
        self.seen, self.commands = [], {}

    def __call__(self, command, log):
        name, folder = log.stem, log.parent
        self.seen.append(f"{folder.name}/{name}")
        self.commands[self.seen[-1]] = command
        if name == "train":
            (folder / "training").mkdir(exist_ok=True)
            (folder / "training" / "best.ckpt").write_text("weights")
        if name == "compile":
            (folder / "model.nequip.pt2").write_text(f"of {folder.name}")
        if name == "collect":
            number = self.to_label.pop(0)
            if not number:
                log.write_text("nothing to label: no frame is beyond the edge\n")
                raise CommandError("exit 1")
            wanted = int(command[command.index("--frames") + 1])
            chosen = frames(min(number, wanted), seed=9)
            chosen[0].info |= {"structure": "hot", "time_ps": 0.125, "largest_grade": 2.5}
            chosen[0].info |= {"worst_atom": 1, "chosen_for": "largest grade"}
            ase.io.write(folder / "to_label.xyz", chosen)
            log.write_text(f"9 frames looked at: {number} candidates\n")
        if name == "label":
            number = self.labels.pop(0) if self.labels else 99
            if number is None:
                raise CommandError("the cluster is down")
            if not number:
                return  # jobs are submitted
            found = frames(99, seed=9)[
                : min(number, len(ase.io.read(folder / "to_label.xyz", ":")))
            ]
            ase.io.write(folder / "labelled.xyz", found)


@pytest.fixture
def path(tmp_path):
    ase.io.write(tmp_path / "train.xyz", frames(4))
    ase.io.write(tmp_path / "cell.xyz", frames(1, seed=3))
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    write(tmp_path, {})
    return tmp_path / "improve.yaml"


def write(folder: Path, changes):
    data = {
        "train": {"config": "config.yaml", "data": "train.xyz", "overrides": ["seed=3"]},
        "md": {"structures": "cell.xyz", "temperatures_K": 500, "length_ps": 1},
        "labels": {"command": "dft {frames} {labelled}"},
        "rounds": 2,
    }
    (folder / "improve.yaml").write_text(yaml.safe_dump(data | changes))


def times_of(monkeypatch, *times):
    """Let the MD of each round be stable, trusted and right for so long; later ones as the last."""

    def runs(folder, time):
        name, every = folder.parent.name, {f"round_{k}": t for k, t in enumerate(times)}
        found = every if name.startswith("final") else {name: every.get(name, times[-1])}
        return [
            {
                "model": name if len(found) > 1 else "model", "stable_time_ps": t,
                "cause": "extrapolation" if t < 1 else "", "structure": "cell",
                "status": "failed" if t < 1 else "survived",
            }
            for name, t in found.items()
        ]  # fmt: skip

    monkeypatch.setattr("nequip_decorr.cure.page.runs_by_time", runs)


@pytest.fixture
def improve(path, monkeypatch):
    times_of(monkeypatch, 0.5, 1.0, 1.0)

    def make(fake, said=None):
        return Improve(load_plan(path), (said if said is not None else []).append, fake)

    return make


ROUND = ["train", "fit", "compile", "md", "collect", "label"]
FINAL = ["fit", "compile", "md"]
REST = [f"round_2/{name}" for name in ROUND[:4]] + [f"final_2/{name}" for name in FINAL]


def test_rounds_go_on_until_all_are_done_and_labels_join_the_training_data(improve, path):
    fake, said = Fake(), []
    page = improve(fake, said).run()
    assert fake.seen == [f"round_{k}/{name}" for k in (0, 1) for name in ROUND] + REST
    sizes = [len(ase.io.read(page.parent / f"round_{k}" / "train.xyz", ":")) for k in range(3)]
    assert sizes == [4, 7, 9]
    fit = fake.commands["final_2/fit"][3:]
    labels = [page.parent / f"round_{k}" / "labelled.xyz" for k in (0, 1)]
    checkpoint, first = page.parent / "round_2" / "best.ckpt", path.parent / "train.xyz"
    grade = page.parent / "final_2" / "model.grade.npz"
    assert fit == [
        *map(str, (checkpoint, first)),
        "--added",
        *map(str, labels),
        "--out",
        str(grade),
    ]
    assert fake.commands["final_2/compile"][-2:] == ["--grade", str(grade)]
    assert fake.commands["round_2/fit"][3:] == [
        str(checkpoint),
        str(checkpoint.with_name("train.xyz")),
    ]
    assert said[-3] == "finished: all rounds are done" and "<h1>Improvement" in page.read_text()
    assert said[-2] == (
        "5 labels took the mean right time from 0.5 ps to 1 ps. 1 of 1 runs are right to the end."
    )
    assert "MD without the halt: runs 3 = structures 1 x temperatures 1 x seeds 3" in (
        page.read_text()
    )
    assert "5 labels took the mean right time from 0.5 ps to 1 ps." in page.read_text()
    assert "1 of 1 runs left the data; mean length of a run 0.5 ps, right for 0.5 ps" in said
    assert "9 frames looked at: 3 candidates" in said
    md = yaml.safe_load((page.parent / "round_1" / "md.yaml").read_text())
    assert md["structures"] == str(path.parent / "cell.xyz")
    assert md["criteria"] == {"extrapolation_grade": 4.0} and "labels" not in md
    assert md["trajectory_every"] == 5
    judged = yaml.safe_load((page.parent / "final_2" / "md.yaml").read_text())
    assert "criteria" not in judged and list(judged["models"]) == ["round_0", "round_2"]
    assert judged["models"]["round_2"] == str(page.parent / "final_2" / "model.nequip.pt2")


def test_first_data_may_count_several_times_in_training_but_once_in_the_grade(improve, path):
    train = {"config": "config.yaml", "data": "train.xyz", "first_copies": 3}
    write(path.parent, {"train": train})
    assert "training data: train.xyz (3 times train.xyz)" in str(load_plan(path))
    fake = Fake()
    out = improve(fake).run().parent
    trained = [fake.commands[f"round_{k}/train"] for k in range(3)]
    files = [
        next(Path(w.partition("=")[2]) for w in words if w.startswith("++data.train_file_path="))
        for words in trained
    ]
    # The first training is without labels, so copies would be a longer training and no more.
    assert [len(ase.io.read(file, ":")) for file in files] == [4, 3 * 4 + 3, 3 * 4 + 3 + 2]
    graded = [Path(fake.commands[f"round_{k}/fit"][4]) for k in range(3)]
    assert [len(ase.io.read(file, ":")) for file in graded] == [4, 4 + 3, 4 + 3 + 2]
    write(path.parent, {"train": train | {"first_copies": 1}})  # may change, like a longer training
    assert improve(Fake()).run().is_file() and out.is_dir()


def test_the_model_of_the_best_round_is_taken(improve, path, monkeypatch):
    times_of(monkeypatch, 0.5, 2.0, 0.75)
    fake, said = Fake(), []
    page = improve(fake, said).run()
    assert fake.seen[-3:] == [f"final_1/{name}" for name in FINAL]
    assert fake.commands["final_1/fit"][3] == str(page.parent / "round_1" / "best.ckpt")
    judged = yaml.safe_load((page.parent / "final_1" / "md.yaml").read_text())
    assert list(judged["models"]) == ["round_0", "round_1"]
    assert (page.parent / "model.nequip.pt2").read_text() == "of final_1"
    assert "round 1 came farther than round 2, so its model is taken" in said
    text = page.read_text()
    assert "3 labels took the mean right time from 0.5 ps to 2 ps. The 2 labels after them" in text
    times_of(monkeypatch, 0.5, 0.25, 0.125)
    fake = Fake()
    improve(fake, said).run()
    assert not fake.seen  # the rounds were done before
    assert (page.parent / "model.nequip.pt2").read_text() == "of round_0"


def test_the_first_model_is_kept_where_the_best_round_is_not_right_for_longer(
    improve, path, monkeypatch
):
    def runs(folder, time):
        judged = folder.parent.name.startswith("final")
        times = {"round_0": 0.5, "round_1": 0.25} if judged else {"model": 1.0}
        return [
            {"model": k, "stable_time_ps": t, "cause": "contact", "structure": "cell",
             "status": "failed"}
            for k, t in times.items()
        ]  # fmt: skip

    monkeypatch.setattr("nequip_decorr.cure.page.runs_by_time", runs)
    write(path.parent, {"rounds": 1})
    said = []
    page = improve(Fake(), said).run()
    assert (page.parent / "model.nequip.pt2").read_text() == "of round_0"
    assert said[-2].startswith("No better model yet, so the first one is kept: its mean right time")
    assert "is 0.5 ps, with 3 labels it is 0.25 ps" in said[-2]
    body = " ".join(re.sub("<[^>]+>", " ", page.read_text()).split())
    assert "round 1 all 0 of 1 0.25 0.25 0.25 0 of 1 round 1 cell 0 of 1" in body


def test_where_both_models_last_as_long_the_force_errors_decide():
    judged = {k: {"stable": 1.0, "trusted": None, "right": None} for k in ("round 0", "round 1")}
    old, better, unknown = (
        {"labels": n, "round": n, "force_mae_eV_per_A": errors}
        for n, errors in enumerate(({"test": 0.15}, {"test": 0.05, "the labels": 0.3}, {}))
    )
    assert page.is_better(judged, old, better) and not page.is_better(judged, better, old)
    assert not page.is_better(judged, old, unknown)
    said = page.headline([old, better], 1, judged)
    assert said.startswith("Both models are stable for 1 ps") and "kept is that of 1 labels" in said
    assert "kept is the first" in page.headline([better, old], 1, judged)


def test_labels_of_an_earlier_improvement_join(improve, path):
    ase.io.write(path.parent / "old.xyz", frames(2, seed=5))
    train = {"config": "config.yaml", "data": "train.xyz", "added": "old*.xyz"}
    write(path.parent, {"train": train, "rounds": 1})
    fake = Fake()
    page = improve(fake).run()
    sizes = [len(ase.io.read(page.parent / f"round_{k}" / "train.xyz", ":")) for k in (0, 1)]
    assert sizes == [4 + 2, 4 + 2 + 3]
    fit = fake.commands["final_1/fit"]
    added = [path.parent / "old.xyz", page.parent / "round_0" / "labelled.xyz"]
    assert fit[fit.index("--added") + 1 : -2] == [str(file) for file in added]


@pytest.mark.parametrize(
    ("config", "overrides", "said"),
    [
        ("seed: 1\n", ["epochs=3"], "Could not override 'epochs'"),
        ("seed: 1\na: {b: ['${types}']}\n", ["seed=2"], r"a\.b\.0: Interpolation key 'types'"),
        (
            "place: ???\na: '${place}/x'\nb: '${place}/y'\n",
            ["+c=2"],
            r"1 mistake\n.*`place` has no "
            r"value; give it in `overrides`: place=\.\.\.",
        ),
        ("place: ???\na: '${place}/x'\n", ["place=here"], ""),
        ("seed: 1\na: '${training_data_stats:x}'\nb:\n  c: ???\n", ["b.c=1"], ""),
        ("seed: [\n", ["seed=2"], "not valid YAML"),
    ],
)
def test_a_config_that_training_would_stop_at_is_refused(path, config, overrides, said):
    (path.parent / "config.yaml").write_text(config)
    train = {"config": "config.yaml", "data": "train.xyz", "overrides": overrides}
    write(path.parent, {"train": train})
    if not said:
        assert load_plan(path)
        return
    with pytest.raises(CampaignError, match=said):
        load_plan(path)


def test_one_mean_energy_is_warned_of_where_md_has_other_compositions(path):
    shifts = "${training_data_stats:per_atom_energy_mean}"
    config = {"training_module": {"model": {"per_type_energy_shifts": shifts}}, "data": None}
    (path.parent / "config.yaml").write_text(yaml.safe_dump(config))
    train = {"config": "config.yaml", "data": "train.xyz"}
    write(path.parent, {"train": train})
    assert "warning" not in str(load_plan(path))
    cell = ase.io.read(path.parent / "cell.xyz")
    poor = Atoms(cell.symbols, cell.positions, cell=cell.cell, pbc=True)[1:]
    assert set(poor.symbols) == set(cell.symbols)
    poor.write(path.parent / "poor.xyz")
    md = {"structures": ["cell.xyz", "poor.xyz"], "temperatures_K": 500, "length_ps": 1}
    write(path.parent, {"train": train, "md": md})
    said = str(load_plan(path))
    assert "no training frame has the composition of poor, and" in said
    # What it says to paste ends the warning.
    lines = yaml.safe_load(said.partition("`overrides`:\n")[2])
    assert all(line in str(yaml.safe_load(first_overrides())) for line in lines)
    config["data"] = {"train_file_path": "x", "stats_manager": {"_target_": "nequip.x"}}
    (path.parent / "config.yaml").write_text(yaml.safe_dump(config))
    write(path.parent, {"train": train | {"overrides": lines}, "md": md})
    assert "warning" not in str(load_plan(path))


def first_overrides():
    """Of the page about the cure, as YAML."""
    page = (Path(__file__).parents[2] / "docs" / "cure.md").read_text()
    block = page.partition("  overrides:")[2].partition("  checkpoint:")[0]
    return "overrides:" + block


@pytest.mark.parametrize(
    ("data", "names", "said"),
    [
        ({"train_file_path": "a.xyz", "split_dataset": {}}, "forces", "no `split_dataset`"),
        ({"_target_": "nequip.data.datamodule.sGDML_CCSD_DataModule"}, "forces", "`data` needs"),
        ({"train_file_path": "a.xyz"}, "REF_forces", r"no `energy` and `forces`.*REF_energy"),
        ({"train_file_path": "a.xyz"}, None, r"train: .*cannot be read"),
        ({"train_file_path": "a.xyz"}, "forces", ""),
    ],
)
def test_data_that_labels_cannot_join_are_refused(path, data, names, said):
    (path.parent / "config.yaml").write_text(yaml.safe_dump({"seed": 1, "data": data}))
    file = path.parent / "train.xyz"
    file.write_text(file.read_text().replace("forces", names) if names else "no frames\n")
    if not said:
        assert load_plan(path).md.startswith("runs 3 = ")
        return
    with pytest.raises(CampaignError, match=said):
        load_plan(path)


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"max_epochs": 10, "check_val_every_n_epoch": 11}, "before its first validation"),
        ({"limit_val_batches": 0}, "`trainer.limit_val_batches` is 0"),
        ({"max_epochs": 10, "check_val_every_n_epoch": 10}, ""),
        ({"max_epochs": -1, "check_val_every_n_epoch": 5}, ""),
        ({"max_epochs": "${nequips_own:3}", "check_val_every_n_epoch": 5}, ""),
        ({"limit_val_batches": "${nequips_own:3}"}, ""),
        ({"max_epochs": "3", "check_val_every_n_epoch": 5}, ""),
        ({"limit_val_batches": "${nobody}"}, "nobody"),
        ("${nobody}", "nobody"),
        ({"max_epochs": 10, "check_val_every_n_epoch": None, "val_check_interval": 5}, ""),
        ({}, ""),
    ],
)
def test_a_training_that_never_validates_is_refused(path, trainer, said):
    (path.parent / "config.yaml").write_text(yaml.safe_dump({"seed": 1, "trainer": trainer}))
    if not said:
        assert load_plan(path).md.startswith("runs 3 = ")
        return
    with pytest.raises(CampaignError, match=said):
        load_plan(path)


def test_the_md_of_the_user_wins_and_judging_can_be_left_out(improve, path):
    md = {"structures": "cell.xyz", "temperatures_K": 500, "trajectory_every": 20,
          "criteria": {"extrapolation_grade": 7, "contact_fraction": 0.5}}  # fmt: skip
    write(path.parent, {"md": md, "judge": False, "rounds": 1})
    fake, said = Fake(), []
    page = improve(fake, said).run()
    assert fake.seen[-3:] == ["round_1/md", "final_1/fit", "final_1/compile"]
    written = yaml.safe_load((page.parent / "round_1" / "md.yaml").read_text())
    assert written["trajectory_every"] == 20
    assert written["criteria"] == {"extrapolation_grade": 7, "contact_fraction": 0.5}
    assert "Round 1, 3 labels: 0 of 1 runs left the data" in page.read_text()


def test_nothing_beyond_the_edge_and_no_labels_left_are_ends(improve, path):
    fake, said = Fake(to_label=(3, 0)), []
    improve(fake, said).run()
    assert fake.seen[-2:] == ["final_1/compile", "final_1/md"]
    assert "no frame is beyond the edge" in said[-3]
    write(path.parent, {"max_labels": 2, "out": "spent"})
    fake = Fake()
    improve(fake, said).run()
    assert fake.seen[-2:] == ["final_1/compile", "final_1/md"]
    assert "all labels are spent" in said[-3]


@pytest.mark.parametrize("step", ROUND)
def test_killed_at_any_step_it_goes_on_there(improve, step):
    class Killed(Fake):
        def __call__(self, command, log):
            super().__call__(command, log)
            if f"{log.parent.name}/{log.stem}" == f"round_1/{step}":
                raise KeyboardInterrupt

    first, second = Killed(to_label=(3, 2, 2)), Fake(to_label=(2, 2))
    with pytest.raises(KeyboardInterrupt):
        improve(first).run()
    improve(second).run()
    again = [] if step == "label" else [f"round_1/{step}"]  # its labels were all there
    rest = [f"round_1/{name}" for name in ROUND[ROUND.index(step) + 1 :]]
    assert second.seen == again + rest + REST


class TrainingKilled(Fake):
    """Killed in the training, once there was a checkpoint to go on from."""

    def __call__(self, command, log):
        super().__call__(command, log)
        folder = log.parent / "training"
        (folder / ".hydra").mkdir()
        words = [w for w in command[5:] if not w.startswith("hydra.run.dir")]
        begun = composed(Path(command[2]) / "config.yaml", words)
        (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(begun))
        state = {"callbacks": {"ModelCheckpoint{}": {"dirpath": str(folder)}}}
        torch.save(state, folder / "last.ckpt")
        raise KeyboardInterrupt


@pytest.mark.parametrize("changed", ["", "config", "train"])
def test_a_killed_training_goes_on_or_begins_anew_where_config_or_data_changed(
    improve, path, changed
):
    saver = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "here"}
    config = {"seed": 1, "trainer": {"callbacks": [saver]}}
    (path.parent / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(KeyboardInterrupt):
        improve(TrainingKilled()).run()
    if changed == "config":
        (path.parent / "config.yaml").write_text(yaml.safe_dump(config | {"epochs": 9}))
    if changed == "train":
        ase.io.write(path.parent / "train.xyz", frames(5))
    fake, said = Fake(), []
    improve(fake, said).run()
    last = path.parent / "improve_out" / "round_0" / "training" / "last.ckpt"
    assert (f"++ckpt_path={last}" in fake.commands["round_0/train"]) is not changed
    assert last.is_file() is not changed
    aside = last.parents[1] / "training_earlier_1" / "last.ckpt"
    assert aside.is_file() == bool(changed)
    assert any(str(aside.parent) in line for line in said) == bool(changed)


@pytest.mark.parametrize(
    ("file", "said"),
    [("train.xyz", "train.data"), ("test.xyz", "train.test"), ("cell.xyz", "md.structures"),
     ("my.tersoff", "labels")],
)  # fmt: skip
def test_other_contents_of_the_same_files_are_not_mixed(improve, path, file, said):
    potential = path.parent / "my.tersoff"
    potential.write_text("mine\n")
    ase.io.write(path.parent / "test.xyz", frames(2))
    train = {"config": "config.yaml", "data": "train.xyz", "test": "test.xyz"}
    labels = {"lammps": {"pair_style": "tersoff", "pair_coeff": "* * my.tersoff Si O"}}
    write(path.parent, {"train": train, "labels": labels, "rounds": 1})

    class Killed(Fake):
        def __call__(self, command, log):
            if log.stem == self.at:
                raise KeyboardInterrupt
            super().__call__(command, log)

    def change(seed):
        if file == "my.tersoff":
            potential.write_text(f"{seed}\n")
        else:
            ase.io.write(path.parent / file, frames(1, seed=seed))

    first = Killed()
    first.at = "train"
    with pytest.raises(KeyboardInterrupt):
        improve(first).run()
    change(7)  # a mistake, found in the first training
    first.at = "collect"
    with pytest.raises(KeyboardInterrupt):
        improve(first).run()
    change(8)
    with pytest.raises(UserError, match=rf"`{said}` \(its files have changed\)"):
        improve(Fake()).run()


def test_a_step_that_was_done_before_is_shown_as_it_was(improve, path):
    improve(Fake()).run()
    train = {"config": "config.yaml", "data": "train.xyz", "overrides": ["seed=4"]}
    write(path.parent, {"train": train, "rounds": 3})
    said = []
    improve(Fake(to_label=(2,)), said).run()
    trained = [line for line in said if line.startswith("$ nequip-train")]
    assert ["seed=3" in line for line in trained] == [True, True, True, False]
    assert ["(done before)" in line for line in trained] == [True, True, True, False]


@pytest.mark.parametrize("status", ["failed", "error"])
def test_runs_that_cannot_be_labelled_leave_the_right_time_unknown(
    improve, path, monkeypatch, status
):
    def runs(folder, time):
        rows = [
            {"model": "model", "stable_time_ps": t, "cause": "", "structure": "cell",
             "status": "survived"} for t in (1.0, 0.5)
        ]  # fmt: skip
        return rows[:1] if time == "right" else rows

    class Unlabelled(Fake):
        def __call__(self, command, log):
            super().__call__(command, log)
            if log.stem == "md":
                log.write_text(f"{UNLABELLED}: 1; the same command labels these alone\n")
                raise CommandError("stability run ended with code 1")

    monkeypatch.setattr("nequip_decorr.cure.page.runs_by_time", runs)
    monkeypatch.setattr("nequip_decorr.cure.labelling.read_runs", lambda _: [{"status": status}])
    write(path.parent, {"rounds": 1, "judge": False})
    fake, said = Unlabelled(), []
    if status == "error":
        with pytest.raises(CommandError):
            improve(fake, said).run()
        return
    improve(fake, said).run()
    assert said.count("stability run ended with code 1") == 2
    words = "mean length of a run 0.75 ps, right for an unknown time (1 runs could not be labelled)"
    assert sum(words in line for line in said) >= 2
    again = Fake()
    improve(again).run()
    assert [name for name in again.seen if name.endswith("md")] == ["round_0/md", "round_1/md"]


def test_a_choice_that_fails_is_not_taken_for_nothing_to_label(improve, path):
    write(path.parent, {"rounds": 3})

    class Broken(Fake):
        def __call__(self, command, log):
            if log.stem == "collect" and log.is_file():
                raise CommandError("killed")
            super().__call__(command, log)

    with pytest.raises(CommandError, match="killed"):
        fake = Broken(to_label=(0,))
        assert improve(fake).run()
        improve(fake).run()


def test_labels_that_fail_or_are_too_few_are_tried_again_and_may_come_later(improve, path):
    said = []
    with pytest.raises(WaitingError, match="2 of 3 frames have labels"):
        improve(Fake(labels=(None, 2)), said).run()
    assert "the cluster is down" in said and "0 of 3 frames have labels" in said
    folder = path.parent / "improve_out" / "round_0"
    ase.io.write(folder / "labelled.xyz", frames(3, seed=9))  # days later
    fake = Fake(to_label=(2,))
    improve(fake).run()
    assert fake.seen[0] == "round_1/train"


def test_a_label_that_was_appended_twice_is_one_label(improve, path):
    class Appends(Fake):
        def __call__(self, command, log):
            super().__call__(command, log)
            if log.stem == "label":
                labelled = log.parent / "labelled.xyz"
                ase.io.write(labelled, ase.io.read(labelled, ":"), append=True)

    with pytest.raises(WaitingError, match="2 of 3 frames have labels"):
        improve(Appends(labels=(2, 2))).run()
    improve(Appends(to_label=(2,), labels=(3,))).run()
    train = path.parent / "improve_out" / "round_1" / "train.xyz"
    assert len(ase.io.read(train, ":")) == 4 + 3


@pytest.mark.parametrize("at_once", [0, 1])
def test_a_command_that_submits_jobs_is_not_run_again(improve, path, at_once):
    labels = {"command": "sbatch {frames} {labelled}", "submits": True}
    write(path.parent, {"labels": labels})
    fake = Fake(labels=(None, at_once))
    with pytest.raises(WaitingError, match=rf"{at_once} of 3 frames have labels\. Start the same"):
        improve(fake).run()
    assert fake.seen.count("round_0/label") == 2  # the first has failed
    folder = path.parent / "improve_out" / "round_0"
    ase.io.write(folder / "labelled.xyz", frames(1, seed=9))
    fake = Fake(to_label=(2,))
    with pytest.raises(WaitingError, match=r"1 of 3 .* jobs are submitted"):
        improve(fake).run()
    (folder / "label.submitted").unlink()  # a job was lost
    improve(fake).run()
    assert fake.seen[:2] == ["round_0/label", "round_1/train"]


def test_check_says_what_would_be_done_and_does_nothing(path, capsys):
    train = {"config": "config.yaml", "data": "tra*.xyz", "fine_tune": ["epochs=2"]}
    write(path.parent, {"train": train})
    assert main(["improve", str(path), "--check"]) == 0
    said = capsys.readouterr().out
    for part in (
        "rounds: 2, each with at most 15 labels, at most 30 in all, from dft {frames}",
        "a training of config.yaml, then fine-tuning",
        "training data: train.xyz",
        "MD of each: runs 3 = structures 1 x temperatures 1 x seeds 3, 1 ps at 500 K",
    ):
        assert part in said
    assert not (path.parent / "improve_out").exists()
    write(path.parent, {"train": {**train, "data": "x*.xyz", "start": "config.yaml"}})
    assert main(["improve", str(path), "--check"]) == 2
    said = capsys.readouterr().err
    assert "no such file" in said and "train.start: " in said and "is a text file" in said


def errors_of(monkeypatch, *wrong):
    """Let the forces of each set of frames that is evaluated be wrong by the next of these."""
    monkeypatch.setattr("nequip_decorr.features.frames.load_model", lambda _: None)
    left, seen = iter(wrong), []

    def outputs(_, frames):
        seen.append(len(frames))
        yield {"forces": torch.full((2, 3), 1 + next(left))}, {"forces": torch.ones(2, 3)}

    monkeypatch.setattr("nequip_decorr.features.frames.outputs", outputs)
    return seen


@pytest.fixture(autouse=True)
def no_errors(monkeypatch):
    """The faked trainings leave no model."""
    errors_of(monkeypatch, *[0.0] * 9)


def test_the_page_shows_force_errors_of_the_test_files_and_of_the_labels(
    improve, path, monkeypatch
):
    write(
        path.parent, {"train": {"config": "config.yaml", "data": "train.xyz", "test": "cell.xyz"}}
    )
    seen = errors_of(monkeypatch, 0.5, 0.25, 2.0, 0.125, 4.0)
    page = improve(Fake()).run()
    assert seen == [1, 1, 3, 1, 5]
    text = page.read_text()
    body = " ".join(re.sub("<[^>]+>", " ", text[text.index("Mean absolute force") :]).split())
    assert "round cell the labels 0 0.5 1 0.25 2 2 0.125 4 Labelled frames" in body


def test_the_page_lists_the_labelled_frames(improve):
    text = improve(Fake(to_label=(1, 2))).run().read_text()
    body = " ".join(re.sub("<[^>]+>", " ", text[text.index("Labelled frames") :]).split())
    symbol = frames(1, seed=9)[0].symbols[1]
    line = f"hot 0.125 2.5 {symbol} 1 largest grade"
    assert f"chosen for 0 {line} 1 {line} 1 How to read it" in body


class Trains(Fake):
    """Trains really."""

    def __call__(self, command, log):
        if log.stem != "train":
            return super().__call__(command, log)
        done = run(*command)
        assert done.returncode == 0, done.stdout


def test_fine_tuning_starts_from_the_model_of_the_round_before(improve, path):
    ase.io.write(path.parent / "val.xyz", frames(2, seed=1))
    config = run_config(path.parent, module_config(), epochs=2, filename="best")
    (path.parent / "config.yaml").write_text(yaml.safe_dump(config))
    train = {"config": "config.yaml", "data": "train.xyz"}
    stay = ["training_module.optimizer.lr=0.0", "trainer.max_epochs=1"]
    write(path.parent, {"train": {**train, "fine_tune": stay}, "rounds": 2, "judge": False})
    page = improve(Trains()).run()
    first, *later = (load_model(page.parent / f"round_{k}" / "best.ckpt") for k in range(3))
    start = build(module_config()).evaluation_model.parameters()
    assert not all(map(torch.equal, first.parameters(), start))
    for model in later:
        assert all(map(torch.equal, first.parameters(), model.parameters()))

    mine = {"start": "improve_out/round_0/best.ckpt", "fine_tune": stay}
    changes = {"train": {**train, **mine}, "rounds": 1, "judge": False, "out": "mine"}
    write(path.parent, changes)
    fake = Trains(to_label=(1,))
    page = improve(fake).run()
    assert fake.seen[0] == "round_0/fit"
    for number in (0, 1):
        model = load_model(page.parent / f"round_{number}" / "best.ckpt")
        assert all(map(torch.equal, first.parameters(), model.parameters()))


def test_runs_that_stop_at_their_start_are_said():
    row = {"left": 3, "runs": 4, "at_start": 2, "stable": 0.25, "right": None, "survived": 0}
    assert in_words(row | {"causes": ["contact"]}) == (
        "3 of 4 runs left the data (2 at step 0: their start cell is beyond the halt), 1 failed "
        "before (contact); mean length of a run 0.25 ps, right for an unknown time"
    )


def test_paths_beside_the_file_become_absolute(tmp_path):
    ase.io.write(tmp_path / "cell.xyz", frames(2))
    given = {
        "a": "cell.xyz",
        "b": {"file": "cell.xyz@1", "repeat": [1, 1, 2]},
        "c": ["*.xyz", "no"],
    }
    cell = str(tmp_path / "cell.xyz")
    assert absolute(given, tmp_path) == {
        "a": cell, "b": {"file": f"{cell}@1", "repeat": [1, 1, 2]},
        "c": [str(tmp_path / "*.xyz"), "no"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["SiO.tersoff", "my own.tersoff"])
def test_the_potential_beside_the_file_labels_the_frames_and_the_md(improve, path, name):
    """One that LAMMPS ships under the same name is another one."""
    potential = path.parent / name
    potential.write_text("mine\n")
    coeff = f"* * '{name}' Si O"
    labels = {"lammps": {"pair_style": "tersoff", "pair_coeff": coeff}}
    write(path.parent, {"labels": labels, "rounds": 1})
    fake = Fake()
    out = improve(fake).run().parent
    md = yaml.safe_load((out / "round_0" / "md.yaml").read_text())
    command = fake.commands["round_0/label"]
    given = yaml.safe_load(command[command.index("--with") + 1])
    assert md["labels"] == given
    for folder in (out / "round_0", Path("/")):
        (spec,) = read_models({"labels": given}, folder, Mistakes())
        assert potential_files(spec.pair_coeff) == [potential]


def test_labels_and_md_may_change_until_they_were_used(improve, path):
    class Stopped(Fake):
        def __call__(self, command, log):
            super().__call__(command, log)
            if log.stem == "md":
                raise CommandError("the MD's file has a mistake")

    with pytest.raises(CommandError):
        improve(Stopped()).run()
    write(path.parent, {"labels": {"reference": "siox"}})
    out = improve(Fake()).run().parent
    assert yaml.safe_load((out / "round_0" / "md.yaml").read_text())["labels"]["lammps"]
    write(path.parent, {})
    with pytest.raises(UserError, match="other settings of labels"):
        improve(Fake()).run()


def test_runs_that_go_wrong_before_their_end_are_named(monkeypatch):
    each = {"a": {"right": 1.0}, "b": {"right": 0.4}}
    after = {"stable": 1.0, "trusted": 1.0, "right": 0.7, "runs": 2, "right_to_the_end": 1}
    judged = {"round 0": {**after, "right": 0.2}, "round 1": {**after, "structures": each}}
    rows = [
        {"round": k, "labels": 6 * k, "force_mae_eV_per_A": {"test": 0.1 + k, **labels}}
        for k, labels in enumerate(({}, {"the labels": 0.5}))
    ]
    said = page.headline(rows, 1, judged)
    assert "from 0.2 ps to 0.7 ps. 1 of 2 runs are right to the end." in said
    assert "Those from b go wrong first, at 0.4 ps in the mean. To go on, raise `rounds`." in said
    assert page.errors_in_words(rows, 1) == (
        "force errors, eV/A, first -> best model: test 0.1 -> 1.1"
    )
    assert page.errors_in_words(rows, 0) == ""  # the first model is the best


def test_a_folder_of_other_settings_is_not_mixed(improve, path, capsys):
    out = improve(Fake()).run().parent
    write(path.parent, {"frames": 3})
    with pytest.raises(UserError, match="begun with other settings of frames"):
        improve(Fake()).run()
    assert main(["improve", str(path), "--check"]) == 2
    assert "other settings of frames" in capsys.readouterr().err
    # What may change, in a folder of a version without `start` and `fine_tune`.
    begun = json.loads((out / "improve.json").read_text())
    assert begun["train"].pop("start") is None and begun["train"].pop("fine_tune") == []
    (out / "improve.json").write_text(json.dumps(begun))
    train = {"config": "config.yaml", "data": "train.xyz", "overrides": ["seed=3"]}
    labels = {"command": "other {frames} {labelled}", "submits": True}
    write(path.parent, {"train": {**train, "fine_tune": "epochs=2"}, "labels": labels, "rounds": 3})
    improve(Fake(to_label=(1,))).run()


def test_a_training_without_a_checkpoint_is_done_again(improve, path):
    class Nothing(Fake):
        def __call__(self, command, log):
            super().__call__(command, log)
            if log.stem == "train":
                (log.parent / "training" / "best.ckpt").unlink()

    with pytest.raises(UserError, match=r"left no best\.ckpt .* until it has validated once"):
        improve(Nothing()).run()
    fake = Fake()
    improve(fake).run()
    assert fake.seen[0] == "round_0/train"


def test_a_round_that_is_trained_again_gets_the_new_weights(improve, path):
    class Other(Fake):
        def __call__(self, command, log):
            super().__call__(command, log)
            if log.stem == "train":
                (log.parent / "training" / "best.ckpt").write_text("other weights")

    improve(Fake()).run()
    folder = path.parent / "improve_out" / "round_0"
    for done in folder.glob("*.done"):
        done.unlink()
    improve(Other(to_label=(3, 2))).run()
    assert (folder / "best.ckpt").read_text() == "other weights"


def test_frames_without_labels_do_not_join(improve, path):
    with pytest.raises(WaitingError):
        improve(Fake(labels=(2, 2))).run()
    folder = path.parent / "improve_out" / "round_0"
    got, rest = ase.io.read(folder / "labelled.xyz", ":"), frames(1, seed=9)[0]
    rest.calc = None
    ase.io.write(folder / "labelled.xyz", [*got, rest])
    ase.io.write(folder / "to_label.xyz", frames(2, seed=9))  # one that did not converge is out
    improve(Fake(to_label=(2,))).run()
    assert len(ase.io.read(folder.with_name("round_1") / "train.xyz", ":")) == 4 + 2


def test_all_mistakes_at_once(tmp_path, path):
    write(tmp_path, {
        "train": {"config": "nowhere.yaml", "data": "train.xyz"}, "round": 3,
        "labels": {"command": "dft"}, "beyond": 0.5,
        "md": {"structures": "cell.xyz", "temperature_K": 300, "models": {}},
    })  # fmt: skip
    with pytest.raises(CampaignError) as caught:
        load_plan(path)
    text = str(caught.value)
    for part in (
        "no such file",
        "'round' (did you mean 'rounds'?)",
        "{frames} and {labelled}",
        "beyond: got 0.5",
        "md.models: `improve` sets it",
        "md: unknown key 'temperature_K' (did you mean 'temperatures_K'?)",
    ):
        assert part in text
