"""Which interactions are held out to judge a model."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.graph.bipartite import BipartiteGraph

SplitKind = Literal["time", "random", "new"]

# Rows of a bulk load, stamped as they came in, lie closer together than an hour, and those of its users side by side.
TELLING_MS = 3_600_000
SITTING_MS, APART_MS = 300_000, 86_400_000
RANDOM_SHARE = 0.1  # of the edges of a user, one at least
FEW_HELD_OUT = 500  # edges; by fewer the best recipe is so by luck: small graphs give up to LARGEST_SHARE of theirs
LARGEST_SHARE = 0.2
MOST_HELD_OUT = 10_000  # edges, a standard error of a percent; trials do without them, and each is judged by them


@dataclass(frozen=True, slots=True)
class Split:
    """A graph without some edges, and those edges: ``held_users[k]`` took ``held_items[k]``, sorted by user."""

    train: BipartiteGraph
    held_users: NDArray[np.int32]
    held_items: NDArray[np.int32]
    kind: SplitKind


def split(graph: BipartiteGraph, rng: np.random.Generator) -> Split:
    """Hold out each user's last edge where times tell which it is, else a tenth of their edges at random, at least one.

    Of small graphs it is more, to come near FEW_HELD_OUT: the last edges of few users, or up to a fifth at random.
    At most about MOST_HELD_OUT edges, then those of some users, drawn evenly.  Everybody's taste counts alike, as it
    will in serving, while edges drawn evenly are mostly those of the busiest, who want another model than most.  Every
    user keeps at least one edge.
    """
    counts, timed = np.diff(graph.user_items.indptr), times_tell(graph)
    small = min(LARGEST_SHARE, FEW_HELD_OUT / max(graph.n_edges, 1))
    if timed:
        held = np.ones_like(counts)
        if np.sum(counts > 1) < FEW_HELD_OUT:
            held = np.maximum(held, (small * counts).astype(counts.dtype))
    else:
        held = (max(RANDOM_SHARE, small) * counts + rng.random(graph.n_users)).astype(counts.dtype)
    held = np.clip(held, 1, np.maximum(counts - 1, 0))
    held[rng.random(graph.n_users) >= MOST_HELD_OUT / max(int(held.sum()), 1)] = 0

    users = graph.edge_users()
    edges = np.flatnonzero(held[users] > 0)
    order = graph.times[edges] if timed and graph.times is not None else rng.random(len(edges))
    edges = edges[np.lexsort((order, users[edges]))]  # stable: of equal times the later row is the last
    own = np.where(held > 0, counts, 0)
    from_the_end = np.repeat(np.cumsum(own), own) - np.arange(len(edges))  # the last of a user is 1
    mask = np.zeros(graph.n_edges, np.bool_)
    mask[edges[from_the_end <= np.repeat(held, own)]] = True
    return Split(
        train=graph.without(mask),
        held_users=users[mask],
        held_items=graph.user_items.indices[mask],
        kind="time" if timed else "random",
    )


def few_users(parts: Split, most: int) -> Split:
    """The same with the held-out edges of an evenly spread part of the users only."""
    users = np.unique(parts.held_users)
    if len(users) <= most:
        return parts
    kept = np.isin(parts.held_users, users[np.linspace(0, len(users) - 1, most).astype(np.int64)])
    return Split(parts.train, parts.held_users[kept], parts.held_items[kept], parts.kind)


def times_tell(graph: BipartiteGraph) -> bool:
    """Whether most users with several edges made them over more than an hour, or in sittings on different days.

    Sittings: most take more than five minutes, and the middle half of the users began over more than a day.
    """
    if graph.times is None:
        return False
    starts = graph.user_items.indptr[:-1][np.diff(graph.user_items.indptr) > 1]
    ends = graph.user_items.indptr[1:][np.diff(graph.user_items.indptr) > 1]
    if len(starts) == 0:
        return False
    users = np.repeat(np.arange(len(starts)), ends - starts)
    edges = np.arange(len(users)) + np.repeat(starts - np.cumsum(ends - starts) + (ends - starts), ends - starts)
    times = graph.times[edges]
    first = np.full(len(starts), np.iinfo(np.int64).max)
    last = np.full(len(starts), np.iinfo(np.int64).min)
    np.minimum.at(first, users, times)
    np.maximum.at(last, users, times)
    early, late = np.quantile(first, (0.25, 0.75))
    least = SITTING_MS if late - early > APART_MS else TELLING_MS
    return bool(np.mean(last - first > least) > 0.5)
