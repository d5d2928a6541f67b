""":class:`ExtrapolationGrade`: how far an atom is from the training data of its model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from .._version import __version__
from ..correlation import Moments, grouped_moments, merge_moments
from ..errors import UserError
from ..features.fields import ATOM_TYPE, EDGE_FEATURES, match_fields
from ..features.frames import outputs
from ..features.taps import attach_taps, interaction_layers
from ..structures import require_sound
from .added import count_added
from .atoms import AtomFeatures
from .quantile import can_tell, check_quantile, upper_quantile
from .statistics import DEFAULT_MAX_CHANNELS, DEFAULT_RIDGE, Gaussians, select_channels

FIELD: Final = "extrapolation_grade"
DEFAULT_QUANTILE: Final = 0.999
FOLDS: Final = 10
_TAP: Final = "node_invariants"

Progress = Callable[[Iterable[Any], str], Iterable[Any]]


class ExtrapolationGrade:
    """Grade atoms by how far their features lie from those of the training data.

    gamma = 1 is the edge of the data: the stated quantile of the distance over atoms that the
    Gaussians have not seen. Needs no label and no further training. Sources: Zhu et al.
    arXiv:2211.09866 (Gaussians of latent features), Podryabinkin and Shapeev 2017,
    doi:10.1016/j.commatsci.2017.08.031 (the term); the equations:
    :mod:`nequip_decorr.extrapolation.statistics`.

    With ``model = nequip_decorr.features.frames.load_model("best.ckpt")``, its training data and
    structures of a melt, as lists of ``Atoms``:

    >>> from nequip_decorr import ExtrapolationGrade
    >>> grade = ExtrapolationGrade.fit(model, training)
    >>> grade.save("best.grade.npz")
    >>> known, unknown = (max(g.max() for g in grade.score(model, x)) for x in (training, melt))
    >>> bool(known < unknown and unknown > 1)
    True

    Attributes:
        features: how a row per atom is read from the model's output.
        gaussians: one per atom type.
        threshold: distance at which gamma is 1.
        about: quantile, calibration, numbers of atoms, hashes of data and model.
    """

    def __init__(
        self, features: AtomFeatures, gaussians: Gaussians, threshold: float, about: dict[str, Any]
    ) -> None:
        self.features = features
        self.gaussians = gaussians
        self.threshold = threshold
        self.about = about

    @classmethod
    def fit(
        cls,
        model: Any,
        training: Iterable[Atoms],
        validation: Iterable[Atoms] | None = None,
        added: Iterable[Atoms] = (),
        *,
        fields: Sequence[str] | None = None,
        quantile: float = DEFAULT_QUANTILE,
        ridge: float = DEFAULT_RIDGE,
        max_channels: int = DEFAULT_MAX_CHANNELS,
        progress: Progress | None = None,
    ) -> ExtrapolationGrade:
        """Fit the grade of a model to its training data.

        Args:
            model: an eager model, as :func:`~nequip_decorr.features.frames.load_model` gives it.
            training: the structures that the model was trained on; labels are not needed.
            validation: structures like the training data that it was not trained on. Below
                ``10 / (1 - quantile)`` atoms they cannot tell the quantile, and each tenth of the
                training data is measured by the other nine instead.
            added: structures that the model was trained on too, but that were collected from MD of
                an earlier model: they do not move the edge (:mod:`.added`). They and ``training``
                need forces then. One with an element that ``training`` lacks joins ``training``.
            fields: output fields or patterns (default: ``edge_features``, or the invariants of
                NequIP's layers).
            quantile: share of unseen atoms below gamma = 1.
            ridge: see :meth:`Gaussians.of_moments`.
            max_channels: see :func:`.select_channels`.
            progress: wraps an iterable over frames, with a description.

        Raises:
            UserError: a wrong quantile, no such field, too few atoms, or a structure with atoms at
                the same place or positions that are not finite.
        """
        check_quantile(quantile)
        show = progress or (lambda frames, _: frames)
        training, added = _first_and_added(list(training), list(added))
        validation = list(validation or [])
        require_sound([*training, *added], "the training data")
        require_sound(validation, "the validation data")
        features = find_features(model, fields)
        parts: dict[int, Moments] = {}
        rows = _rows(model, features, show(training, "training data"))
        for number, (x, types) in enumerate(rows):
            fold = number % FOLDS
            moments = grouped_moments(x, types, len(model.type_names))
            parts[fold] = merge_moments([parts[fold], moments]) if fold in parts else moments
        if not parts:
            raise UserError("there is no training structure to fit the grade to")
        channels = select_channels(merge_moments(parts.values()), max_channels)
        features = replace(features, channels=tuple(channels.tolist()))
        parts = {
            fold: Moments(m.count, m.mean[:, channels], m.comoment[:, channels[:, None], channels])
            for fold, m in parts.items()
        }

        def gaussians_without(fold: int | None) -> Gaussians:
            kept = [m for other, m in parts.items() if other != fold]
            return Gaussians.of_moments(merge_moments(kept), ridge)

        gaussians = gaussians_without(None)
        if len(parts) == 1 or can_tell(sum(map(len, validation)), quantile):
            unseen, how, judges = validation, "validation", {0: gaussians}
        else:
            unseen, how = training, f"cross-validation in {len(parts)} parts"
            judges = {fold: gaussians_without(fold) for fold in parts}
        if not unseen:
            raise UserError(
                "one training structure alone has no unseen atoms to set gamma = 1; give "
                "validation structures"
            )
        measured = [
            judges[number % len(judges)].distance(x, types)
            for number, (x, types) in enumerate(_rows(model, features, show(unseen, how)))
        ]
        distances = torch.cat(measured).numpy()
        finite = distances[np.isfinite(distances)]
        if not len(finite):
            raise UserError(f"{how}: no atom of an element that the training data have")
        counts = merge_moments(parts.values()).count
        about = {
            "version": __version__,
            "quantile": quantile,
            "calibration": how,
            "calibration_atoms": len(finite),
            "estimate": "sample" if can_tell(len(finite), quantile) else "tail",
            "training_frames": len(training),
            "training_atoms": dict(zip(model.type_names, counts.long().tolist(), strict=True)),
            "data_sha256": _hash_of_frames([*training, *added]),
            "model_sha256": hash_of_model(model),
            "ridge": ridge,
            "max_channels": max_channels,
        }
        threshold = upper_quantile(finite, quantile)
        if added:
            gaussians, more = count_added(
                model, features, gaussians, threshold, training, show(added, "added frames")
            )
            about |= more
        return cls(features, gaussians, threshold, about)

    def of_output(self, data: Any) -> Tensor:
        """Grade of each atom in a model's output, ``[num_atoms]`` in float64."""
        return self.gaussians.distance(self.features(data), data[ATOM_TYPE]) / self.threshold

    def vectors_of_output(self, data: Any) -> Tensor:
        """Vector of each atom whose length is its grade, ``[num_atoms, K]`` in float64."""
        return self.gaussians.vector(self.features(data).double(), data[ATOM_TYPE]) / self.threshold

    def score(self, model: Any, frames: Iterable[Atoms]) -> Iterator[np.ndarray]:
        """Grade of each atom of each frame.

        Args:
            model: the eager model that the grade was fitted to.
            frames: structures.

        Raises:
            UserError: the grade was fitted to another model.
        """
        self.check_model(model)
        for x, types in _rows(model, self.features, frames):
            yield (self.gaussians.distance(x, types) / self.threshold).numpy()

    def check_model(self, model: Any) -> None:
        """Raise a :class:`UserError` if the grade was fitted to another model's features."""
        find_features(model, self.features.fields)
        if hash_of_model(model) != self.about["model_sha256"]:
            raise UserError(
                "the extrapolation grade was fitted to another model: their weights differ; fit "
                "it again with `nequip-decorr extrapolation fit`"
            )

    def save(self, path: Path | str) -> None:
        """Write to a ``.npz`` file (arrays and JSON; nothing in it is run when it is read)."""
        header = {
            "fields": self.features.fields,
            "on_edges": self.features.on_edges,
            "channels": self.features.channels,
            "threshold": self.threshold,
            "about": self.about,
        }
        arrays = {name: tensor.numpy() for name, tensor in self.gaussians.tensors().items()}
        with Path(path).open("wb") as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path | str) -> ExtrapolationGrade:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: no such file, or no grade in it.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                tensors = {k: torch.from_numpy(file[k]) for k in file.files if k != "header"}
            features = AtomFeatures(
                tuple(header["fields"]), header["on_edges"], tuple(header["channels"])
            )
            return cls(features, Gaussians(**tensors), header["threshold"], header["about"])
        except FileNotFoundError:
            raise UserError(f"no extrapolation grade at {path}") from None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"{path} is no extrapolation grade: {error}") from error


