"""The model that is served, seen from the data of a new run: what it knows of them, and how it would rank now."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.domain.contents import ArtifactContents, pair_weights
from app.domain.interactions import Snapshot
from app.graph.bipartite import BipartiteGraph
from app.training.blend import filter_matrix, plus
from app.training.evaluate import Rows, Scores, add_sparse


@dataclass(frozen=True, slots=True)
class Current:
    """The model that is served.

    ndcg, split, n_held_out: NDCG@20 on what was held out when it was trained, how, and how many interactions; None,
    "none" and 0 where nothing was.  temperature: what the scores of its trained vectors were divided by.
    margin: share of its NDCG@20 by which another model may be worse.  go_on: whether training may start from it.
    """

    model_id: str
    contents: ArtifactContents
    ndcg: float | None = None
    split: str = "none"
    n_held_out: int = 0
    temperature: float = 1.0
    margin: float = 0.05
    go_on: bool = False


class Known:
    """What the model knows of the nodes of a snapshot.

    users: (U,) and items: (I,) rows in the model, -1: it does not know the node.
    """

    def __init__(self, current: Current, snapshot: Snapshot) -> None:
        contents = self._contents = current.contents
        self.users = contents.users.rows_or_absent(snapshot.users.ids)
        self.items = contents.items.rows_or_absent(snapshot.items.ids)
        weights = contents.seen_weights
        if weights is None:
            weights = pair_weights(contents.seen_types, contents.type_weights)
        users = np.repeat(np.arange(len(contents.users)), np.diff(contents.seen_indptr))
        self._keys = users * max(len(contents.items), 1) + contents.seen_items  # ascending
        self._weights = weights.astype(np.float64)

    @property
    def n_edges(self) -> int:
        """Edges that the model has learned from."""
        return int((self._weights > 0).sum())

    def seen(self, users: NDArray[np.integer], items: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Of pairs of the snapshot's rows: whether the model has learned from them."""
        return self._places(users, items)[1]

    def own_vectors(self) -> NDArray[np.float32]:
        """What is of the model's users' vectors their own: own_weight E0_u, (its U, D).  The model has messages."""
        contents = self._contents
        assert contents.item_messages is not None
        edges = self._weights > 0
        users, items = np.divmod(self._keys[edges], max(len(contents.items), 1))
        norms = self._weights[edges] / np.sqrt(contents.user_degrees[users] * contents.item_degrees[items])
        shape = (len(contents.users), len(contents.items))
        received = csr_array((norms.astype(np.float32), (users, items)), shape=shape) @ contents.item_messages
        own: NDArray[np.float32] = contents.user_vectors - received
        return own

    def scores(self, graph: BipartiteGraph) -> Scores:
        """As the model would score its users with the edges that they have in ``graph``, -inf for items it lacks.

        As in serving: a user's part of the sum is taken anew, all else is as it was trained.  The model has messages.
        """
        scores, added = self.vector_scores(graph), self.added(graph)
        return scores if added is None else plus(scores, added, 1.0)

    def vector_scores(self, graph: BipartiteGraph) -> Scores:
        """The same without what the model's item filter adds."""
        contents = self._contents
        assert contents.item_messages is not None
        users, items = graph.edge_users(), graph.user_items.indices
        places, seen = self._places(users, items)
        there = (self.users[users] >= 0) & (self.items[items] >= 0)
        was = np.where(seen, self._weights[places], 0.0)[there] if len(self._weights) else np.zeros(there.sum())
        users, items = users[there], self.items[items[there]]
        weights = graph.user_items.data[there].astype(np.float64)
        totals = np.bincount(users, weights, minlength=graph.n_users)
        norms = weights / np.sqrt(totals[users] * (contents.item_degrees[items] - was + weights))
        shape = (graph.n_users, len(contents.items))
        vectors = csr_array((norms.astype(np.float32), (users, items)), shape=shape) @ contents.item_messages
        mine = self.users >= 0
        vectors[mine] += self.own_vectors()[self.users[mine]]
        known = np.flatnonzero(self.items >= 0)

        def scores(rows: Rows) -> NDArray[np.float32]:
            result = np.full((len(rows), graph.n_items), -np.inf, np.float32)
            result[:, known] = vectors[rows] @ contents.item_vectors[self.items[known]].T
            return result

        return scores

    def without_absent(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (B, I) of the snapshot's items, in place -inf for those that the model lacks."""
        scores[:, self.items < 0] = -np.inf
        return scores

    def added(self, graph: BipartiteGraph) -> Scores | None:
        """What the model's item filter adds for the items that users have in ``graph``; None: it has no filter."""
        if self._contents.item_filter is None:
            return None
        columns = np.full(len(self._contents.items), -1)
        columns[self.items[self.items >= 0]] = np.flatnonzero(self.items >= 0)
        whole = filter_matrix(self._contents.item_filter).tocoo()
        there = columns[whole.col] >= 0
        matrix = csr_array(
            (whole.data[there], (whole.row[there], columns[whole.col[there]])),
            shape=(len(self._contents.items), graph.n_items),
        )
        rows, kept = self.items[graph.user_items.indices], self.items[graph.user_items.indices] >= 0
        entries = np.ones(int(kept.sum()), np.float32), (graph.edge_users()[kept], rows[kept])
        taken = csr_array(entries, shape=(graph.n_users, len(self._contents.items)))
        return lambda users: add_sparse(np.zeros((len(users), graph.n_items), np.float32), taken[users] @ matrix)

    def _places(self, users: NDArray[np.integer], items: NDArray[np.integer]) -> tuple[Rows, NDArray[np.bool_]]:
        """Of pairs of the snapshot's rows: where the model has each, and whether it does."""
        in_model, of_item = self.users[users].astype(np.int64), self.items[items]
        keys = in_model * max(len(self._contents.items), 1) + of_item
        if not len(self._keys):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.bool_)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return places, (in_model >= 0) & (of_item >= 0) & (self._keys[places] == keys)
