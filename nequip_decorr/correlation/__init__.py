r"""The maths of feature correlation, on tensors alone.

Features are samples (edges or nodes) of channels, ``[..., num_samples, num_channels]``; leading
dimensions are independent blocks. They are summarised by their first two moments
(:class:`Moments`), which merge exactly in any order (Chan, Golub and LeVeque 1983,
doi:10.1080/00031305.1983.10483115), and every quantity below is a function of those moments:

===================  ==============================================================
``correlation``      :math:`R_{ij} = M_{ij} / \sqrt{M_{ii} M_{jj}}`, M the co-moment
``pearson_squared``  mean of :math:`R_{ij}^2` over :math:`i \neq j`
``pearson_abs``      mean of :math:`\lvert R_{ij} \rvert` over :math:`i \neq j` (literature
                     on overcorrelation: Jin et al., KDD 2022, doi:10.1145/3534678.3539445)
``frobenius``        :math:`\lVert M / \lVert M \rVert_F - I / \sqrt{C} \rVert_F`, the DeCorr loss
``log_det``          :math:`-\frac{1}{C} \log\det((1-s) R + s I)`: twice the total
                     correlation of a Gaussian per channel, s a shrinkage
``effective_rank``   :math:`\exp(-\sum_k p_k \log p_k)`, p the normalised spectrum of R
                     (Roy and Vetterli, EUSIPCO 2007)
===================  ==============================================================

Degenerate input is part of the contract. With fewer than two samples, dead, constant or identical
channels every *penalty* and every gradient is finite, while a *statistic* of ``STATISTICS`` is NaN
where no pair of channels was measured. A channel that does not vary has no correlation with
anything and is left out of averages over pairs, so that killing channels is not rewarded.
"""

from .fused import mean_pearson_squared
from .moments import (
    Labelled,
    Moments,
    grouped_moments,
    labelled_moments,
    merge_labelled,
    merge_moments,
    moments,
)
from .statistics import (
    DEFAULT_SHRINKAGE,
    PENALTIES,
    STATISTICS,
    average,
    average_measured,
    correlation_matrix,
    effective_rank,
    frobenius,
    live_channels,
    log_det,
    max_abs,
    pearson_abs,
    pearson_squared,
    spectrum,
)

__all__ = [
    "DEFAULT_SHRINKAGE",
    "PENALTIES",
    "STATISTICS",
    "Labelled",
    "Moments",
    "average",
    "average_measured",
    "correlation_matrix",
    "effective_rank",
    "frobenius",
    "grouped_moments",
    "labelled_moments",
    "live_channels",
    "log_det",
    "max_abs",
    "mean_pearson_squared",
    "merge_labelled",
    "merge_moments",
    "moments",
    "pearson_abs",
    "pearson_squared",
    "spectrum",
]
