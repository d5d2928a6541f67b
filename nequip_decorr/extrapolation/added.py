r"""Frames that joined the training data from MD: known as far as the model has learnt them.

Labels are collected where a model leaves its data. Counted like all other frames they would widen
the edge itself, in every direction, and a model need not have learnt them. So the first training
data alone set the Gaussians and gamma = 1, and an added atom counts by its force error
:math:`\delta`. With its grade vector :math:`g` (as in :mod:`.choose`) the grade becomes

.. math::

    \gamma'^2 = g^\top M^{-1} g, \qquad M = I + \sum_c w_c^2 g_c g_c^\top, \qquad
    w^2 = \frac{1}{1 + (\delta / \tau)^2}

An atom that the model has learnt is inside the edge, one that it has not learnt changes nothing.
This is Bayesian linear regression with a noise per observation (Bishop 2006, section 3.3). The
tolerance :math:`\tau` was chosen on MD of 22 models: ``docs/extrapolation.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from ase import Atoms

from ..errors import UserError
from ..features.fields import ATOM_TYPE
from ..features.frames import outputs
from .atoms import AtomFeatures
from .choose import Candidate, LabelledSoFar
from .statistics import Gaussians

TOLERANCE: Final = 0.05
"""Force error at which an added atom counts half, over the RMS force of the first data."""


def count_added(
    model: Any,
    features: AtomFeatures,
    gaussians: Gaussians,
    threshold: float,
    training: Sequence[Atoms],
    added: Iterable[Atoms],
    share: float = TOLERANCE,
) -> tuple[Gaussians, dict[str, Any]]:
    """Count the atoms of added frames as known, as far as the model has learnt their forces.

    Args:
        model: the eager model.
        features: how a row per atom is read from its output.
        gaussians: of the first training data.
        threshold: distance at which gamma is 1.
        training: the first training data, with forces.
        added: frames with forces that the model was trained on too, of elements that ``training``
            has.
        share: the tolerance, over the RMS force of the first training data.

    Returns:
        The Gaussians, and what is to be said of the added frames.

    Raises:
        UserError: forces are missing, or all those of the first data are zero.
    """
    tolerance = share * _rms_force(training)
    labelled = LabelledSoFar(*gaussians.mean.shape)
    errors, weights = [], []
    for frame in added:
        data, _ = next(outputs(model, [frame]))
        types = data[ATOM_TYPE].reshape(-1)
        off = data["forces"].detach().double().cpu() - torch.from_numpy(_forces(frame, "an added"))
        error = off.norm(dim=1)
        weight = (1 + (error / tolerance) ** 2).rsqrt()
        vectors = gaussians.vector(features(data).double(), types) / threshold
        labelled.add(Candidate(vectors * weight[:, None], types))
        errors.append(error)
        weights.append(weight**2)
    about = {"added_frames": len(errors), "added_tolerance_eV_per_A": tolerance}
    if not errors:
        return gaussians, about
    about["added_atoms"] = sum(map(len, errors))
    about["added_atoms_learnt"] = float(torch.cat(weights).sum())
    about["added_force_error_eV_per_A"] = float(torch.cat(errors).median())
    return replace(gaussians, whiten=labelled.whitened(gaussians.whiten)), about


def _rms_force(frames: Sequence[Atoms]) -> float:
    forces = np.concatenate([_forces(frame, "a training") for frame in frames])
    rms = float(np.sqrt((forces**2).sum(1).mean()))
    if not rms > 0:
        raise UserError("the forces of all training structures are zero: added frames need a scale")
    return rms


def _forces(frame: Atoms, kind: str) -> np.ndarray:
    if frame.calc is None or "forces" not in frame.calc.results:
        raise UserError(f"added frames count by their force errors: {kind} frame has no forces")
    return np.asarray(frame.calc.results["forces"], dtype=float)
