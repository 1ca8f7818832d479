"""What content is worth on real data."""

from pathlib import Path

import numpy as np
import pytest

from app.graph.bipartite import BipartiteGraph
from app.graph.content import contents_of
from app.training.config import TrainingConfig
from app.training.evaluate import model_scores
from app.training.fit import fit
from app.training.start import start_vectors
from scripts.benchmarks.content import measure, prepare
from tests.support.content import with_content


@pytest.mark.timeout(240)
def test_a_course_without_interactions_is_found_thrice_as_often(data_folder: Path) -> None:
    folder = data_folder / "ml-100k"
    if not folder.exists():
        pytest.skip("the data set is not beside this checkout")
    trial = prepare(folder, seed=0)
    snapshot = trial.snapshot
    graph = BipartiteGraph.from_snapshot(snapshot, {"enroll": 1.0})
    recipe = TrainingConfig().recipe(graph.n_edges, 100)
    users, items = contents_of(snapshot, recipe.embedding_size, 0)
    start = start_vectors(graph, recipe, snapshot.user_features, snapshot.item_features)
    plain = fit(graph, start, recipe).embeddings
    placed, content_map = with_content(plain, graph, items, users)
    assert content_map is not None
    random, by_content = measure(trial, model_scores(plain)), measure(trial, model_scores(placed))
    assert by_content[0] > 2.5 * random[0], "among the hidden courses; titles of films say little"
    assert by_content[1] > 3 * random[1], "among all courses"
    assert by_content[2] > 0.99 * random[2], "courses that are known are found as before"
    known = np.bincount(graph.user_items.indices, minlength=graph.n_items) > 1
    np.testing.assert_array_equal(placed.item_vectors[known], plain.item_vectors[known])
