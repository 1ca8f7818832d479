"""Vectors for nodes of which the graph says little or nothing: from what they say of themselves.

Trained vectors of well-known nodes are explained by their content in a ridge regression (Hoerl and Kennard 1970), and
the regression then speaks for nodes with at most one edge; from two on the graph knows better.  On mooccubex-12k a
course without interactions is among the first 5 of 50 such courses four times as often as from a random start.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.domain.content import ContentMap, Encoder, unit_rows
from app.domain.embeddings import Embeddings
from app.domain.interactions import Features, Snapshot
from app.domain.words import Words, count_tokens
from app.graph.bipartite import BipartiteGraph
from app.graph.initial import fit_features

MOST_TOKENS = 20_000  # the most usual ones; more do not help, and the directions of these take 5 MB at size 64
LEAST_RECORDS = 2  # that have a token: one that stands alone says nothing of others
LARGEST_SHARE = 0.5  # of the records; what most have says nothing either

WELL_KNOWN = 10  # edges of a node whose trained vector is worth learning from
LITTLE_KNOWN = 1  # edges at most of a node whose content says more than the graph
LEAST_NODES = 20  # to learn a regression from
MOST_NODES = 50_000  # enough
PENALTIES = np.logspace(-2, 3, 11)  # of the squared weights; leave-one-out errors choose
STRETCH = 1.5  # a regression shrinks towards the mean; this much of it back costs the others 1 % of their places


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of all nodes of one side.  values: (n, S) float32, zeros: nothing is known.

    encoder: makes the first columns of ``values`` from words; None when there are no words.
    """

    values: NDArray[np.float32]
    encoder: Encoder | None = None

    def of_words(self) -> NDArray[np.float32]:
        """The columns that the encoder made."""
        assert self.encoder is not None
        return self.values[:, : self.encoder.directions.shape[1]]


LearnEncoder = Callable[[Words, int, int], Encoder | None]
"""``learn_encoder``, or one that remembers what it learned."""


def contents_of(
    snapshot: Snapshot, size: int, seed: int, learn: LearnEncoder | None = None
) -> tuple[Content | None, Content | None]:
    """What is known of users and of items: words and features side by side; None where there are neither.

    Where some nodes have features and others not, each keeps what it has, and the regression learns from both.
    """
    learned = learn or learn_encoder
    users, items = (
        _content(len(ids), features, words, size, lambda words: learned(words, size, seed))
        for ids, features, words in (
            (snapshot.users, snapshot.user_features, snapshot.user_words),
            (snapshot.items, snapshot.item_features, snapshot.item_words),
        )
    )
    return users, items


def _content(
    n_nodes: int, features: Features, words: Words | None, size: int, learn: Callable[[Words], Encoder | None]
) -> Content | None:
    encoder = None if words is None else learn(words)
    parts = []
    if words is not None and encoder is not None:
        parts.append(encoder.encode(words))
    if len(features.rows):
        values = np.zeros((n_nodes, size), np.float32)
        fitted = fit_features(features.values, size, np.random.default_rng(0))
        values[features.rows] = unit_rows(fitted - fitted.mean(axis=0))
        parts.append(values)
    return Content(np.concatenate(parts, axis=1), encoder) if parts else None


def learn_encoder(words: Words, size: int, seed: int) -> Encoder | None:
    """Tf-idf of the tokens and its ``size`` main directions; None when no two records have a token in common."""
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415 - a second to import, and seldom needed
    from sklearn.feature_extraction.text import TfidfTransformer  # noqa: PLC0415

    found = count_tokens(words)
    tokens, columns, records = np.unique(found.tokens, return_inverse=True, return_counts=True)
    usual = np.flatnonzero((records >= LEAST_RECORDS) & (records <= LARGEST_SHARE * len(words)))
    usual = np.sort(usual[np.argsort(-records[usual], kind="stable")[:MOST_TOKENS]])
    if len(usual) < 2:
        return None
    place = np.full(len(tokens), -1)
    place[usual] = np.arange(len(usual))
    kept = place[columns] >= 0
    shape = (len(words), len(usual))
    counts = csr_array((found.counts[kept], (found.rows[kept], place[columns[kept]])), shape=shape)
    transformer = TfidfTransformer(sublinear_tf=True)
    weighted = transformer.fit_transform(counts)
    size = min(size, len(usual), len(words))
    svd = TruncatedSVD(size, random_state=seed % 2**32).fit(weighted)
    return Encoder(
        tokens=tokens[usual],
        rarities=transformer.idf_.astype(np.float32),
        directions=np.ascontiguousarray(svd.components_.T, np.float32),
    )


