"""How well does the extrapolation grade tell errors, how early does it warn, and how often falsely?

Trains stock and decorrelated models on the demo's silicon oxide, and measures on data of other
removed oxygens and velocities. Each step is kept in the work folder and not done again.

    python benchmarks/grade.py md --work DIR        # the models' own MD: is the warning early?
    python benchmarks/grade.py errors --work DIR    # grade against force error, beside a committee
                                                    # of four and the nearest training atom
    python benchmarks/grade.py alarms --work DIR    # 100 ps of the reference on training crystals
    python benchmarks/grade.py hfo2 --work DIR      # `errors` on hafnium oxide by DFT (optional)
    python benchmarks/grade.py summary              # the numbers, and the figure of the README and
                                                    # docs/extrapolation.md, from the raw rows alone

Raw rows: ``results/grade_*.csv``. The set `own` holds frames of the models' own MD, before contact.
The defaults of the grade were chosen with seed 1 on the demo's own test sets.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from correlation_and_accuracy import CONFIGS, train
from hardware import describe, read, write
from scipy.spatial import cKDTree
from scipy.stats import spearmanr
from scipy.stats import t as student

from nequip_decorr import ExtrapolationGrade, stability
from nequip_decorr.datasets.siox import Reference, make_siox, relaxed
from nequip_decorr.demo import TEMPERATURE_K, TEST_SETS
from nequip_decorr.extrapolation.scoring import Reading, auroc
from nequip_decorr.features.fields import ATOM_TYPE
from nequip_decorr.features.frames import load_model, outputs
from nequip_decorr.md.times import trusted_time_ps
from nequip_decorr.processes import script
from nequip_decorr.report.loading import load_runs

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
HELDOUT_SEED = 1
HALT = 3.0
ENERGY_OFF_EV_PER_ATOM = 0.15
THRESHOLDS_EV_PER_A = {"0.1": 0.1, "0.25": 0.25, "0.5": 0.5}
EVERY_FS = 5
FRAMES_PER_RUN = 10


@dataclass
class Looked:
    """What one model makes of some frames, atom by atom."""

    forces: np.ndarray
    error: np.ndarray
    features: np.ndarray
    types: np.ndarray
    grade: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)


def look(model: Any, grade: ExtrapolationGrade, frames: Sequence[Atoms]) -> Looked:
    """Forces, features and grades of labelled frames, with the time of each."""
    parts = defaultdict(list)
    seconds = dict.fromkeys(("forces", "grade"), 0.0)
    for frame in frames:
        began = time.perf_counter()
        ((data, target),) = outputs(model, [frame], batch_size=1)
        seconds["forces"] += time.perf_counter() - began
        began = time.perf_counter()
        parts["grade"].append(grade.of_output(data).numpy())
        seconds["grade"] += time.perf_counter() - began
        parts["features"].append(grade.features(data).double().numpy())
        parts["types"].append(data[ATOM_TYPE].reshape(-1).numpy())
        parts["forces"].append(data["forces"].numpy())
        parts["error"].append((data["forces"] - target["forces"]).norm(dim=-1).numpy())
    columns = {name: np.concatenate(rows) for name, rows in parts.items()}
    return Looked(**columns, seconds=seconds)


def nearest(training: Looked, looked: Looked) -> np.ndarray:
    """Distance to the nearest training atom of the type, channels in units of their deviation."""
    found = np.full(len(looked.types), np.inf)
    scale = training.features.std(0)
    scale[scale == 0] = np.inf
    for kind in np.unique(training.types):
        tree = cKDTree(training.features[training.types == kind] / scale)
        mine = looked.types == kind
        found[mine] = tree.query(looked.features[mine] / scale)[0]
    return found


def spread(members: Sequence[Looked]) -> np.ndarray:
    """Deviation of a committee's forces, norm over components."""
    forces = np.stack([member.forces for member in members])
    return np.linalg.norm(forces.std(0, ddof=1), axis=-1)


