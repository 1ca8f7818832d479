"""How far apart scores should stand, so that their softmax says how likely a course is taken.

Ranking does not mind the length of vectors, in which recipes differ a great deal; percentages do.  As Guo et al. 2017,
"On Calibration of Modern Neural Networks": all scores are divided by the temperature at which the softmax over unseen
items gives the held-out ones the highest likelihood.
"""

from dataclasses import fields, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from app.domain.embeddings import Embeddings
from app.training.evaluate import Scores
from app.training.split import Split, few_users

SAMPLE_USERS = 200  # a standard error of a few percent of the temperature
WIDEST = 7.0  # ln of how far from the scores' own spread the temperature may be


def temperature(scores: Scores, split: Split) -> float:
    """The temperature of a model's scores; 1 where they are all the same."""
    parts = few_users(split, SAMPLE_USERS)
    users = np.unique(parts.held_users).astype(np.int64)
    values = scores(users).astype(np.float64)  # (B, I)
    spread = float(values.std())
    if not spread > 0:
        return 1.0
    values /= spread
    seen = parts.train.seen[users]
    values[np.repeat(np.arange(len(users)), np.diff(seen.indptr)), seen.indices] = -np.inf
    rows = np.searchsorted(users, parts.held_users)

    def loss(log_temperature: float) -> float:
        divided = values / np.exp(log_temperature)
        return float(np.mean(logsumexp(divided, axis=1)[rows] - divided[rows, parts.held_items]))

    found = minimize_scalar(loss, bounds=(-WIDEST, WIDEST), method="bounded", options={"xatol": 1e-2})
    return spread * float(np.exp(found.x))


def divided(embeddings: Embeddings, by: float) -> Embeddings:
    """The same model with all its scores divided: all vectors by the root, so that those of folded-in users are too."""
    root = np.float32(np.sqrt(by))
    tables = {field.name: getattr(embeddings, field.name) for field in fields(Embeddings)}
    shorter: dict[str, Any] = {name: table / root for name, table in tables.items() if isinstance(table, np.ndarray)}
    return replace(embeddings, **shorter)
