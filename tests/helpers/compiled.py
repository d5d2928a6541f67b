"""A very small Allegro with random weights and a soft core, compiled without training.

``python -m tests.helpers.compiled TARGET OUT`` compiles it (about 30 s on a core). It holds no
physics: weak random forces on top of a repulsive core that keeps atoms apart, so that MD at some
hundred kelvin runs without end. For ``pair_allegro`` it has an extrapolation grade, fitted to
displaced quartz; for other targets none.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock

TYPES = ["Si", "O"]
_PACKAGES = ("nequip", "nequip-allegro", "torch")


def compiled_model(target: str = "pair_allegro") -> Path:
    """Path of the compiled model; compiled once per content of this file and stack.

    Raises:
        RuntimeError: compiling failed; what it said is in the text.
    """
    versions = [f"{name}{metadata.version(name)}" for name in _PACKAGES]
    key = hashlib.sha256(Path(__file__).read_bytes())
    key.update(" ".join([*versions, platform.machine(), target]).encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nequip-decorr-tests"
    path = cache / f"{target}-{key.hexdigest()[:16]}.nequip.pt2"
    cache.mkdir(parents=True, exist_ok=True)
    # Of test processes side by side one compiles, and the others wait for it.
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            _compile(target, path)
    return path


def _compile(target: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        fresh = Path(scratch) / path.name
        done = subprocess.run(
            [sys.executable, "-m", "tests.helpers.compiled", target, str(fresh)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"compiling the test model failed:\n{done.stderr[-3000:]}")
        fresh.rename(path)


def core(type_names: list[str], irreps_in: Any) -> Any:
    """A repulsive core, the same for all pairs: ``0.01 eV (1.9 A / r)^12``."""
    from nequip.nn.pair_potential import SimpleLennardJones
    from nequip.nn.utils import scatter, with_edge_vectors_

    class Core(SimpleLennardJones):
        def forward(self, data: dict[str, Any]) -> dict[str, Any]:
            data = with_edge_vectors_(data, with_lengths=True)
            cutoff = self.cutoff(data["normed_edge_lengths"]).reshape(-1, 1)
            ratio = self.lj_sigma / data["edge_lengths"].reshape(-1, 1)
            edge = (0.5 * self.lj_epsilon * ratio**12 * cutoff).to(self.model_dtype)
            size = data["pos"].shape[0]
            found = scatter(edge, data["edge_index"][0], dim=0, dim_size=size)
            data["atomic_energy"] = data["atomic_energy"] + found
            return data

    return Core(lj_sigma=1.9, lj_epsilon=0.01, irreps_in=irreps_in)


def build(target: str, out: str) -> None:
    """Compile for a target of ``nequip-compile`` into a file."""
    import allegro._compile  # noqa: F401  (registers pair_allegro)
    import torch
    from allegro.model import AllegroModel
    from nequip.data import compute_neighborlist_, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper
    from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
    from nequip.utils.aot import aot_export_model
    from nequip.utils.global_state import get_latest_global_state, set_global_state

    from nequip_decorr.extrapolation.grade import FIELD, ExtrapolationGrade
    from nequip_decorr.extrapolation.module import add_grade
    from tests.conftest import quartz_cell

    set_global_state(allow_tf32=False)
    model = AllegroModel(
        seed=1,
        model_dtype="float32",
        r_max=4.0,
        type_names=TYPES,
        l_max=1,
        num_layers=1,
        num_scalar_features=8,
        num_tensor_features=2,
        radial_chemical_embed={"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 4},
        scalar_embed_mlp_hidden_layers_width=8,
        allegro_mlp_hidden_layers_width=8,
        readout_mlp_hidden_layers_width=8,
        avg_num_neighbors=20.0,
        per_type_energy_scales=0.05,
        per_type_energy_shifts={"Si": -5.0, "O": -7.0},
        pair_potential={"_target_": "tests.helpers.compiled.core"},
    ).eval()
    outputs = list(COMPILE_TARGET_DICT[target]["output"])
    if target == "pair_allegro":
        displaced = [quartz_cell((2, 2, 1)) for _ in range(10)]
        for seed, frame in enumerate(displaced):
            frame.rattle(0.05, seed=seed)
        add_grade(model, ExtrapolationGrade.fit(model, displaced))
        outputs.append(FIELD)
    atoms = quartz_cell()
    atoms.rattle(0.05, seed=1)
    data = ChemicalSpeciesToAtomTypeMapper(model_type_names=TYPES)(from_ase(atoms))
    data = compute_neighborlist_(data, r_max=4.0)
    settings = COMPILE_TARGET_DICT[target]
    size = torch.export.dynamic_shapes.Dim
    dims = {
        "graph": size("num_frames", min=2, max=torch.inf),
        "node": size("num_nodes", min=2, max=torch.inf),
        "edge": size("num_edges", min=2, max=torch.inf),
    }
    notes = {**model.metadata, **get_latest_global_state(only_metadata_related=True)}
    notes = {key: str(int(v)) if isinstance(v, bool) else str(v) for key, v in notes.items()}
    notes["nequip_aoti_inputs"] = " ".join(settings["input"])
    notes["nequip_aoti_outputs"] = " ".join(outputs)
    aot_export_model(
        model=model,
        device=torch.device("cpu"),
        input_fields=settings["input"],
        output_fields=outputs,
        data=settings["data_settings"](data),
        batch_map=settings["batch_map_settings"](dims),
        output_path=out,
        inductor_configs={"aot_inductor.metadata": notes},
    )


if __name__ == "__main__":
    build(sys.argv[1], sys.argv[2])