def rows_of(
    system: str,
    sets: Mapping[tuple[str, int], Mapping[str, Looked]],
    training: Mapping[tuple[str, int], Looked],
    rms_eV_per_A: float,
    conditions: Mapping[tuple[str, int], float],
) -> list[dict[str, Any]]:
    """Agreement with the force error: a row per model, method and set, and for sets together."""
    rows = []
    bounds = {**THRESHOLDS_EV_PER_A, "half_rms": rms_eV_per_A / 2}
    for (name, seed), looked in sets.items():
        group = [s for s in range(1, 100) if (s - 1) // 4 == (seed - 1) // 4]
        committee = [sets.get((name, s)) for s in group[:4]]
        for kind in [*looked, "all", "out of distribution"]:
            kinds = [
                k for k in looked if kind in ("all", k) or (kind[:3] == "out" and k != "test_id")
            ]
            kinds = [k for k in kinds if k != "own" or kind == "own"]
            if not kinds:
                continue
            values = {
                "grade": [looked[k].grade for k in kinds],
                "nearest": [nearest(training[name, seed], looked[k]) for k in kinds],
            }
            if all(committee) and kind != "own":
                values["committee"] = [spread([m[k] for m in committee]) for k in kinds]
            error = np.concatenate([looked[k].error for k in kinds])
            for method, value in values.items():
                rows.append(
                    {
                        "system": system, "model": name, "seed": seed, "method": method,
                        "set": kind, "mean_error_eV_per_A": error.mean(),
                        "condition_number": conditions[name, seed],
                        **agreement(np.concatenate(value), error, bounds),
                    }
                )  # fmt: skip
    return rows


def agreement(grade: np.ndarray, error: np.ndarray, thresholds: Mapping[str, float]) -> Any:
    """How well a grade orders errors: Spearman's rank correlation, and AUROC per threshold.

    Args:
        grade: of labelled atoms, ``[n]``.
        error: their force errors in eV/A, ``[n]``.
        thresholds: errors in eV/A by name.
    """
    return {
        "atoms": len(grade),
        "spearman": float(spearmanr(grade, error).statistic),
        **{f"auroc_{name}": auroc(grade, error > bound) for name, bound in thresholds.items()},
    }


def readings(sets: Mapping[tuple[str, int], Mapping[str, Looked]]) -> list[dict[str, Any]]:
    """Force error to expect at a grade, over the labelled sets of each stock model."""
    rows = []
    for (name, seed), looked in sets.items():
        parts = [part for kind, part in looked.items() if kind != "own"]
        grades, errors = (
            np.concatenate([getattr(p, k) for p in parts]) for k in ("grade", "error")
        )
        reading = Reading.fit(grades, errors)
        if name == "stock" and reading is not None:
            curves = reading.median_eV_per_A, reading.low_eV_per_A, reading.high_eV_per_A
            for knot, median, low, high in zip(reading.grade, *curves, strict=True):
                rows.append(
                    {"seed": seed, "grade": knot, "median_eV_per_A": median,
                     "low_eV_per_A": low, "high_eV_per_A": high}
                )  # fmt: skip
    return rows


def fitted(
    checkpoint: Path, data: Path, added: Sequence[Atoms] = ()
) -> tuple[Any, ExtrapolationGrade]:
    """Model and grade; the grade is kept beside the checkpoint."""
    model = load_model(checkpoint)
    path = checkpoint.with_name("best.grade.npz")
    if not path.is_file():
        training, validation = (ase.io.read(data / f"{k}.xyz", ":") for k in ("train", "val"))
        ExtrapolationGrade.fit(model, training, validation, added).save(path)
    return model, ExtrapolationGrade.load(path)


def condition_number(grade: ExtrapolationGrade) -> float:
    """Of the ridged covariance, mean of the logarithm over types."""
    logs = [np.log(np.linalg.cond(w)) * 2 for w in grade.gaussians.whiten.numpy()]
    return float(np.exp(np.mean(logs)))


def compiled(checkpoint: Path) -> Path:
    """The model with its grade for LAMMPS."""
    path = checkpoint.with_name("graded.nequip.pt2")
    if not path.is_file():
        command = [script("nequip-decorr"), "compile", checkpoint, path]
        subprocess.run([*map(str, command)], check=True, capture_output=True)
    return path


def labelled(frames: Iterable[Atoms]) -> list[Atoms]:
    """Frames with the reference's energy and forces."""
    found = []
    for frame in frames:
        plain = Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=True)
        with Reference(plain) as reference:
            made = reference.frame()
        made.info.update(frame.info)
        found.append(made)
    return found


