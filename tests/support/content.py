"""Vectors of both sides placed by their content, as training does it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.domain.content import ContentMap
from app.domain.embeddings import Embeddings
from app.graph.bipartite import BipartiteGraph
from app.graph.content import Content, users_told, with_items
from app.training.part import Owned, Part
from app.training.ranks import ALONE
from app.training.users import Users


def alone(user_vectors: NDArray[np.float32], graph: BipartiteGraph) -> Users:
    """All users with the one rank."""
    return Users(ALONE, Owned(Part(graph, user_vectors), (len(user_vectors),)))


def with_content(
    embeddings: Embeddings,
    graph: BipartiteGraph,
    items: Content | None,
    content: Content | None = None,
    more: NDArray[np.float32] | None = None,
) -> tuple[Embeddings, ContentMap | None]:
    """Items, and users without an edge."""
    placed, content_map = with_items(embeddings, graph, items, more)
    users = alone(embeddings.user_vectors, graph)
    users.place(*users_told(graph, content, users.rows))
    return replace(placed, user_vectors=users.rows(np.arange(len(users)))), content_map