def _first_and_added(training: list[Atoms], added: list[Atoms]) -> tuple[list[Atoms], list[Atoms]]:
    known = {symbol for frame in training for symbol in frame.symbols}
    new = [frame for frame in added if set(frame.symbols) - known]
    return training + new, [frame for frame in added if not set(frame.symbols) - known]


def find_features(model: Any, fields: Sequence[str] | None = None) -> AtomFeatures:
    """Find the fields of a model's output that a grade looks at; tap NequIP's layers if need be.

    Raises:
        UserError: the model has none of these fields.
    """
    layers = f"layer*_{_TAP}"
    is_nequip = next(interaction_layers(model), None) is not None
    if is_nequip and not match_fields(model.irreps_out, layers):
        attach_taps(model, [_TAP], type(model).__name__)
    patterns = fields or [layers if is_nequip else EDGE_FEATURES]
    names = tuple(name for p in patterns for name in match_fields(model.irreps_out, p))
    if not names:
        known = sorted(k for k, v in model.irreps_out.items() if v is not None)
        raise UserError(f"the model's output has no field {list(patterns)}; its fields: {known}")
    edges = {name.startswith("edge") or name.endswith(("messages", "weights")) for name in names}
    if len(edges) > 1:
        raise UserError(f"`fields` must be all of atoms or all of edges, got {names}")
    return AtomFeatures(names, edges.pop())


def _rows(
    model: Any, features: AtomFeatures, frames: Iterable[Atoms]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Atom features in float64 and atom types, frame by frame."""
    found = (next(outputs(model, [frame]))[0] for frame in frames)
    return ((features(data).double(), data[ATOM_TYPE].reshape(-1)) for data in found)


def hash_of_model(model: Any) -> str:
    """SHA-256 of a model's parameters and buffers, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _hash_of_frames(frames: Iterable[Atoms]) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        for array in (frame.numbers, frame.positions, frame.cell.array, frame.pbc):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
