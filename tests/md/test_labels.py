"""Labels of a potential: right, resumed, and partial where some fail."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from nequip_decorr.campaign.one_model import read_model
from nequip_decorr.cli.main import main
from nequip_decorr.datasets.siox import Reference
from nequip_decorr.errors import UserError
from nequip_decorr.md.labels import Labeller, label_file
from tests.conftest import cristobalite_cell, quartz_cell

EMT_ENTRY = "{ase: {calculator: ase.calculators.emt.EMT}}"


class Flaky(EMT):
    """Fails for more than one atom."""

    def calculate(self, atoms, *args, **kwargs):
        if len(atoms) > 1:
            raise RuntimeError("no convergence\nin 100 cycles")
        super().calculate(atoms, *args, **kwargs)


def cells():
    found = []
    for k, cell in enumerate((quartz_cell(), cristobalite_cell(), quartz_cell())):
        cell.rattle(0.05, seed=k)
        found.append(cell)
    return found


def test_labels_are_those_of_the_reference():
    label = Labeller(read_model("reference:siox"))
    for cell in cells():
        found = label(cell)
        with Reference(cell) as reference:
            expected = reference.frame()
        assert found.get_potential_energy() == pytest.approx(
            expected.get_potential_energy(), abs=1e-6
        )
        turn = np.linalg.solve(cell.cell.array, expected.cell.array)
        np.testing.assert_allclose(found.get_forces() @ turn, expected.get_forces(), atol=1e-5)
        np.testing.assert_array_equal(found.positions, cell.positions)
        assert found.get_stress().shape == (6,)


def test_what_is_labelled_is_kept_and_what_failed_is_tried_again(tmp_path, capsys):
    copper = [bulk("Cu", a=a).repeat((n, 1, 1)) for a, n in ((3.6, 1), (3.7, 2), (3.8, 1))]
    copper[1].info = {"run": "m-copper", "step": 70}
    ase.io.write(tmp_path / "in.xyz", copper)
    out = tmp_path / "out.xyz"
    name = f"{Flaky.__module__}.Flaky"
    command = ["label", str(tmp_path / "in.xyz"), "--out", str(out), "--with"]
    assert main([*command, f"{{ase: {{calculator: {name}}}}}"]) == 1
    shown = capsys.readouterr().out
    assert "frame 1 (run m-copper, step 70) has no label: RuntimeError: no convergence in" in shown
    assert "2 labelled, 0 kept from before, 1 failed" in shown
    assert len(ase.io.read(out, ":")) == 2
    whole = out.read_text()
    out.write_text(whole[:-20])  # killed while it wrote
    assert main([*command, f"{{ase: {{calculator: {name}}}}}"]) == 1
    assert "1 labelled, 1 kept from before, 1 failed" in capsys.readouterr().out
    assert [a.get_potential_energy() for a in ase.io.read(out, ":")] == pytest.approx(
        [Labeller(read_model(EMT_ENTRY))(c).get_potential_energy() for c in (copper[0], copper[2])]
    )
    assert main([*command, EMT_ENTRY]) == 2
    assert "labels that another potential gave" in capsys.readouterr().err


def test_the_file_has_the_order_of_the_frames_and_keeps_labels_of_others(tmp_path, capsys):
    cells_of = {a: bulk("Cu", a=a) for a in (3.5, 3.6, 3.7)}
    out = tmp_path / "out.xyz"
    labeller = Labeller(read_model(EMT_ENTRY))
    label_file([cells_of[3.7]], labeller, out)
    label_file([cells_of[3.6]], labeller, out)
    ase.io.write(tmp_path / "in.xyz", [cells_of[3.5], cells_of[3.6]])
    command = ["label", str(tmp_path / "in.xyz"), "--out", str(out), "--with", EMT_ENTRY]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "1 labelled, 1 kept from before, 0 failed" in said
    assert "labels of other frames, at its end: 1" in said
    volumes = [atoms.get_volume() for atoms in ase.io.read(out, ":")]
    assert volumes == pytest.approx([a**3 / 4 for a in (3.5, 3.6, 3.7)])


def test_a_compiled_model_is_a_teacher(compiled_model, tmp_path):
    frames = cells()[:1]
    found = label_file(frames, Labeller(read_model(str(compiled_model))), tmp_path / "out.xyz")
    assert (found.done, found.failed) == (1, [])
    (labelled,) = ase.io.read(tmp_path / "out.xyz", ":")
    assert np.abs(labelled.get_forces()).max() > 0


def test_unknown_elements_and_labels_that_are_not_finite_fail(tmp_path):
    iron = bulk("Fe")
    found = label_file([iron], Labeller(read_model("reference:siox")), tmp_path / "a.xyz")
    assert found.failed[0][0] == 0 and "Fe" in found.failed[0][1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reference:sioy", "did you mean 'siox'"),
        ("nowhere.yaml", "no such file"),
        ("nowhere.nequip.pt2", "no such file"),
        ("{ase: [", "not valid YAML"),
        ("{vasp: {}}", "allowed: a file name, {path: FILE, grade: FILE}"),
    ],
)
def test_a_wrong_model_is_named(text, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_model(text, "--with", tmp_path)


def test_a_yaml_file_is_a_model(tmp_path):
    (tmp_path / "emt.yaml").write_text(EMT_ENTRY)
    assert read_model("emt.yaml", folder=tmp_path).calculator == "ase.calculators.emt.EMT"
