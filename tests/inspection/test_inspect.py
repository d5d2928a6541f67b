"""From a checkpoint and structures to the page, as a user goes."""

import csv
import re
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from nequip.model import NequIPGNNModel
from nequip.utils.global_state import set_global_state

from nequip_decorr import FeatureCorrelation, Inspection, TapFeatures, inspect_model
from nequip_decorr.cli.inspect import name_files
from nequip_decorr.cli.main import main
from nequip_decorr.features.frames import edge_lengths, load_model, outputs
from nequip_decorr.inspection.evaluate import evaluate
from nequip_decorr.inspection.sources import open_frames
from tests.helpers.checkpoints import trained
from tests.helpers.forks import succeeds
from tests.helpers.training import BLOCK, DECORRELATION, frames, nequip_config


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("ours"), [DECORRELATION])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    ase.io.write(folder / "id.xyz", frames(6, seed=2))
    bare = [Atoms(f.numbers, 1.1 * f.positions, cell=1.1 * f.cell, pbc=True) for f in frames(5)]
    ase.io.write(folder / "ood.xyz", bare)
    return folder


def test_one_command_with_two_arguments_gives_the_page(stock, data, in_folder, capsys):
    assert main(["inspect", str(stock), str(data / "id.xyz")]) == 0
    said = capsys.readouterr().out
    assert "two-body" in said
    assert "force MAE in eV/Å: epoch=1-step=6 " in said
    page = (in_folder / "inspection" / "index.html").read_text()
    assert "base64" in page
    assert not re.search(r"(src|href)=\"?(http|//|file)", page)
    assert sorted(p.name for p in (in_folder / "inspection").iterdir()) == [
        "channels.csv", "index.html", "pictures", "spectrum.csv", "statistics.csv",
    ]  # fmt: skip


def test_two_models_on_two_data_sets_side_by_side(stock, ours, data, tmp_path, capsys):
    out = tmp_path / "page"
    arguments = [f"stock={stock}", f"in={data / 'id.xyz'}", f"melt={data / 'ood.xyz'}"]
    options = ["--compare", f"decorrelated={ours}", "--out", str(out), "--max-frames", "3"]
    assert main(["inspect", *arguments, *options]) == 0
    rows = list(csv.DictReader((out / "statistics.csv").open()))
    assert {(r["model"], r["dataset"]) for r in rows} == {
        (m, d) for m in ("stock", "decorrelated") for d in ("in", "melt")
    }
    assert {r["block"] for r in rows} == {"two_body", "layer_1", "layer_2"}
    assert {r["group"] for r in rows} == {"all", "Si-Si", "Si-O", "O-Si", "O-O", "length"}
    assert {r["frames"] for r in rows} == {"3"}
    assert {bool(r["force_mae_eV_per_A"]) for r in rows if r["dataset"] == "in"} == {True}
    assert {bool(r["force_mae_eV_per_A"]) for r in rows if r["dataset"] == "melt"} == {False}
    page = (out / "index.html").read_text()
    for words in ("On melt", "stock, on in", "How much of it is distance", "By elements"):
        assert words in page


def test_values_are_those_of_the_monitor(stock, data):
    model = load_model(stock)
    labelled = ase.io.read(data / "id.xyz", ":")
    monitors = {n: FeatureCorrelation(n, block_size=BLOCK) for n in ("mean_abs", "effective_rank")}
    errors = {"forces": [], "total_energy": []}
    for predicted, target in outputs(model, labelled):
        for monitor in monitors.values():
            monitor.update(predicted, target)
        for name, values in errors.items():
            values.append((predicted[name] - target[name]).abs().flatten())
    found = inspect_model(stock, data / "id.xyz").entries[0]
    for name, monitor in monitors.items():
        ours = [getattr(s, name) for s in found.statistics]
        assert ours == pytest.approx(monitor.per_block().tolist(), rel=1e-9)
    force, energy = (torch.cat(v).double().mean().item() for v in errors.values())
    assert found.force_mae_eV_per_A == pytest.approx(force, rel=1e-9)
    evaluated = evaluate(model, labelled, BLOCK)
    assert evaluated.force_mae_eV_per_A == pytest.approx(force, rel=1e-9)
    assert evaluated.energy_mae_eV_per_atom == pytest.approx(energy / len(labelled[0]), rel=1e-9)
    assert list(evaluated.correlation) == ["two_body", "layer_1", "layer_2"]


