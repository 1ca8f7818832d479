"""Whether a model may be served instead of the one that is: it must not be much worse.

The model that is served has learned from what is held out now, unless it is newer.  So both are asked about
interactions that neither has seen; where these are too few, each is taken at what it achieved on held-out interactions
of its own, if those were as many and held out alike.  A difference that may be chance does not count.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.training.current import Current, Known
from app.training.evaluate import Scores, ndcg_of_users
from app.training.result import Verdict
from app.training.split import Split, few_users

LEAST_NEW = 100  # interactions that neither model has seen
MOST_USERS = 5_000  # who are asked about; more tell little more
ALIKE = 1.25  # of numbers of held-out interactions, in either direction
ERRORS = 2.0  # standard errors that chance is allowed


def judge_against(current: Current, known: Known, scores: Scores, parts: Split) -> Verdict:
    """The model must not be worse than the one that is served by more than its margin.

    scores: of the new model, trained without the held-out part.
    """
    fresh = _unseen(parts, known)
    if len(fresh.held_users) >= LEAST_NEW and current.contents.item_messages is not None:
        ours = ndcg_of_users(lambda users: known.without_absent(scores(users)), fresh)
        ndcgs = ours, ndcg_of_users(known.scores(fresh.train), fresh)
        return side_by_side(current, ndcgs, len(fresh.held_users), "interactions that neither has seen")
    few = f"only {len(fresh.held_users)} of the held-out interactions are new to {current.model_id}"
    own = ndcg_of_users(scores, parts)
    if (before := current.ndcg) is None or current.split != parts.kind:
        return Verdict(True, f"not compared with {current.model_id}: {few}, and it was judged otherwise")
    if not current.n_held_out / ALIKE <= len(parts.held_users) <= current.n_held_out * ALIKE:
        held = f"it was judged by {current.n_held_out}, this one by {len(parts.held_users)}"
        return Verdict(True, f"not compared with {current.model_id}: {few}, and {held}")
    text = f"{few}, so its own NDCG@20 when it was trained is compared, {before:.4f}"
    return _verdict(float(own.mean()), before, _error(own), current.margin, text)


def side_by_side(
    current: Current, ndcgs: tuple[NDArray[np.float64], NDArray[np.float64]], n_held_out: int, what: str
) -> Verdict:
    """The same on held-out interactions of users and items that the model knows.

    ndcgs: NDCG@20 of each user, of the new model and of the one that is served.  what: says what was held out.
    """
    ours, theirs = ndcgs
    text = f"on {n_held_out} {what}, NDCG@20 is {ours.mean():.4f} and that of {current.model_id} {theirs.mean():.4f}"
    return _verdict(float(ours.mean()), float(theirs.mean()), _error(ours - theirs), current.margin, text)


def _verdict(ours: float, theirs: float, error: float, margin: float, text: str) -> Verdict:
    least = (1.0 - margin) * theirs - ERRORS * error
    if ours >= least:
        return Verdict(True, text)
    return Verdict(False, f"{text}: worse by more than {margin:.0%} and chance, at least {least:.4f} was wanted")


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std() / np.sqrt(len(values)))


def _unseen(parts: Split, known: Known) -> Split:
    """The held-out interactions that are new to the model, of users and items that are not."""
    users, items = known.users[parts.held_users], known.items[parts.held_items]
    kept = (users >= 0) & (items >= 0) & ~known.seen(parts.held_users, parts.held_items)
    fresh = replace(parts, held_users=parts.held_users[kept], held_items=parts.held_items[kept])
    return few_users(fresh, MOST_USERS) if kept.any() else fresh
