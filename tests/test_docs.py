"""Every YAML in the documentation is parsed, every class it names is made; the example runs."""

import contextlib
import re
import runpy
import shlex
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import ase.io
import pytest
import yaml
from ase.build import bulk
from hydra.utils import get_method, instantiate

import nequip_decorr
from nequip_decorr.campaign.schema import KEYS, CampaignError, parse_campaign
from nequip_decorr.cli.main import parser
from nequip_decorr.cure.improve_file import load_plan
from nequip_decorr.features.taps import TAPS
from tests.helpers.checkpoints import trained
from tests.helpers.training import fit, frames, module_config

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "lammps" / "README.md",
]
WIDTH = 4


def markdown_blocks():
    """Text of each YAML block in a page, by page and number."""
    for page in PAGES:
        for k, block in enumerate(
            re.findall(r"^```ya?ml\n(.*?)^```", page.read_text(), re.S | re.M)
        ):
            yield pytest.param(block, id=f"{page.relative_to(ROOT)}-{k}")


def docstring_blocks():
    """Text of each YAML block in the docstring of a public class."""
    for name in nequip_decorr.__all__:
        text = getattr(nequip_decorr, name).__doc__ or ""
        lines = text.splitlines()
        for k, line in enumerate(lines):
            if line.strip() == ".. code-block:: yaml":
                indent = len(line) - len(line.lstrip())
                block = []
                for below in lines[k + 1 :]:
                    if below.strip() and len(below) - len(below.lstrip()) <= indent:
                        break
                    block.append(below)
                yield pytest.param("\n".join(block), id=f"{name}-line{k}")


BLOCKS = [*markdown_blocks(), *docstring_blocks()]


def targets(node):
    """Every mapping below ``node`` that names a class."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from targets(child)


def resolved(text):
    """Without Hydra's references: a model's width, its types, their distances and energies."""
    text = text.replace("${model_type_names}", "[Si, O]")
    text = text.replace("${training_data_stats:shortest_distances}", "[[2.9, 1.5], [1.5, 2.4]]")
    text = text.replace("${training_data_stats:per_type_energy_fit}", "{Si: -1.2, O: -9.3}")
    return re.sub(r"\$\{[\w.]*num_scalar_features\}", str(WIDTH), text)


def test_there_are_blocks_everywhere():
    names = {p.id.split("-")[0] for p in BLOCKS}
    assert {"docs/allegro.md", "docs/stability.md", "docs/api.md"} <= names
    assert {"FeatureDecorrelation", "DecorrelationScheduler", "CorrelationLogger"} <= names


@pytest.mark.parametrize("block", BLOCKS)
def test_yaml(block, tmp_path):
    assert "${" not in resolved(block), "a reference that this test does not know"
    data = yaml.safe_load(resolved(block))
    assert data
    if isinstance(data, dict) and "models" in data:
        check_campaign(data, tmp_path)
        return
    if isinstance(data, dict) and "md" in data:
        (tmp_path / "improve.yaml").write_text(block)
        with pytest.raises(CampaignError) as caught:
            load_plan(tmp_path / "improve.yaml")
        assert not [m for m in caught.value.mistakes if "no such file" not in m]
        return
    made = list(targets(data))
    assert made, "neither a campaign nor a class: what is it?"
    for node in made:
        check_target(node)


def check_target(node):
    """Ours are made with their arguments; NequIP's loss and metrics too; others exist."""
    name = node["_target_"]
    if name == "nequip_decorr.TapFeatures":
        assert callable(get_method(node["builder"]))
        assert set(node["taps"]) <= set(TAPS)
    elif name == "nequip_decorr.ShortRangeZBL":
        lengths = {"normed_edge_lengths": "0e"}
        assert instantiate(node, type_names=["Si", "O"], irreps_in=lengths).reach.shape == (2, 2)
    elif name.startswith("nequip_decorr."):
        found = instantiate(node)
        assert type(found).__module__.startswith("nequip_decorr")
    elif name.startswith("nequip.train.") and "coeffs" in node:
        assert set(instantiate(node, type_names=["Si", "O"]).keys())
    else:
        assert callable(get_method(name))


def check_campaign(data, folder):
    """Its only mistakes are files that are not there, and keys that a snippet leaves out."""
    assert set(data) <= set(KEYS)
    filled = {"structures": ["a.xyz"], "temperatures_K": [300], **data}
    with pytest.raises(CampaignError) as caught:
        parse_campaign(filled, folder)
    assert not [m for m in caught.value.mistakes if "no such file" not in m]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_the_pages_parse(page):
    """With all their options; comments, redirections and `...` are for the reader."""
    if page.name == "cli.md":
        pytest.skip("its examples are those of the help texts: tests/cli/test_names.py")
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    for line in re.findall(r"^\s*(?:\$ )?nequip-decorr (.*)$", text, re.M):
        command = re.split(r"\s(?:#|>|\[--|\.\.\.)|   ", line)[0]
        with contextlib.suppress(SystemExit) if command == "--version" else nullcontext():
            parser().parse_args(shlex.split(command))


def anchors(page):
    """Those that GitHub and the site give to the headings of a page, and those set by hand."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    headings = [heading.lower() for heading in re.findall(r"^#+ (.*)$", text, re.M)]
    slugs = {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """To files and to their headings; addresses on the web are for `sphinx-build -b linkcheck`."""
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    path = trained(tmp_path)
    ase.io.write(tmp_path / "test.xyz", frames(2))
    script = ROOT / "examples" / "inspect_features.py"
    arguments = [str(script), str(path), str(tmp_path / "test.xyz"), str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(script), run_name="__main__")
    said = capsys.readouterr().out
    assert "duplicates: ((2, 5),)" in said
    assert "layer_2: mean |R|" in said
    assert "O-Si: " in said
    assert (tmp_path / "out" / "index.html").is_file()


def test_the_example_labels_and_goes_on(tmp_path, monkeypatch, capsys):
    source, target = tmp_path / "to_label.xyz", tmp_path / "labelled.xyz"
    ase.io.write(source, [bulk("Cu", cubic=True).repeat(k) for k in (1, 2)])
    script = ROOT / "examples" / "label_frames.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(source), str(target)])
    runpy.run_path(str(script), run_name="__main__")
    first, second = ase.io.read(target, ":")
    assert {"energy", "forces", "stress"} <= set(first.calc.results)
    assert second.get_potential_energy() == pytest.approx(8 * first.get_potential_energy())
    ase.io.write(target, first)
    capsys.readouterr()
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out == "2 of 2 labelled\n"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words its help by version")
def test_the_page_of_the_commands_is_their_help():
    made = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make_cli.py")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert made.stdout == (ROOT / "docs" / "cli.md").read_text(), "run `make docs`"


def test_the_block_of_the_page_trains(tmp_path):
    """The first block of the page on training, as it stands, on a tiny model."""
    text = (ROOT / "docs" / "allegro.md").read_text()
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", text, re.S))
    shown = yaml.safe_load(resolved(block))
    config = {**module_config(), "loss": shown["training_module"]["loss"]}
    module = fit(tmp_path, config, epochs=1)
    assert list(module.loss.keys())[-1] == "decorrelation"
    assert module.loss.metrics_values_epoch["decorrelation"] > 0
