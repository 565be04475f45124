"""What the Athena tool does with the outputs of the graph, for tests and comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from hepcalib.calibration import location
from hepcalib.calibration.response import sigma_response
from hepcalib.exceptions import ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["AthenaResponse", "athena_response"]

SMALL_SHARE = 1e-9  # added to every share inside the logarithm
SMALLEST_RESPONSE = 1e-6


class AthenaResponse(NamedTuple):
    """What the tool stores of each cluster, (rows,) each."""

    response: Floats
    sigma: Floats  # of the response
    energy: Floats  # calibrated [GeV]


def athena_response(
    mus: ArrayLike, sigmas: ArrayLike, alphas: ArrayLike, energy: ArrayLike
) -> AthenaResponse:
    r"""Return the response, its uncertainty and the calibrated energy, as the Athena tool does.

    .. math:: R = 10^{mode}, \quad \sigma_R = \ln 10 \; R \; \sigma, \quad E_{cal} = E / R

    with the mode and the standard deviation of the mixture of log10 R. Where R is not finite or
    below 1e-6, R is 1 and its uncertainty 0. (The mode is searched from all components; the tool's
    own search on a grid can miss the leftmost one.)

    Reference: arXiv:2412.04370.

    Args:
        mus: Means of log10 R (rows, K).
        sigmas: ln of the variances (rows, K).
        alphas: Shares (rows, K).
        energy: Energy at the electromagnetic scale (rows,) [GeV].

    Raises:
        ShapeError: if the shapes do not fit together.
    """
    means, log_variances, shares = (np.asarray(x, np.float64) for x in (mus, sigmas, alphas))
    measured = np.asarray(energy, np.float64)
    shapes = [array.shape for array in (means, log_variances, shares, measured)]
    if means.ndim != 2 or shapes != [means.shape] * 3 + [means.shape[:1]]:
        msg = f"mus, sigmas, alphas, energy have shapes {shapes}; needed: 3 x (rows, K), (rows,)"
        raise ShapeError(msg)
    deviations = torch.from_numpy(np.exp(0.5 * log_variances))
    mixture = MixtureSameFamily(
        Categorical(logits=torch.from_numpy(np.log(shares + SMALL_SHARE)), validate_args=False),
        Normal(torch.from_numpy(means), deviations, validate_args=False),
        validate_args=False,
    )
    with np.errstate(over="ignore"):
        ratio = np.power(10.0, location.mode(mixture).numpy())
    sigma = np.asarray(sigma_response(ratio, mixture.variance.sqrt().numpy()))
    usable = np.isfinite(ratio) & (ratio >= SMALLEST_RESPONSE)
    ratio, sigma = np.where(usable, ratio, 1.0), np.where(usable, sigma, 0.0)
    return AthenaResponse(ratio, sigma, measured / ratio)
