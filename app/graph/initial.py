"""Features as vectors that training starts from."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FITTED_RMS = 0.1  # size of reduced and projected features, as of the authors' N(0, 0.1); their own unit means nothing
PCA_ROWS = 20_000  # enough rows to find the directions of the features


def fit_features(values: NDArray[np.float32], size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Features in ``size`` numbers: as they are when they fit, their main directions when longer, else projected.

    values: (F, C) float32 -> (F, size) float32.
    """
    if values.shape[1] == size:
        return values
    fit: Callable[..., NDArray[np.float64]] = _reduce if values.shape[1] > size else _project
    fitted = fit(values.astype(np.float64), size, rng)
    rms = np.sqrt(np.mean(fitted**2))
    return (fitted * (FITTED_RMS / rms if rms > 0 else 1.0)).astype(np.float32)


def _reduce(values: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Principal components; padded by zeros when there are fewer rows than components."""
    from sklearn.decomposition import PCA  # noqa: PLC0415 - a second to import, and only these features need it

    sample = values if len(values) <= PCA_ROWS else values[rng.choice(len(values), PCA_ROWS, replace=False)]
    if not np.ptp(sample, axis=0).any():  # one point has no directions
        return _project(values, size, rng)
    pca = PCA(min(size, len(sample)), random_state=int(rng.integers(2**31))).fit(sample)
    reduced: NDArray[np.float64] = pca.transform(values)
    return np.pad(reduced, ((0, 0), (0, size - reduced.shape[1])))


def _project(values: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Seeded random projection by orthonormal rows or columns; angles are kept when size is the larger."""
    long, short = max(size, values.shape[1]), min(size, values.shape[1])
    basis, _ = np.linalg.qr(rng.standard_normal((long, short)))
    projected: NDArray[np.float64] = values @ (basis.T if values.shape[1] == short else basis)
    return projected
