"""What importing costs, what is public, configs and the words of the README."""

import difflib
import doctest
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from nequip.utils.dtype import torch_default_dtype
from nequip.utils.global_state import set_global_state

import nequip_decorr
from nequip_decorr import _moved, stability
from nequip_decorr.resources import configs_dir, templates_dir
from tests.helpers.training import build, frames, module_config

ROOT = Path(__file__).parents[1]


def test_import_loads_nothing_heavy():
    """Nor needs it a command line, which a program with Python inside does not have."""
    code = "import sys; del sys.argv; import nequip_decorr, json; print(json.dumps([*sys.modules]))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(out.stdout))
    assert not loaded & {"torch", "torchmetrics", "lightning", "ase", "numpy", "matplotlib"}


def test_no_module_is_longer_than_300_lines():
    modules = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "nequip_decorr").rglob("*.py")
    }
    assert len(modules) > 100
    assert not {name: lines for name, lines in modules.items() if lines > 300}


def test_import_costs_less_than_that_of_argparse():
    """A ratio, so that a busy machine does not matter; `argparse` takes about 5 ms, we below 1."""
    code = (
        "import sys, time\n"
        "import importlib, collections\n"
        "times = []\n"
        "for name in ('nequip_decorr', 'argparse'):\n"
        "    start = time.process_time()\n"
        "    __import__(name)\n"
        "    times.append(time.process_time() - start)\n"
        "print(times[0] / times[1])"
    )
    command = [sys.executable, "-S", "-c", code]
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    ratios = [
        float(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    assert min(ratios) < 0.2


def test_registered_as_a_nequip_extension():
    from importlib.metadata import entry_points

    points = [e for e in entry_points(group="nequip.extension") if e.value == "nequip_decorr"]
    assert [e.name for e in points] == ["init_always"]


def test_public_names():
    for name in nequip_decorr.__all__:
        assert getattr(nequip_decorr, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        nequip_decorr.nothing  # noqa: B018


FORMER = [
    ("nequip_decorr.checks", "loss_names"),
    ("nequip_decorr.correlation", "correlation_matrix"),
    ("nequip_decorr.curves", "coefficient"),
    ("nequip_decorr.datasets", "make_siox"),
    ("nequip_decorr.evaluate", "evaluate"),
    ("nequip_decorr.features", "split_blocks"),
    ("nequip_decorr.loss", "FeatureDecorrelation"),
    ("nequip_decorr.model", "TapFeatures"),
    ("nequip_decorr.monitor", "FeatureCorrelation"),
    ("nequip_decorr.schedule", "DecorrelationScheduler"),
    ("nequip_decorr.stability.campaign", "load_campaign"),
    ("nequip_decorr.stability.plan", "plan_campaign"),
    ("nequip_decorr.stability.runner", "run_campaign"),
    ("nequip_decorr.stability.survival", "rmst"),
    ("nequip_decorr.stability.table", "read_runs"),
    ("nequip_decorr.stability.worker", "execute_run"),
]


@pytest.mark.parametrize(("module", "name"), FORMER, ids=lambda x: x)
def test_former_names_go_on_working_and_say_the_new_place(module, name, recwarn):
    namespace: dict[str, object] = {}
    sys.modules.pop(module if module.partition(".")[2] in _moved.MOVED else "", None)
    exec(f"from {module} import {name}", namespace)
    new = _moved.MOVED.get(key := module.partition(".")[2]) or _moved.WITHIN.get(key)
    assert callable(namespace[name])
    if new is None:  # it has the name that it had
        return
    assert namespace[name] is getattr(import_module(f"nequip_decorr.{new}"), name)
    said = [str(w.message) for w in recwarn if w.category is DeprecationWarning]
    assert any(f"has moved to nequip_decorr.{new}" in line for line in said)


@pytest.mark.parametrize("old", sorted(_moved.MOVED))
def test_every_former_module_leads_somewhere(old):
    with pytest.warns(DeprecationWarning, match="has moved to"):
        sys.modules.pop(f"nequip_decorr.{old}", None)
        assert dir(import_module(f"nequip_decorr.{old}"))


def test_a_module_that_never_was_is_an_error():
    with pytest.raises(ModuleNotFoundError):
        import_module("nequip_decorr.nothing")
    with pytest.raises(ModuleNotFoundError):
        import_module("nequip_decorr.stability.nothing")


def test_the_example_of_the_stability_front(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(stability, raise_on_error=False)
    assert found.attempted > 5
    assert not found.failed


@pytest.mark.parametrize("name", [n for n in nequip_decorr.__all__ if n != "__version__"])
def test_the_example_of_a_public_name(name, tmp_path, monkeypatch):
    """Every name has one; some start with a model and structures, as their text says."""
    monkeypatch.chdir(tmp_path)
    set_global_state()
    given, dtype = {}, torch.float32  # what a reader has before NequIP sets float64
    if name in ("ExtrapolationGrade", "inspect_model"):
        melt = frames(2, seed=1)
        melt[0].rattle(0.4)
        model = next(iter(build(module_config()).model.values())).eval()
        given, dtype = {"model": model, "training": frames(8), "melt": melt}, torch.float64
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(getattr(nequip_decorr, name), name, extraglobs=given)
    assert test.examples, f"the docstring of {name} shows no example"
    with torch_default_dtype(dtype):
        options = doctest.IGNORE_EXCEPTION_DETAIL
        assert not doctest.DocTestRunner(optionflags=options).run(test).failed


@pytest.mark.parametrize(
    ("module", "heavy"),
    [("stability", "ase"), ("report.report", "torch"), ("campaign.times", "torch")],
)
def test_what_is_not_needed_is_not_imported(module, heavy):
    code = f"import sys, nequip_decorr.{module}; print({heavy!r} in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "False\n"


def test_resources_are_there():
    assert (configs_dir() / "siox_allegro.yaml").is_file()
    assert (templates_dir() / "in.nvt").is_file()


def tracked(folder):
    """Files of a folder that git knows, relative to the checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if out.returncode:
        pytest.skip("not a git checkout")
    return [Path(line) for line in out.stdout.splitlines() if (ROOT / line).is_file()]


def test_every_package_is_named_in_pyproject():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    there = {".".join(path.parent.parts) for path in tracked("nequip_decorr")}
    assert set(setuptools["packages"]) == there | {
        "nequip_decorr._configs",
        "nequip_decorr._lammps",
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built by way of an sdist from a copy of what git knows, so that no stray folder hurts."""
    folder = tmp_path_factory.mktemp("wheel")
    alone = [Path(name) for name in ("pyproject.toml", "README.md", "LICENSE")]
    for path in [*alone, *tracked("nequip_decorr"), *tracked("configs"), *tracked("lammps")]:
        target = folder / "source" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, target)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder]
    done = subprocess.run([*command, folder / "source"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = (done.stdout + done.stderr).splitlines()
    warned = [line for line in said if "warning" in line.lower() and "byte-compiling" not in line]
    assert not warned
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_file(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    moved = {"configs": "nequip_decorr/_configs", "lammps": "nequip_decorr/_lammps"}
    files = [*tracked("nequip_decorr"), *tracked("configs"), *tracked("lammps")]
    wanted = {str(Path(moved.get(path.parts[0], path.parts[0]), *path.parts[1:])) for path in files}
    assert names == wanted
    assert "nequip_decorr/py.typed" in names


@pytest.mark.slow
def test_the_wheel_works_where_there_is_no_checkout(wheel, tmp_path):
    """In an environment that sees the packages of this one, but not its editable install."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    python = tmp_path / "env" / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = tmp_path / "env" / "lib" / version / "site-packages"
    ours = [path for path in sys.path if path.endswith("-packages")]
    (site / "packages.pth").write_text("\n".join(ours))
    install = ["-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-qq"]
    subprocess.run([sys.executable, *install, "--ignore-installed", wheel], check=True)
    (tmp_path / "elsewhere").mkdir()

    def run(*command):
        done = subprocess.run(
            command, cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import nequip_decorr.resources as r; print(r.configs_dir()); print(r.templates_dir())"
    configs, templates = run(python, "-c", where).split()
    assert Path(configs) == site / "nequip_decorr" / "_configs"
    assert (Path(templates) / "in.nvt").is_file()
    command = python.with_name("nequip-decorr")
    assert "stability" in run(command, "--help")
    assert nequip_decorr.__version__ in run(command, "--version")
    assert "temperatures_K" in run(command, "stability", "example")
    training = [python, "-m", "nequip.scripts.train", "-cp", configs, "-cn", "siox_allegro"]
    composed = run(*training, "+decorr=default", "data_dir=.", "--cfg", "job")
    assert yaml.safe_load(composed)["decorr"]["metric"]["_target_"].startswith("nequip_decorr")
    page = "from nequip_decorr.html import environment; environment().get_template('report.html')"
    run(python, "-c", page)


def without_block(config):
    """A config less what the block adds."""
    metrics = config["training_module"]["loss"].pop("extra_metrics")
    assert [m["metric"]["_target_"] for m in metrics] == ["nequip_decorr.FeatureDecorrelation"]
    return config


@pytest.mark.parametrize("name", ["siox_allegro", "hfo2_samd23_allegro"])
def test_twins_differ_by_the_block_alone(name):
    stock, ours = (ROOT / "configs" / f"{n}.yaml" for n in (name, f"{name}_decorr"))
    assert without_block(yaml.safe_load(ours.read_text())) == yaml.safe_load(stock.read_text())
    code = [
        [line for line in path.read_text().splitlines() if not line.startswith("#")]
        for path in (stock, ours)
    ]
    changes = [line for line in difflib.ndiff(*code) if line[0] in "-+"]
    assert all(line.startswith("+ ") for line in changes)
    assert len(changes) == 7


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_is_yaml(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_the_block_that_the_page_shows_is_that_of_the_config():
    page = (ROOT / "docs" / "allegro.md").read_text()
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", page, re.S) if "extra_metrics" in b)
    lines = [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 12
    shown = yaml.safe_load(block)["training_module"]["loss"]
    config = yaml.safe_load((ROOT / "configs" / "siox_allegro_decorr.yaml").read_text())
    assert shown["extra_metrics"] == config["training_module"]["loss"]["extra_metrics"]


def test_nequip_twins_differ_by_term_and_taps_alone():
    stock, ours = (
        yaml.safe_load((ROOT / "configs" / f"siox_nequip{end}.yaml").read_text())
        for end in ("", "_decorr")
    )
    model = without_block(ours)["training_module"]["model"]
    assert model.pop("taps") == ["node_invariants"]
    assert model.pop("_target_") == "nequip_decorr.TapFeatures"
    model["_target_"] = model.pop("builder")
    assert ours == stock


def test_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert f"\n{target}:" in makefile


def test_readme_commands_exist():
    from nequip_decorr.cli.main import parser

    readme = (ROOT / "README.md").read_text()
    shown = set(re.findall(r"^nequip-decorr (\S+)", readme, re.M))
    known = next(a for a in parser()._actions if a.dest == "command").choices
    assert shown
    assert shown <= set(known)
