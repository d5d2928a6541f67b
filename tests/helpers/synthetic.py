"""A finished campaign on disk, made up: what a report reads, without any MD."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk

from nequip_decorr.campaign.store import file_sizes, finished_manifest, running_manifest
from nequip_decorr.files import sha256_file, write_json
from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.record import RecordWriter, write_frame
from nequip_decorr.md.spec import ModelSpec, RunResult, RunSpec

LENGTH_PS = 5.0
STEPS = 5000
VALUES = {
    "temperature": (7000.0, 6000.0),
    "contact": (0.45, 0.6),
    "energy": (-1.1, -1.0),
    "force": (400.0, 200.0),
    "drift": (0.6, 0.5),
    "nonfinite": (None, None),
    "lost": (1.0, 0.0),
    "extrapolation": (4.0, 3.0),
}


def write_campaign(
    folder: Path,
    hazards: dict[str, dict[str, float]],
    *,
    name: str = "made-up",
    structures: Sequence[str] = ("quartz", "cristobalite", "SiO1.55"),
    temperatures_K: Sequence[float] = (2000.0,),
    seeds: Sequence[int] = (1, 2, 3, 4),
    ensemble: str = "nvt",
    trajectory: bool = True,
    reference: Any = None,
    errors: int = 0,
    interrupted: int = 0,
    check_every: int = 1,
    graded: bool = False,
    content: str = "",
) -> Path:
    """Write a campaign whose runs fail at random times.

    Args:
        folder: of the campaign.
        hazards: rate of failure per ps by model and cause; each cause has its own clock.
        errors: that many of the first runs end in an error.
        interrupted: that many runs after those are cut short at half of their time.
        graded: the models have an extrapolation grade, with a bound of 3.
        content: of the models' files; models of one name and content are one.
    """
    plans = []
    number = 0
    for seed in seeds:
        for structure in structures:
            for temperature_K in temperatures_K:
                for model, rates in hazards.items():
                    spec = RunSpec(
                        run_id=f"run-{number:04d}",
                        model=ModelSpec(model, "lammps", pair_style="zero", pair_coeff="* *"),
                        structure=structure,
                        structure_file=str(folder / "inputs" / f"{number}.extxyz"),
                        temperature_K=temperature_K,
                        seed=seed,
                        ensemble=ensemble,  # type: ignore[arg-type]
                        steps=STEPS,
                        criteria=Criteria(
                            check_every=check_every, extrapolation_grade=3.0 if graded else None
                        ),
                    )
                    rng = np.random.default_rng([number, 11])
                    status = "error" if number < errors else None
                    status = status or ("interrupted" if number < errors + interrupted else None)
                    _write_run(folder, spec, rates, rng, status, trajectory)
                    inputs = {
                        "model": hashlib.sha256(f"{model}{content}".encode()).hexdigest(),
                        "structure_file": sha256_file(spec.structure_file),
                    }
                    plans.append({"spec": spec.to_dict(), "inputs": inputs})
                    number += 1
    plan = {"schema": 1, "name": name, "reference": reference, "runs": plans}
    write_json(folder / "campaign.json", plan)
    return folder


def _write_run(
    folder: Path,
    spec: RunSpec,
    rates: dict[str, float],
    rng: np.random.Generator,
    status: str | None,
    trajectory: bool,
) -> None:
    place = folder / "runs" / spec.run_id
    place.mkdir(parents=True)
    (folder / "inputs").mkdir(exist_ok=True)
    times = {cause: rng.exponential(1 / rate) for cause, rate in rates.items() if rate}
    cause = min(times, key=lambda c: times[c]) if times else None
    failed = cause is not None and times[cause] < LENGTH_PS and status is None
    end_ps = times[cause] if failed and cause else LENGTH_PS
    if status == "interrupted":
        end_ps = LENGTH_PS / 2
    last = max(1, int(end_ps * 1000))
    atoms = crystal(spec.structure)
    ase.io.write(spec.structure_file, atoms, format="extxyz")
    manifest = running_manifest(spec, {"model": "0" * 64})
    if status == "error":
        result = RunResult("error", 0, spec.criteria.check_every, message="the engine crashed")
    else:
        _write_record(place, spec, last, cause if failed else None, rng)
        if trajectory:
            _write_frames(place, atoms, last, rng)
        value, threshold = VALUES[cause] if failed and cause else (None, None)
        result = RunResult(
            status="failed" if failed else status or "survived",  # type: ignore[arg-type]
            last_step=last,
            check_every=spec.criteria.check_every,
            cause=cause if failed else None,  # type: ignore[arg-type]
            value=value,
            threshold=threshold,
            message=f"{cause} at step {last}" if failed else "",
            wall_s=1.0,
        )
    write_json(place / "manifest.json", finished_manifest(manifest, result, file_sizes(place)))


def _write_record(
    place: Path, spec: RunSpec, last: int, cause: str | None, rng: np.random.Generator
) -> None:
    steps = np.unique([*range(0, last, 10), last])
    time = steps * 1e-3
    near = np.exp(-(time[-1] - time) / 0.15)
    noise = rng.normal(size=(4, len(steps)))
    grow = {name: near * (cause == name) for name in VALUES}
    temperature = spec.temperature_K * (1 + 0.06 * noise[0] + 2.5 * grow["temperature"])
    potential = -6.2 + 0.02 * noise[1] + 0.1 * (1 - np.exp(-time)) - 1.2 * grow["energy"]
    kinetic = 1.5 * 8.617e-5 * temperature
    largest = 0.8 + 0.05 * noise[0] + 3.2 * grow["extrapolation"]
    grades = [{"max_grade": g, "share_above_1": float(g > 1), "worst_atom": 5.0} for g in largest]
    writer = RecordWriter(place)
    for k, step in enumerate(steps):
        writer.write(
            {
                "step": int(step),
                "time_ps": time[k],
                "temperature_K": temperature[k],
                "potential_eV_per_atom": potential[k],
                "kinetic_eV_per_atom": kinetic[k],
                "total_eV_per_atom": -5.9 + 1e-4 * time[k] + 1e-4 * noise[2, k],
                "pressure_GPa": 1.0,
                "volume_A3": 1000.0,
                "max_force_eV_per_A": 8 + abs(noise[3, k]) + 300 * grow["force"][k],
                "min_contact": 0.86 + 0.01 * noise[3, k] - 0.3 * grow["contact"][k],
                **(grades[k] if spec.criteria.extrapolation_grade else {}),
            }
        )
    writer.close()


def crystal(structure: str) -> Atoms:
    """Some small oxide; a tilted one if the name says so."""
    atoms = bulk("HfO2", "fluorite", a=5.1, cubic=structure != "tilted")
    return atoms if structure != "tilted" else atoms.repeat((2, 2, 2))


def _write_frames(place: Path, atoms: Atoms, last: int, rng: np.random.Generator) -> None:
    atoms = atoms.copy()
    with (place / "trajectory.extxyz").open("w") as file:
        for step in range(0, last + 1, 100):
            frame = atoms.copy()
            frame.positions += rng.normal(scale=0.12, size=frame.positions.shape)
            write_frame(file, frame, step, step * 1e-3)
