"""What the study consists of, read from ``conditions.yaml``: regimes, cells, seeds, conditions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

T = TypeVar("T")
HERE: Final = Path(__file__).parent
DECLARED: Final = HERE / "conditions.yaml"
STOCK: Final = "stock"
CHOSEN_REGIME: Final = "harsh"  # why: PROTOCOL.md, departure 1
SIOX: Final = "siox"
HFO2: Final = "hfo2"
TERM: Final = "nequip_decorr.FeatureDecorrelation"
SCHEDULER: Final = "nequip_decorr.DecorrelationScheduler"
ALLEGRO: Final = "allegro"
NEQUIP: Final = "nequip"
BLOCK_SIZE: Final = "${training_module.model.num_scalar_features}"
# Where the term finds the features of a network.
FEATURES: Final = {ALLEGRO: {"block_size": BLOCK_SIZE}, NEQUIP: {"field": "layer*_node_invariants"}}


@dataclass(frozen=True)
class Regime:
    """Training data and length.

    Attributes:
        frames: training frames; for ``siox`` of each crystal and temperature.
        epochs: training length; ``val_every`` epochs lie between two validations.
        temperatures_K: of the training frames (``siox``).
        system: ``siox`` or ``hfo2``.
        network: ``allegro`` or ``nequip``.
        title: what readers see.
        collected: also train on ``per_run`` frames of each MD run of the tuning half that models of
            a ``regime`` and ``condition`` with some ``seeds`` made (``siox``).
        config: merged into the stock config of every condition.
    """

    name: str
    frames: int
    epochs: int
    val_every: int
    temperatures_K: tuple[float, ...] = ()
    system: str = SIOX
    network: str = ALLEGRO
    title: str = ""
    collected: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Half:
    """Start cells and velocities: the tuning or the held-out half.

    Attributes:
        removal_seed: of the oxygens that are taken out.
        velocity_seeds: one MD run of each cell per seed.
        length_ps: of a run.
        temperature_K: of a run.
        timestep_fs: of a run.
        ratios: O/Si of the cells (``siox``).
        cells: names of the start cells (``hfo2``).
        system: ``siox`` or ``hfo2``.
    """

    name: str
    velocity_seeds: tuple[int, ...]
    removal_seed: int = 0
    length_ps: float = 10.0
    temperature_K: float = 2000.0
    timestep_fs: float = 1.0
    ratios: tuple[float, ...] = (2.0, 1.55, 1.1)
    cells: tuple[str, ...] = ()
    system: str = SIOX


@dataclass(frozen=True)
class Condition:
    """One way of training: what it changes in the stock config.

    Attributes:
        name: unique.
        group: conditions of one group are shown together.
        idea: what it is.
        prediction: what was expected, written before it was run.
        config: merged into the stock config.
        callbacks: added to the trainer's.
        term: arguments of the loss term, ``None`` for none; ``_target_`` for another class.
        schedule: arguments of the scheduler.
        regime: trains on the data of another regime (same number of optimiser steps).
    """

    name: str
    group: str
    idea: str
    prediction: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    callbacks: tuple[dict[str, Any], ...] = ()
    term: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    regime: str | None = None

    @property
    def core(self) -> bool:
        """A repulsive core in the model."""
        return "pair_potential" in str(self.config)

    @property
    def candidate(self) -> bool:
        """A decorrelation term and otherwise stock training: may become the best found."""
        other = {k for k in self.config if k != "training_module"}
        return self.term is not None and not other and self.group not in ("combination", "probe")


@dataclass(frozen=True)
class Study:
    """All that is declared."""

    regimes: dict[str, Regime]
    halves: dict[str, Half]
    conditions: dict[str, Condition]
    test_frames: int
    confirm: tuple[str, ...]

    def half_of(self, regime: str, half: str) -> str:
        """Name of the ``tuning`` or ``heldout`` half for the system of a regime."""
        system = self.regime(regime).system
        return half if system == SIOX else f"{system}_{half}"

    def trainable(self, regime: str, condition: str) -> bool:
        """Whether a condition's training data are of the regime's system."""
        data = self.condition(condition).regime
        return data is None or self.regime(data).system == self.regime(regime).system

    def condition(self, name: str) -> Condition:
        """A condition by name; an unknown one is a ``ValueError``."""
        return _named("condition", name, self.conditions)

    def regime(self, name: str) -> Regime:
        """A regime by name; an unknown one is a ``ValueError``."""
        return _named("regime", name, self.regimes)


def _named(kind: str, name: str, declared: dict[str, T]) -> T:
    if name not in declared:
        raise ValueError(f"no {kind} {name!r}; declared: {', '.join(declared)}")
    return declared[name]


def read_study(path: Path = DECLARED) -> Study:
    """Read and check the declaration.

    Raises:
        ValueError: an unknown key, a name given twice, no stock condition.
    """
    data = yaml.safe_load(path.read_text())
    try:
        regimes = {n: Regime(n, **_tuples(r)) for n, r in data["regimes"].items()}
        halves = {n: Half(n, **_tuples(h)) for n, h in data["halves"].items()}
        listed = [Condition(**_tuples(c)) for c in data["conditions"]]
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from None
    conditions = {c.name: c for c in listed}
    if len(conditions) < len(listed):
        names = [c.name for c in listed]
        raise ValueError(f"{path}: given twice: {sorted({n for n in names if names.count(n) > 1})}")
    if STOCK not in conditions:
        raise ValueError(f"{path}: no condition named {STOCK!r}")
    confirm = tuple(data.get("confirm", conditions))
    study = Study(regimes, halves, conditions, int(data["test_frames"]), confirm)
    for name in confirm:
        study.condition(name)
    return study


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}


def training_config(
    stock: dict[str, Any], condition: Condition, regime: Regime, seed: int
) -> dict[str, Any]:
    """The config that ``nequip-train`` gets: the stock one with a condition's changes."""
    from omegaconf import DictConfig, OmegaConf

    config = OmegaConf.merge(stock, regime.config)
    assert isinstance(config, DictConfig)
    config.update(seed=seed, epochs=regime.epochs, run=["train"])
    config.trainer.check_val_every_n_epoch = regime.val_every
    config.trainer.enable_progress_bar = False
    config.trainer.enable_model_summary = False
    if condition.term is not None:
        coeff = (condition.schedule or {}).get("end", (condition.schedule or {}).get("start", 0.05))
        metric = {"_target_": TERM, **FEATURES[regime.network], **condition.term}
        entry = {"name": "decorrelation", "coeff": coeff, "metric": metric}
        config.training_module.loss.extra_metrics = [entry]
    if condition.schedule is not None:
        scheduler = {"_target_": SCHEDULER, "metric": "decorrelation", **condition.schedule}
        config.trainer.callbacks.append(scheduler)
    for callback in condition.callbacks:
        config.trainer.callbacks.append(callback)
    merged = OmegaConf.merge(config, condition.config)
    plain = OmegaConf.to_container(merged, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