def trained(work: Path, names: Sequence[str], seeds: Sequence[int], workers: int) -> dict:
    """Checkpoints by (model, seed)."""
    make_siox(work / "data", "demo") if not (work / "data").is_dir() else None
    if not (work / "heldout").is_dir():
        make_siox(work / "heldout", "demo", seed=HELDOUT_SEED)
    jobs = [(name, seed) for seed in seeds for name in names]
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(jobs, pool.map(lambda j: train(*j, work), jobs), strict=True))


def own_md(work: Path, seed: int, checkpoint: Path) -> Path:
    """MD of the held-out cells with one model, without a halt at the grade."""
    folder = work / "md" / str(seed)
    campaign = {
        "models": {"model": str(compiled(checkpoint))},
        "structures": {p.stem: str(p) for p in sorted((work / "heldout" / "md").glob("*.xyz"))},
        "temperatures_K": [TEMPERATURE_K],
        "seeds": [11],
        "length_ps": 6.0,
        "record_every": EVERY_FS,
        "trajectory_every": EVERY_FS,
        "out": str(folder),
    }
    stability.run(stability.load(campaign), workers=1)
    return folder


def early(model: Any, grade: ExtrapolationGrade, folder: Path, seed: int) -> list[dict[str, Any]]:
    """Times of the events of each run, ps; nothing where they do not come."""
    rows = []
    for run in load_runs([folder])[0]:
        frames = run.stable_frames()
        gamma = np.stack(list(grade.score(model, frames)))
        largest = gamma.max(1)
        times = np.array([f.info["time_ps"] for f in frames])
        first = int(np.argmax(largest > HALT)) if (largest > HALT).any() else len(frames) - 1
        # Labels for what lies around the halt and, evenly in log time, the whole run.
        chosen = np.unique(np.geomspace(1, len(frames), 80).round().astype(int) - 1)
        chosen = np.union1d(chosen, np.arange(max(0, first - 10), min(len(frames), first + 11)))
        true = np.array([f.get_potential_energy() for f in labelled(frames[k] for k in chosen)])
        looked_at = outputs(model, [frames[k] for k in chosen])
        energies = np.concatenate([d["total_energy"].flatten().numpy() for d, _ in looked_at])
        off = np.abs((energies - energies[0]) - (true - true[0])) / len(frames[0])
        wrong = times[chosen][off > ENERGY_OFF_EV_PER_ATOM]
        beyond = {g: times[largest > g] for g in (1.0, 2.0, HALT)}
        rows.append(
            {
                "seed": seed, "structure": run.row["structure"], "status": run.row["status"],
                "cause": run.row.get("cause"), "stable_ps": run.row["stable_time_ps"],
                **{f"grade_{g:g}_ps": b[0] if len(b) else None for g, b in beyond.items()},
                "energy_off_ps": wrong[0] if len(wrong) else None,
                "trusted_ps": trusted_time_ps(times, largest, (gamma > 1).mean(1)),
                "largest_grade": float(largest.max()),
            }
        )  # fmt: skip
    return rows


def frames_of_md(folder: Path) -> list[Atoms]:
    """Labelled frames of a model's own MD, evenly in log time over each run."""
    chosen = []
    for run in load_runs([folder])[0]:
        frames = run.stable_frames()
        where = np.geomspace(1, len(frames), FRAMES_PER_RUN).round().astype(int) - 1
        chosen += [frames[k] for k in np.unique(where)]
    return labelled(chosen)