def with_items(
    embeddings: Embeddings, graph: BipartiteGraph, items: Content | None, more: NDArray[np.float32] | None = None
) -> tuple[Embeddings, ContentMap | None]:
    """Vectors of little-known items taken from their content; and the regression for courses that are newer.

    The score stays e_u . e_i, and e_u the sum that fold-in and explanation take it for: of an item with an edge the
    vector alone changes.  An item without one also gets the layer 0 and the messages of items like it, as they would be
    with the first edge.
    more: (I, D), what an item's vector would have to be longer by to stand for all that is added to its scores beside
    the inner product; nothing else stands for it where the graph says nothing.
    """
    targets = embeddings.item_vectors if more is None else embeddings.item_vectors + more
    if items is not None:
        embeddings = _with_items(embeddings, graph, items, targets)
    content_map = None
    if items is not None and items.encoder is not None:
        encoded = items.of_words()
        known = _well_known(graph.user_items.indices, encoded)
        if len(known) >= LEAST_NODES:
            content_map = ContentMap(items.encoder, *_regression(encoded[known], targets[known], STRETCH))
    return embeddings, content_map


def _with_items(
    embeddings: Embeddings, graph: BipartiteGraph, content: Content, targets: NDArray[np.float32]
) -> Embeddings:
    counts = np.bincount(graph.user_items.indices, minlength=graph.n_items)
    known = _well_known(graph.user_items.indices, content.values)
    little = np.flatnonzero((counts <= LITTLE_KNOWN) & content.values.any(axis=1))
    if len(known) < LEAST_NODES or not len(little):
        return embeddings
    weights, offset = _regression(content.values[known], targets[known], STRETCH)
    item_vectors = embeddings.item_vectors.copy()
    item_vectors[little] = content.values[little] @ weights + offset
    bare = little[counts[little] == 0]
    # What an item sends to a user is divided by the root of its degree, which will be 1.
    roots = np.sqrt(graph.item_degrees[known, None]).astype(np.float32)

    def sent(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        weights, offset = _regression(content.values[known], vectors[known] / roots)
        changed = vectors.copy()
        changed[bare] = content.values[bare] @ weights + offset
        return changed

    messages = embeddings.item_messages
    return replace(
        embeddings,
        item_vectors=item_vectors,
        initial_item=sent(embeddings.initial_item),
        item_messages=None if messages is None else sent(messages),
    )


def users_told(
    graph: BipartiteGraph, content: Content | None, vectors_of: Callable[[NDArray[np.int64]], NDArray[np.float32]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows, ascending, and vectors of those users without an edge of whom content tells something.

    vectors_of: rows of users -> their vectors, from which the regression is learned.
    """
    nobody = np.empty(0, np.int64), np.empty((0, 0), np.float32)
    bare = np.flatnonzero(np.diff(graph.user_items.indptr) == 0)
    if content is None or not len(bare):
        return nobody
    known = _well_known(graph.edge_users(), content.values)
    told = bare[content.values[bare].any(axis=1)]
    if len(known) < LEAST_NODES or not len(told):
        return nobody
    weights, offset = _regression(content.values[known], vectors_of(known))
    return told, content.values[told] @ weights + offset


def _well_known(edges: NDArray[np.integer], values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Rows with enough edges and content, at most MOST_NODES, evenly spread."""
    counts = np.bincount(edges, minlength=len(values))
    rows = np.flatnonzero((counts >= WELL_KNOWN) & values.any(axis=1))
    if len(rows) > MOST_NODES:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_NODES).astype(np.int64)]
    return rows


def _regression(
    content: NDArray[np.float32], vectors: NDArray[np.float32], stretch: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(S, D) and (D,) such that vectors are about content @ weights + the second, stretched about their mean."""
    from sklearn.linear_model import RidgeCV  # noqa: PLC0415 - a second to import, and seldom needed

    fitted = RidgeCV(PENALTIES).fit(content.astype(np.float64), vectors.astype(np.float64))
    weights = stretch * fitted.coef_.T
    offset = vectors.mean(axis=0) - content.mean(axis=0) @ weights
    return weights.astype(np.float32), offset.astype(np.float32)
