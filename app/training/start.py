"""Layer 0 of both sides, as one matrix."""

import numpy as np
from numpy.typing import NDArray

from app.domain.interactions import Features
from app.graph.bipartite import BipartiteGraph
from app.graph.content import Content
from app.graph.initial import fit_features, initial_vectors
from app.graph.spectral import normalised_user_items, singular_vectors
from app.training.config import Recipe

NOISE = 0.1  # of the spectral start, so that the directions it lacks can be learned


def start_vectors(
    graph: BipartiteGraph,
    recipe: Recipe,
    user_features: Features,
    item_features: Features,
    *,
    user_content: Content | None = None,
    item_content: Content | None = None,
) -> NDArray[np.float32]:
    """Layer 0 to train from: (N, D) float32, users first.

    Nodes with features start from them, the others as the recipe says; where that is at random, or a node has no edge,
    from what its words say.
    """
    rng = np.random.default_rng(recipe.seed)
    size = recipe.embedding_size
    sides = ((graph.n_users, user_features), (graph.n_items, item_features))
    vectors = np.concatenate([initial_vectors(n, size, features, rng) for n, features in sides])
    bare = np.ones(graph.n_nodes, np.bool_)
    bare[user_features.rows] = False
    bare[graph.n_users + item_features.rows.astype(np.int64)] = False
    spectral = recipe.start == "spectral" and graph.n_edges > 0
    has_edges = np.concatenate([graph.user_degrees, graph.item_degrees]) > 0
    for first, content in ((0, user_content), (graph.n_users, item_content)):
        if content is not None and content.encoder is not None:
            words = content.of_words()
            side = slice(first, first + len(words))
            told = first + np.flatnonzero(words.any(axis=1) & bare[side] & ~(has_edges[side] & spectral))
            if len(told):
                vectors[told] = fit_features(words[told - first], size, rng)
                bare[told] = False
    if spectral and bare.any():
        vectors[bare] = _spectral(graph, recipe, rng)[bare]
    return vectors


def _spectral(graph: BipartiteGraph, recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float32]:
    """Singular vectors of N of rms ``start_rms`` with noise."""
    left, _, right = singular_vectors(normalised_user_items(graph), recipe.embedding_size, rng)
    directions = np.concatenate([left, right])
    vectors = rng.standard_normal((graph.n_nodes, recipe.embedding_size), np.float32) * (NOISE * recipe.start_rms)
    vectors[:, : directions.shape[1]] += directions * (recipe.start_rms / np.sqrt(np.mean(directions**2)))
    return vectors
