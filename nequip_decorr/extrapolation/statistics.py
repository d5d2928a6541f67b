r"""The maths of the extrapolation grade, on tensors alone.

Atom features :math:`x_i \in \mathbb{R}^D` of the training set have, per atom type t, a mean
:math:`\mu_t` and a covariance :math:`C_t` (:class:`~nequip_decorr.correlation.Moments`). With
channels in units of their standard deviation within types, and :math:`C_t` drawn towards the
covariance within all types by ``shrinkage`` atoms' worth, the distance of an atom is

.. math::

    \sigma_i^2 = z^\top (V^\top C_t V + r I)^{-1} z + \frac{|y|^2 - |z|^2}{r + \rho_t},
    \qquad y = x_i - \mu_t, \quad z = V^\top y

Up to ``max_directions`` channels V is the identity and the second term is zero: the Mahalanobis
distance with a ridge r. Wider features keep the leading principal directions V, and the rest
enters by its length alone, with its mean variance :math:`\rho_t` (distance in and from feature
space: Moghaddam and Pentland 1997, doi:10.1109/34.598227).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor

from ..correlation import Moments, live_channels

DEFAULT_RIDGE: Final = 1e-2
DEFAULT_MAX_DIRECTIONS: Final = 256
DEFAULT_SHRINKAGE: Final = 200.0


@dataclass(frozen=True)
class Gaussians:
    """One Gaussian of atom features per atom type, ready to measure distances.

    Attributes:
        scale: factor of each channel, ``[D]``; 0 for a channel that does not vary.
        directions: principal directions V, ``[D, K]``; the identity where none are left out.
        mean: of the scaled channels, ``[T, D]``.
        whiten: inverse Cholesky factor of the covariance in those directions, ``[T, K, K]``.
        residual: variance given to each direction that is left out, ``[T]``.
        known: whether the data have atoms of a type, ``[T]`` bool.
    """

    scale: Tensor
    directions: Tensor
    mean: Tensor
    whiten: Tensor
    residual: Tensor
    known: Tensor

    @classmethod
    def of_moments(
        cls,
        m: Moments,
        ridge: float = DEFAULT_RIDGE,
        max_directions: int = DEFAULT_MAX_DIRECTIONS,
        shrinkage: float = DEFAULT_SHRINKAGE,
    ) -> Gaussians:
        """Make the Gaussians from moments per type.

        Args:
            m: moments of the atom features in float64, counts ``[T]``.
            ridge: added to the variance of every direction, in units of the variance of a channel
                within types.
            max_directions: keep at most this many principal directions.
            shrinkage: number of atoms that the covariance within all types counts for beside a
                type's own atoms, so that a rare type has a covariance too.

        Raises:
            ValueError: no type has two atoms, or no channel varies.
        """
        known = m.count > 0
        within = m.comoment.sum(0)
        freedom = (m.count - 1).clamp(min=0).sum()
        pooled = Moments(m.count.sum(), (m.mean * m.count[:, None]).sum(0) / m.count.sum(), within)
        live = live_channels(pooled)
        if freedom < 1 or not live.any():
            raise ValueError(
                f"the training data have {int(m.count.sum())} atoms whose features do not vary; "
                "an extrapolation grade needs at least two different atoms of a type"
            )
        variance = within.diagonal() / freedom
        scale = torch.where(live, variance.clamp(min=torch.finfo(variance.dtype).tiny).rsqrt(), 0.0)
        within = within * scale[:, None] * scale / freedom
        width = int(live.sum())
        if width <= max_directions:
            directions = torch.eye(len(scale), dtype=scale.dtype)[:, live]
        else:
            directions = torch.linalg.eigh(within).eigenvectors[:, -max_directions:]
        kept = directions.shape[1]
        own = m.comoment * scale[:, None] * scale
        covariance = (own + shrinkage * within) / (m.count + shrinkage)[:, None, None]
        inside = directions.T @ covariance @ directions
        eye = torch.eye(kept, dtype=scale.dtype)
        factor = torch.linalg.cholesky(inside + ridge * eye)
        left_out = covariance.diagonal(dim1=-2, dim2=-1).sum(-1) - inside.diagonal(
            dim1=-2, dim2=-1
        ).sum(-1)
        return cls(
            scale=scale,
            directions=directions,
            mean=m.mean * scale,
            whiten=torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False),
            residual=ridge + left_out.clamp(min=0) / max(width - kept, 1),
            known=known,
        )

    def distance(self, x: Tensor, types: Tensor) -> Tensor:
        """Distance of atoms from the Gaussian of their type, ``[num_atoms]`` in float64.

        Args:
            x: atom features, ``[num_atoms, D]``.
            types: atom types, ``[num_atoms]``.

        Returns:
            Distances; infinite for a type that the data do not have.
        """
        squared = self.vector(x, types).square().sum(-1)
        return torch.where(self.known[types.reshape(-1).long()], squared.sqrt(), torch.inf)

    def vector(self, x: Tensor, types: Tensor) -> Tensor:
        """Whitened features of atoms, ``[num_atoms, K + 1]`` in float64; their length is sigma.

        The last column is the length of what the K directions leave out.

        Args:
            x: atom features, ``[num_atoms, D]``.
            types: atom types, ``[num_atoms]``.
        """
        types = types.reshape(-1).long()
        y = x.double() * self.scale - self.mean[types]
        z = y @ self.directions
        left_out = (y.square().sum(-1) - z.square().sum(-1)).clamp(min=0)
        white = torch.zeros_like(z)
        for number in range(len(self.known)):
            white = torch.where((types == number)[:, None], z @ self.whiten[number].T, white)
        return torch.cat([white, (left_out / self.residual[types]).sqrt()[:, None]], -1)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
