r"""The maths of the extrapolation grade, on tensors alone.

Atom features :math:`x_i \in \mathbb{R}^K` of the training set have, per atom type t, a mean
:math:`\mu_t` and a covariance :math:`C_t` (:class:`~nequip_decorr.correlation.Moments`). With
channels in units of their standard deviation within types, and :math:`C_t` drawn towards the
covariance within all types by ``shrinkage`` atoms' worth, the distance of an atom is

.. math::

    \sigma_i^2 = (x_i - \mu_t)^\top (C_t + r I)^{-1} (x_i - \mu_t)

the Mahalanobis distance with a ridge r. Channels of a model repeat each other, so
:func:`select_channels` leaves only those that the others do not give.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import torch
from scipy.linalg.lapack import dpstrf
from torch import Tensor

from ..correlation import Moments, live_channels

DEFAULT_RIDGE: Final = 1e-2
DEFAULT_MAX_CHANNELS: Final = 32
DEFAULT_SHRINKAGE: Final = 200.0
REPEATED: Final = 1e-6
"""Share of a channel's variance that the others must leave for it to be kept."""


def pool_types(m: Moments) -> Moments:
    """Moments within all types together: comoments about each type's own mean."""
    mean = (m.mean * m.count[:, None]).sum(0) / m.count.sum()
    return Moments(m.count.sum(), mean, m.comoment.sum(0))


def select_channels(m: Moments, max_channels: int = DEFAULT_MAX_CHANNELS) -> Tensor:
    """Choose the channels that give the others, ``[K]`` indices in order.

    Each is the one of which those before it leave the largest share unexplained within types:
    Cholesky factorisation with pivots.

    Args:
        m: moments per type of all channels, in float64.
        max_channels: at most so many.

    Raises:
        ValueError: no type has two atoms, or no channel varies.
    """
    pooled = pool_types(m)
    live = live_channels(pooled)
    if (m.count - 1).clamp(min=0).sum() < 1 or not live.any():
        raise ValueError(
            f"the training data have {int(m.count.sum())} atoms whose features do not vary; "
            "an extrapolation grade needs at least two different atoms of a type"
        )
    scale = torch.where(live, pooled.comoment.diagonal().clamp(min=1e-300).rsqrt(), 0.0)
    correlation = pooled.comoment * scale[:, None] * scale
    _, pivots, rank, _ = dpstrf(correlation.numpy(), tol=REPEATED, lower=1)
    return torch.from_numpy(pivots[: min(rank, max_channels)] - 1).long().sort().values


@dataclass(frozen=True)
class Gaussians:
    """One Gaussian of atom features per atom type, ready to measure distances.

    Attributes:
        scale: factor of each channel, ``[K]``.
        mean: of the scaled channels, ``[T, K]``.
        whiten: inverse Cholesky factor of the covariance of the scaled channels, ``[T, K, K]``.
        known: whether the data have atoms of a type, ``[T]`` bool.
    """

    scale: Tensor
    mean: Tensor
    whiten: Tensor
    known: Tensor

    @classmethod
    def of_moments(
        cls, m: Moments, ridge: float = DEFAULT_RIDGE, shrinkage: float = DEFAULT_SHRINKAGE
    ) -> Gaussians:
        """Make the Gaussians from moments per type.

        Args:
            m: moments of the selected channels in float64, counts ``[T]``.
            ridge: added to the variance of every channel, in units of its variance within types.
            shrinkage: number of atoms that the covariance within all types counts for beside a
                type's own atoms, so that a rare type has a covariance too.
        """
        pooled = pool_types(m)
        freedom = (m.count - 1).clamp(min=0).sum()
        scale = (pooled.comoment.diagonal() / freedom).rsqrt()
        within = pooled.comoment * scale[:, None] * scale / freedom
        own = m.comoment * scale[:, None] * scale
        covariance = (own + shrinkage * within) / (m.count + shrinkage)[:, None, None]
        eye = torch.eye(len(scale), dtype=scale.dtype)
        factor = torch.linalg.cholesky(covariance + ridge * eye)
        whiten = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        return cls(scale, m.mean * scale, whiten.contiguous(), m.count > 0)

    def distance(self, x: Tensor, types: Tensor) -> Tensor:
        """Distance of atoms from the Gaussian of their type, ``[num_atoms]`` in float64.

        Args:
            x: the selected channels of atom features, ``[num_atoms, K]``.
            types: atom types, ``[num_atoms]``.

        Returns:
            Distances; infinite for a type that the data do not have.
        """
        length = self.vector(x, types).square().sum(-1).sqrt().double()
        return torch.where(self.known[types.reshape(-1).long()], length, torch.inf)

    def vector(self, x: Tensor, types: Tensor) -> Tensor:
        """Whitened features of atoms, ``[num_atoms, K]`` in the type of ``x``.

        The length of a row is the distance.

        Args:
            x: the selected channels of atom features, ``[num_atoms, K]``.
            types: atom types, ``[num_atoms]``.
        """
        types = types.reshape(-1).long()
        # The difference in float64; what follows loses no digits and is in the model's precision,
        # for LAMMPS passes ghost atoms too and a step must not cost more.
        y = (x.double() * self.scale - self.mean[types]).to(x.dtype)
        white = torch.zeros_like(y)
        for number in range(len(self.known)):
            mine = y @ self.whiten[number].T.to(x.dtype)
            white = torch.where((types == number)[:, None], mine, white)
        return white

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