def alarms(work: Path, checkpoints: Mapping, length_ps: float) -> list[dict[str, Any]]:
    """Grades of the reference's MD of the training crystals at the training temperature."""
    frames = defaultdict(list)
    every = 500
    for name in ("quartz", "cristobalite"):
        path = work / f"alarms_{name}.xyz"
        if not path.is_file():
            start = relaxed(ase.io.read(work / "heldout" / "md" / f"{name}_siox2.xyz"))
            with Reference(start) as md:
                md.heat(600.0, 77)
                md.run(300.0, 1000)
                for _ in range(round(length_ps * 1000 / every)):
                    md.run(300.0, every)
                    frames[name].append(md.frame())
            ase.io.write(path, frames[name])
        frames[name] = ase.io.read(path, ":")
    rows = []
    for (model_name, seed), checkpoint in checkpoints.items():
        model, grade = fitted(checkpoint, work / "data")
        for name, run in frames.items():
            gamma = np.stack(list(grade.score(model, run)))
            rows.append(
                {
                    "model": model_name, "seed": seed, "structure": name,
                    "atoms": gamma.size, "quantile": grade.about["quantile"],
                    "share_above_1": (gamma > 1).mean(), "largest": gamma.max(),
                    "frames_above_3": int((gamma.max(1) > HALT).sum()),
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def errors(work: Path, checkpoints: Mapping) -> list[dict[str, Any]]:
    """Rows of `errors` on silicon oxide."""
    files = {k: ase.io.read(work / "heldout" / f"{k}.xyz", ":") for k in TEST_SETS}
    forces = np.concatenate([f.get_forces() for frames in files.values() for f in frames])
    rms = float(np.sqrt((forces**2).sum(1).mean()))
    return _errors("siox", work / "data", files, checkpoints, rms, work / "md")


def hfo2_errors(work: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of `errors` on hafnium oxide, for the small stock model of the study."""
    from study.declared import HFO2, read_study
    from study.hfo2 import TEST_SETS as HFO2_SETS
    from study.model import Model
    from study.model import train as train_model

    study, regime = read_study(), "hfo2_many"
    models = {("stock", s): Model(work / "hfo2", regime, "stock", s) for s in seeds}
    for model in models.values():
        train_model(model, study)
    data = work / "hfo2" / "data" / regime
    files = {k: ase.io.read(data / f"{k}.xyz", ":") for k in HFO2_SETS}
    forces = np.concatenate([f.get_forces() for frames in files.values() for f in frames])
    rms = float(np.sqrt((forces**2).sum(1).mean()))
    checkpoints = {key: model.folder / "best.ckpt" for key, model in models.items()}
    return _errors(HFO2, data, files, checkpoints, rms, work / "hfo2" / "md")


def _errors(
    system: str, data: Path, files: Mapping, checkpoints: Mapping, rms: float, md: Path
) -> list[dict[str, Any]]:
    training, sets, conditions = {}, {}, {}
    costs = []
    frames = ase.io.read(data / "train.xyz", ":")
    for key, checkpoint in checkpoints.items():
        model, grade = fitted(checkpoint, data)
        training[key] = look(model, grade, frames)
        sets[key] = {k: look(model, grade, f) for k, f in files.items()}
        if key[0] == "stock" and (md / str(key[1])).is_dir():
            sets[key]["own"] = look(model, grade, frames_of_md(md / str(key[1])))
        conditions[key] = condition_number(grade)
        seconds = {k: sum(s.seconds[k] for s in sets[key].values()) for k in ("forces", "grade")}
        atoms = sum(len(s.types) for s in sets[key].values())
        began = time.perf_counter()
        for looked in sets[key].values():
            nearest(training[key], looked)
        seconds["nearest"] = time.perf_counter() - began
        costs.append({k: 1e6 * v / atoms for k, v in seconds.items()})
        print(key, costs[-1], flush=True)
    write(RESULTS / f"grade_reading_{system}.csv", readings(sets), None)
    rows = rows_of(system, sets, training, rms, conditions)
    mean = {k: float(np.mean([c[k] for c in costs])) for k in costs[0]}
    extra = {"grade": mean["grade"], "nearest": mean["nearest"], "committee": 3 * mean["forces"]}
    for row in rows:
        row["extra_cost_of_forces"] = extra[row["method"]] / mean["forces"]
    return rows


def interval(values: Sequence[float], digits: int = 3) -> str:
    """Mean and its 95 % interval over training seeds."""
    values = np.array([v for v in values if v is not None and np.isfinite(v)])
    if len(values) < 2:
        return "   n/a"
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    mean = values.mean()
    return f"{mean:.{digits}f} [{mean - half:.{digits}f}, {mean + half:.{digits}f}]"


def summary() -> None:
    """Print the figures."""
    quantities = ("spearman", "auroc_0.1", "auroc_0.25", "auroc_0.5", "auroc_half_rms")
    for name in ("grade_errors", "grade_hfo2"):
        if not (RESULTS / f"{name}.csv").is_file():
            continue
        rows = read(RESULTS / f"{name}.csv")
        print(f"{name}: mean over training seeds [95 %]: {', '.join(quantities)}")
        for key in dict.fromkeys((r["model"], r["set"], r["method"]) for r in rows):
            mine = [r for r in rows if (r["model"], r["set"], r["method"]) == key]
            cells = "  ".join(interval([r[q] for r in mine]) for q in quantities)
            cost = mine[0]["extra_cost_of_forces"]
            print(f"  {key[0]:12s} {key[1]:20s} {key[2]:9s} n={len(mine)} {cells}  cost {cost:.3f}")
        _paired(rows, quantities)
    if (RESULTS / "grade_alarms.csv").is_file():
        rows = read(RESULTS / "grade_alarms.csv")
        share = [r["share_above_1"] for r in rows]
        seeds = sorted({r["seed"] for r in rows})
        each = [np.mean([r["share_above_1"] for r in rows if r["seed"] == s]) for s in seeds]
        print(
            f"alarms: share above 1 {interval(each, 5)}, largest of a run {max(share):.4f}; "
            f"largest grade {max(r['largest'] for r in rows):.2f}; frames above {HALT:g}: "
            f"{sum(r['frames_above_3'] for r in rows)}"
        )
    if (RESULTS / "grade_early.csv").is_file():
        _early_summary(read(RESULTS / "grade_early.csv"))
    if (RESULTS / "grade_early.csv").is_file() and (RESULTS / "grade_reading_siox.csv").is_file():
        draw(DOCS / "grade.png")


def draw(path: Path) -> None:
    """Force error against the grade, and when a halt at the grade comes in runs that fail."""
    from nequip_decorr.style import INK, SOFT, figure, grid, style

    early = [r for r in read(RESULTS / "grade_early.csv") if r["status"] == "failed"]
    reading = read(RESULTS / "grade_reading_siox.csv")
    with style():
        fig, axes = figure(9.4, 3.6, 1, 2)
        left, right = axes[0]
        for seed in sorted({r["seed"] for r in reading}):
            mine = [r for r in reading if r["seed"] == seed]
            x, middle, low, high = (
                [r[k] for r in mine]
                for k in ("grade", "median_eV_per_A", "low_eV_per_A", "high_eV_per_A")
            )
            left.fill_between(x, low, high, color="#0072B2", alpha=0.06, linewidth=0)
            left.plot(x, middle, color="#0072B2", linewidth=1)
        left.axvline(1, color=INK, linestyle="--", linewidth=0.8)
        left.annotate("edge of the\ntraining data", (1.06, 0.012), fontsize=8, color=INK)
        left.set(
            xscale="log", yscale="log", xlabel="extrapolation grade of an atom",
            ylabel="its force error (eV/Å)", title="The grade orders the error",
        )  # fmt: skip
        grid(left)
        early.sort(key=lambda r: r["stable_ps"])
        events = {
            f"halt at grade {HALT:g}": ("grade_3_ps", "o", "#009E73"),
            f"energy wrong by {ENERGY_OFF_EV_PER_ATOM} eV/atom": ("energy_off_ps", "s", "#D55E00"),
            "run fails (atoms meet)": ("stable_ps", "x", INK),
        }
        rows = range(len(early))
        right.hlines(rows, 3e-3, [r["stable_ps"] for r in early], color=SOFT, linewidth=0.5)
        for label, (column, marker, colour) in events.items():
            times = [
                max(r[column], EVERY_FS * 1e-3) if r[column] is not None else np.nan for r in early
            ]
            right.plot(times, rows, marker, color=colour, markersize=4, label=label, linestyle="")
        right.set(
            xscale="log", xlabel="time (ps)", yticks=[],
            ylabel=f"{len(early)} runs at {TEMPERATURE_K:g} K", title="A halt at it comes early",
        )  # fmt: skip
        right.legend(loc="lower right", fontsize=7)
        right.set_ylim(-len(early) / 4, len(early))
        grid(right, "x")
        for axis in (left.xaxis, left.yaxis, right.xaxis):
            axis.set_major_formatter("{x:g}")
        fig.savefig(path, dpi=130)


def _paired(rows: list[dict], quantities: Sequence[str]) -> None:
    """Decorrelated less stock, seed by seed."""
    for kind in dict.fromkeys(r["set"] for r in rows):
        found = {
            (r["model"], r["seed"]): r for r in rows if r["method"] == "grade" and r["set"] == kind
        }
        seeds = [s for n, s in found if n == "stock" and ("decorrelated", s) in found]
        if len(seeds) < 2:
            continue
        pairs = [(found["stock", s], found["decorrelated", s]) for s in seeds]
        cells = "  ".join(interval([b[q] - a[q] for a, b in pairs]) for q in quantities)
        logs = [np.log(b["condition_number"] / a["condition_number"]) for a, b in pairs]
        print(f"  decorrelated - stock, {kind}: {cells}; log condition number {interval(logs)}")


def concordance(a: np.ndarray, b: np.ndarray) -> float:
    """Share of pairs that both order alike; a tie in the first counts half (Harrell's C)."""
    i, j = np.triu_indices(len(a), 1)
    i, j = (x[b[i] != b[j]] for x in (i, j))
    return float((np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) / 2 + 0.5).mean())


def _early_summary(rows: list[dict]) -> None:
    failed = [r for r in rows if r["status"] == "failed"]
    halts = [r["grade_3_ps"] for r in failed]
    before = sum(h is not None and h < r["stable_ps"] for h, r in zip(halts, failed, strict=True))
    wrong = [r for r in rows if r["energy_off_ps"] is not None]
    timely = sum(
        r["grade_3_ps"] is not None and r["grade_3_ps"] < r["energy_off_ps"] for r in wrong
    )
    print(
        f"early: {len(rows)} runs, {len(failed)} failed; halt at {HALT:g} before the failure in "
        f"{before} of {len(failed)}; before the energy is off by {ENERGY_OFF_EV_PER_ATOM} eV/atom "
        f"in {timely} of {len(wrong)}"
    )
    right = np.array([r["energy_off_ps"] for r in wrong])
    stable = np.array([r["stable_ps"] for r in wrong])
    trusted = np.array(
        [r["stable_ps"] if r["trusted_ps"] is None else r["trusted_ps"] for r in wrong]
    )
    print(
        f"C-index with the time at which the energy is off: trusted time "
        f"{concordance(trusted, right):.3f}, stable time {concordance(stable, right):.3f}"
    )


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("errors", "md", "alarms", "hfo2", "summary"))
    parser.add_argument("--work", type=Path, help="folder for data, trainings and MD")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 9)))
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "summary":
        return summary()
    if given.work is None:
        parser.error("--work is needed")
    work = given.work.resolve()
    record = {**describe(), "seeds": given.seeds, "heldout_seed": HELDOUT_SEED}
    if given.what == "hfo2":
        write(RESULTS / "grade_hfo2.csv", hfo2_errors(work, given.seeds), record)
        return summary()
    names = list(CONFIGS) if given.what == "errors" else ["stock"]
    checkpoints = trained(work, names, given.seeds, given.workers)
    if given.what == "errors":
        write(RESULTS / "grade_errors.csv", errors(work, checkpoints), record)
    elif given.what == "alarms":
        write(RESULTS / "grade_alarms.csv", alarms(work, checkpoints, 100.0), record)
    else:
        rows = []
        for (_, seed), checkpoint in checkpoints.items():
            model, grade = fitted(checkpoint, work / "data")
            rows += early(model, grade, own_md(work, seed, checkpoint), seed)
            print(seed, rows[-1], flush=True)
            write(RESULTS / "grade_early.csv", rows, record)
    return summary()


if __name__ == "__main__":
    main()