def test_type_pairs_and_lengths_add_up(stock, data):
    found = inspect_model(stock, data / "id.xyz").entries[0]
    edges = found.statistics[0].samples
    assert sum(s[0].samples for s in found.by_kind.values()) == edges
    assert sum(s[0].samples for _, _, s in found.by_length) == edges
    assert found.by_length[-1][1] == pytest.approx(3.0)
    assert found.by_kind["Si-O"][0].samples == found.by_kind["O-Si"][0].samples


def test_edge_lengths_are_computed_where_the_output_has_none(stock, data):
    out, given = next(outputs(load_model(stock), ase.io.read(data / "id.xyz", ":2")))
    known = edge_lengths(out)
    graph = {**given, **out}
    for name in ("edge_lengths", "edge_vectors"):
        graph.pop(name, None)
    torch.testing.assert_close(edge_lengths(graph), known, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_a_package_gives_what_its_checkpoint_gives(ours, data, tmp_path):
    # A package needs the training's data, of which this test's training keeps no record.
    from nequip_decorr.resources import configs_dir

    folder = tmp_path / "run"
    small = [f"training_module.model.{n}=4" for n in ("num_scalar_features", "num_tensor_features")]
    data_files = [f"data.{part}_file_path={data / 'id.xyz'}" for part in ("train", "val", "test")]
    for command in (
        ["nequip-train", "-cp", str(configs_dir()), "-cn", "siox_allegro", "data_dir=unused",
         "epochs=10", f"hydra.run.dir={folder}", *small, *data_files],
        ["nequip-package", "build", str(folder / "best.ckpt"), str(folder / "m.nequip.zip")],
    ):  # fmt: skip
        succeeds(*command)
    pages = [inspect_model(folder / n, data / "ood.xyz") for n in ("best.ckpt", "m.nequip.zip")]
    a, b = (p.entries[0].statistics for p in pages)
    assert [s.channels for s in b] == [4, 4, 4]
    assert [s.mean_abs for s in a] == pytest.approx([s.mean_abs for s in b], abs=1e-5)


def test_a_chain_of_frames_is_cut_evenly(data):
    assert open_frames(data / "id.xyz", 3).chosen == (0, 2, 5)
    assert open_frames(data / "id.xyz", 99).chosen == tuple(range(6))
    assert len(list(open_frames(data / "id.xyz", 2))) == 2


def test_mixed_labels_molecules_and_one_atom_do_not_stop_it(stock):
    labelled = frames(1)[0]
    molecule = Atoms("OSiO", [[-1.6, 0, 0], [0, 0, 0], [1.6, 0.1, 0]])
    found = inspect_model(load_model(stock), [labelled, molecule, Atoms("O"), frames(1, 5)[0]])
    assert found.entries[0].frames == 4
    assert found.entries[0].force_mae_eV_per_A is not None


@pytest.fixture(scope="module")
def message_passing():
    set_global_state()
    return NequIPGNNModel(
        seed=1, model_dtype="float64", type_names=["Si", "O"], r_max=3.0, num_layers=2, l_max=1,
        num_features=6, radial_mlp_depth=1, radial_mlp_width=8, avg_num_neighbors=12.0,
    )  # fmt: skip


def test_node_fields_go_by_element_and_have_no_length(message_passing, tmp_path):
    found = inspect_model(message_passing, frames(8), field="node_features", block_size=3)
    (entry,) = found.entries
    assert list(entry.by_kind) == ["Si", "O"]
    assert (entry.on_edges, entry.by_length, entry.given_length) == (False, [], None)
    assert entry.statistics[0].samples == 64
    assert entry.given_length_and_kind[0].variance > 0
    assert {"overview", "heat_map_0", "spectrum", "kinds"} == set(found.figures)
    page = found.to_html(tmp_path / "page.html").read_text()
    assert "By elements" in page
    assert "How much of it is distance" not in page


def test_a_missing_field_names_those_there_are(message_passing):
    there = r"\['edge_attrs', 'edge_embedding', 'node_attrs', 'node_features'\]"
    for field in ("edge_features", "forces"):
        with pytest.raises(ValueError, match=f"field `{field}` .*could be used: {there}"):
            inspect_model(message_passing, frames(1), field=field)


@pytest.fixture(scope="module")
def tapped():
    set_global_state()
    return TapFeatures(
        "nequip.model.NequIPGNNModel", ["node_scalars", "messages"],
        seed=1, model_dtype="float64", type_names=["Si", "O"], r_max=3.0, num_layers=3, l_max=1,
        num_features=6, radial_mlp_depth=1, radial_mlp_width=8, avg_num_neighbors=12.0,
    )  # fmt: skip


def test_tapped_layers_are_blocks_of_their_own_width(tapped, tmp_path):
    found = inspect_model(tapped, frames(8), field="layer*_messages")
    (entry,) = found.entries
    assert entry.blocks == ("layer0", "layer1", "layer2")
    widths = [s.channels for s in entry.statistics]
    assert len(set(widths)) > 1
    assert widths == [len(m) for m in entry.matrices] == [len(v) for v in entry.spectra]
    assert entry.on_edges
    assert len(entry.given_length) == 3
    assert "layer2" in found.to_html(tmp_path / "page.html").read_text()
    found.to_csv(tmp_path)
    for b, name in enumerate(entry.blocks):
        alone = inspect_model(tapped, frames(8), field=f"{name}_messages").entries[0]
        one, other = alone.statistics[0], entry.statistics[b]
        assert (one.channels, one.dead, one.duplicates) == (
            other.channels,
            other.dead,
            other.duplicates,
        )
        assert one.effective_rank == pytest.approx(other.effective_rank)
        assert alone.given_length[0].variance == pytest.approx(entry.given_length[b].variance)


def test_taps_are_found_without_naming_them(tapped):
    entry = inspect_model(tapped, frames(4)).entries[0]
    assert entry.field == "layer*_messages"
    assert len(entry.blocks) == 3


def test_a_stock_message_passing_checkpoint_is_tapped(tmp_path):
    path = trained(tmp_path, model=nequip_config())
    found = inspect_model(path, frames(4)).entries[0]
    assert found.field == "layer*_node_invariants"
    assert found.blocks[0] == "layer0"
    assert not found.on_edges
    messages = inspect_model(path, frames(4), field="layer*_messages").entries[0]
    assert messages.on_edges
    assert len(messages.blocks) == len(found.blocks)


def test_a_pattern_over_edges_and_atoms_is_an_error(tapped):
    with pytest.raises(ValueError, match="matches fields of edges and of atoms"):
        inspect_model(tapped, frames(1), field="layer0_*")


def test_of_equivariant_fields_the_scalars_are_taken(stock):
    model = load_model(stock)
    found = inspect_model(model, frames(4), field="edge_attrs")
    assert found.entries[0].statistics[0].channels == 1


def test_a_module_that_is_no_model():
    with pytest.raises(ValueError, match=r"must be a checkpoint, a package, or a module .* Linear"):
        inspect_model(torch.nn.Linear(2, 2), frames(1))


ERRORS = {
    "model.nequip.pt2": "is a compiled model: .* Give the checkpoint",
    "text.nequip.pt2": r"text.nequip.pt2: is a text file; allowed: a NequIP checkpoint \(.ckpt\)",
    "nothing.ckpt": "no file at .*nothing.ckpt",
    "text.ckpt": r"text.ckpt: is a text file; allowed: a NequIP checkpoint \(.ckpt\) or a NequIP",
}


@pytest.mark.parametrize("name", ERRORS)
def test_wrong_models(name, data, tmp_path, capsys):
    if name.startswith("text"):
        (tmp_path / name).write_text("no model")
    if name.startswith("model"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("model/data/aotinductor/m_metadata.json", '{"type_names": "Si O"}')
    assert main(["inspect", str(tmp_path / name), str(data / "id.xyz")]) == 2
    assert re.search(ERRORS[name], capsys.readouterr().err)


DATA_ERRORS = {
    "empty.xyz": ("", r"empty.xyz cannot be read: the file is empty"),
    "words.xyz": ("hello\nworld\n", r"words.xyz cannot be read as extxyz \(frame 0"),
    "hafnium.xyz": ("1\n\nHf 0 0 0\n", r"hafnium has elements that .* does not know: \['Hf'\]"),
    "lonely.xyz": (
        "1\n\nO 0 0 0\n",
        "lonely has 0 edges: no correlation without two; no edge within 3 Å in 1 of 1 frames",
    ),
}


@pytest.mark.parametrize("name", DATA_ERRORS)
def test_wrong_data(name, stock, tmp_path, capsys):
    text, message = DATA_ERRORS[name]
    (tmp_path / name).write_text(text)
    assert main(["inspect", str(stock), str(tmp_path / name), "--out", str(tmp_path / "o")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "o").exists()


def test_wrong_options(stock, data, capsys):
    for option, message in (
        (["--block-size", "5"], "`block_size` 5 does not divide the field's 12 channels"),
        (["--block-size", "0"], "--block-size must be at least 1, got 0"),
        (["--max-frames", "0"], "--max-frames must be at least 1, got 0"),
        (["--field", "x"], "field `x` is not in the model's output; fields that could be used"),
    ):
        assert main(["inspect", str(stock), str(data / "id.xyz"), *option]) == 2
        assert message in capsys.readouterr().err


def test_names_of_files(tmp_path):
    (tmp_path / "a").mkdir()
    odd = tmp_path / "epoch=3.ckpt"
    odd.touch()
    paths = [str(tmp_path / "a" / "best.ckpt"), str(tmp_path / "best.ckpt"), f"x={odd}", str(odd)]
    for path in paths[:2]:
        Path(path).touch()
    names = list(name_files(paths))
    assert names == ["a/best", f"{tmp_path.name}/best", "x", "epoch=3"]
    with pytest.raises(ValueError, match=r"'x' names both .*epoch=3.ckpt and .*best.ckpt; name"):
        name_files([f"x={odd}", f"x={paths[1]}"])
    with pytest.raises(FileNotFoundError, match=r"no file at x=gone, nor, read as NAME=FILE, at"):
        name_files(["x=gone"])


def test_inspections_side_by_side(stock, data):
    one = inspect_model(stock, data / "id.xyz", name="a", max_frames=2)
    with pytest.raises(ValueError, match=r"\('a', 'id'\) occur in both"):
        one.beside(one)
    both = one.beside(inspect_model(stock, data / "id.xyz", name="<b>", max_frames=2))
    assert (both.models, both.datasets) == (["a", "<b>"], ["id"])
    assert "<b>" not in both._repr_html_()
    assert "&lt;b&gt;" in both._repr_html_()
    with pytest.raises(ValueError, match=r"no model 'c' on 'id'; models \['a', '<b>'\]"):
        both.entry("c", "id")
    assert np.array_equal(both.entry("a", "id").spectra[1], both.entry("<b>", "id").spectra[1])
    assert isinstance(both, Inspection)
