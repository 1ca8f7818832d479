"""Which interactions are held out to judge a model."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.graph.bipartite import BipartiteGraph

SplitKind = Literal["time", "random", "new"]

TELLING_MS = 3_600_000  # an hour: rows of one bulk load, stamped as they came in, lie closer together
RANDOM_SHARE = 0.1  # of the edges of a user
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
    """Hold out each user's last edge where times tell which it is, else a tenth of the edges at random.

    Of small graphs it is more, to come near FEW_HELD_OUT: the last edges of few users, or up to a fifth at random.
    At most about MOST_HELD_OUT edges, then those of some users, drawn evenly: everybody's taste counts alike, as it
    will in serving, while edges drawn evenly are mostly those of the busiest.  Every user keeps at least one edge.
    """
    if times_tell(graph):
        last = _last_edges(graph)
        return _separate(graph, last & _chosen(graph, MOST_HELD_OUT / max(int(last.sum()), 1), rng), "time")
    return _separate(graph, _random_edges(graph, rng), "random")


def few_users(parts: Split, most: int) -> Split:
    """The same with the held-out edges of an evenly spread part of the users only."""
    users = np.unique(parts.held_users)
    if len(users) <= most:
        return parts
    kept = np.isin(parts.held_users, users[np.linspace(0, len(users) - 1, most).astype(np.int64)])
    return Split(parts.train, parts.held_users[kept], parts.held_items[kept], parts.kind)


def times_tell(graph: BipartiteGraph) -> bool:
    """Whether most users with several edges made them over more than an hour."""
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
    return bool(np.mean(last - first > TELLING_MS) > 0.5)


def _last_edges(graph: BipartiteGraph) -> NDArray[np.bool_]:
    """Mask of the latest edge of each user with several, or of as many as needed; the later row of equal times."""
    assert graph.times is not None
    order = np.lexsort((graph.times, graph.edge_users()))  # stable, so users stay where they were
    counts = np.diff(graph.user_items.indptr)
    held = np.minimum(1, (counts - 1).clip(0))
    if held.sum() < FEW_HELD_OUT:
        held = np.maximum(held, (_small_share(graph) * counts).astype(counts.dtype))
    from_the_end = np.repeat(graph.user_items.indptr[1:], counts) - np.arange(graph.n_edges)  # the last is 1
    mask = np.zeros(graph.n_edges, np.bool_)
    mask[order[from_the_end <= np.repeat(held, counts)]] = True
    return mask


def _random_edges(graph: BipartiteGraph, rng: np.random.Generator) -> NDArray[np.bool_]:
    share = max(RANDOM_SHARE, _small_share(graph))
    users = rng.random(graph.n_users) < MOST_HELD_OUT / (share * graph.n_edges)
    mask = _chosen(graph, share, rng) & users[graph.edge_users()]
    kept = np.bincount(graph.edge_users()[~mask], minlength=graph.n_users)
    starts = graph.user_items.indptr[:-1]
    bare = (kept == 0) & (np.diff(graph.user_items.indptr) > 0)
    mask[starts[bare]] = False
    return mask


def _small_share(graph: BipartiteGraph) -> float:
    return min(LARGEST_SHARE, FEW_HELD_OUT / graph.n_edges)


def _chosen(graph: BipartiteGraph, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mask of a random share of the edges."""
    return rng.random(graph.n_edges) < share


def _separate(graph: BipartiteGraph, mask: NDArray[np.bool_], kind: SplitKind) -> Split:
    return Split(
        train=graph.without(mask),
        held_users=graph.edge_users()[mask],
        held_items=graph.user_items.indices[mask],
        kind=kind,
    )
