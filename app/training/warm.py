"""Going on from the model that is served: its layer 0 on a graph that has changed a little.

LightGCN is linear, and layer 0 is all that it learns: on the new graph the old layer 0 alone is nearly as good as what
a retrain finds, and a few steps at a low learning rate make up for most of the rest.  Of the published arrays that
layer 0 is known without a copy: of items it is there, and of users it is what their vectors are without the messages
of their items.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.graph.bipartite import BipartiteGraph
from app.graph.normalise import normalised_adjacency
from app.training.config import Recipe, epochs_of
from app.training.current import Current, Known
from app.training.gate import LEAST_NEW
from app.training.split import Split, SplitKind

LEAST_KNOWN = 0.8  # share of the users and items that the model has to know
MOST_CHANGED = 0.2  # of the edges, those that came or went
STEPS = 16
LEARNING_RATE = 0.25  # of the recipe's
WARM_UP = 3  # steps, in which Adam finds its measure
MOST_HELD = 2_000  # interactions to judge by; what is held out only reaches the model through its neighbours
LARGEST_BATCH = 65_536  # a step's memory grows with it


def obstacle(current: Current, known: Known, graph: BipartiteGraph, recipe: Recipe) -> str | None:
    """Why training cannot go on from the model; None: it can."""
    contents = current.contents
    if contents.item_messages is None or contents.embedding_size != recipe.embedding_size:
        return f"{current.model_id} has no vectors of size {recipe.embedding_size} to go on from"
    share = float(np.mean(np.concatenate([known.users, known.items]) >= 0))
    if share < LEAST_KNOWN:
        return f"{current.model_id} knows only {share:.0%} of the users and courses"
    same = int(known.seen(graph.edge_users(), graph.user_items.indices).sum())
    changed = (graph.n_edges + known.n_edges - 2 * same) / max(graph.n_edges, 1)
    if changed > MOST_CHANGED:
        return f"{changed:.0%} of the interactions came or went since {current.model_id}"
    return None


def hold_out_new(known: Known, graph: BipartiteGraph, rng: np.random.Generator) -> Split | None:
    """Some of the edges that are new to the model, of users and items that are not; None where these are too few.

    Every user keeps an edge.
    """
    users, items = graph.edge_users(), graph.user_items.indices
    new = (known.users[users] >= 0) & (known.items[items] >= 0) & ~known.seen(users, items)
    kept = np.bincount(users[~new], minlength=graph.n_users) > 0
    eligible = np.flatnonzero(new & kept[users])
    if len(eligible) < LEAST_NEW:
        return None
    n_held = min(MOST_HELD, max(LEAST_NEW, len(eligible) // 2))
    return _separate(graph, rng.choice(eligible, n_held, replace=False), "new")


def hold_out_learned(known: Known, graph: BipartiteGraph, rng: np.random.Generator) -> Split:
    """Some edges that the model has learned from, hidden only from whoever asks for a ranking."""
    learned = np.flatnonzero(known.seen(graph.edge_users(), graph.user_items.indices))
    return _separate(graph, rng.choice(learned, min(MOST_HELD, len(learned)), replace=False), "random")


def _separate(graph: BipartiteGraph, edges: NDArray[np.int64], kind: SplitKind) -> Split:
    mask = np.zeros(graph.n_edges, np.bool_)
    mask[edges] = True
    return Split(graph.without(mask), graph.edge_users()[mask], graph.user_items.indices[mask], kind)


def warm_recipe(recipe: Recipe, n_edges: int) -> Recipe:
    """The recipe for a short fit: few steps of large batches, short ones."""
    batch_size = min(max(recipe.batch_size, -(-n_edges // STEPS)), max(LARGEST_BATCH, recipe.batch_size))
    return replace(
        recipe,
        batch_size=batch_size,
        epochs=epochs_of(STEPS, n_edges, batch_size),
        learning_rate=recipe.learning_rate * LEARNING_RATE,
        warm_up=WARM_UP,
        decay=True,
    )


def warm_start(
    current: Current, known: Known, graph: BipartiteGraph, otherwise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Layer 0 of a graph from that of the model, (N, D) float32, users first.

    A node that the model does not know gets what its neighbours' layer 0 sends, of two hops where one brings nothing,
    and ``otherwise``, (N, D), where that does not either.
    """
    contents, u = current.contents, graph.n_users
    layer0 = np.zeros_like(otherwise)
    users, items = (  # of nodes without edges nothing was learned
        (rows >= 0) & (degrees[rows] > 0)
        for rows, degrees in ((known.users, contents.user_degrees), (known.items, contents.item_degrees))
    )
    if contents.own_weight:
        layer0[:u][users] = known.own_vectors()[known.users[users]] / np.float32(contents.own_weight)
    layer0[u:][items] = contents.initial_item[known.items[items]]
    layer0 *= np.float32(np.sqrt(current.temperature))
    missing = np.flatnonzero(~np.concatenate([users, items]))
    if len(missing):
        adjacency = normalised_adjacency(graph)
        hop = adjacency @ layer0
        found = hop[missing]
        empty = ~found.any(axis=1)
        found[empty] = (adjacency[missing[empty]] @ hop) if empty.any() else found[empty]
        empty = ~found.any(axis=1)
        found[empty] = otherwise[missing[empty]]
        layer0[missing] = found
    return layer0
