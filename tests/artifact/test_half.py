"""Vectors of users in half precision."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.artifact.load import load_artifact
from app.artifact.top_lists import with_top_lists
from app.artifact.write import write_artifact
from app.domain.changes import InteractionChanged
from app.domain.contents import ArtifactContents
from app.serving.catalogue import Catalogue
from app.serving.index import ServingIndex
from app.serving.live import LiveModel
from app.serving.neighbours import Neighbours
from app.serving.options import Options
from app.store.courses import course_facts
from tests.support.models import DESCRIPTION, light_gcn_contents

ITEMS = [f"c{number:02}" for number in range(30)]
USERS = [f"u{number:02}" for number in range(40)]
KEYS = [(user, ITEMS[(7 * place + 3 * n) % 30], "enroll") for place, user in enumerate(USERS) for n in range(5)]


@pytest.fixture(scope="module")
def contents() -> ArtifactContents:
    return light_gcn_contents(USERS, ITEMS, KEYS)


def in_half(contents: ArtifactContents) -> ArtifactContents:
    return replace(contents, user_vectors=contents.user_vectors.astype(np.float16))


def live(contents: ArtifactContents) -> LiveModel:
    catalogue = Catalogue([(course_id, course_facts({})) for course_id in ITEMS], 100)
    return LiveModel(ServingIndex("m-000001", contents), catalogue)


def test_they_are_written_mapped_and_half_as_large(contents: ArtifactContents, tmp_path: Path) -> None:
    write_artifact(tmp_path / "model", with_top_lists(in_half(contents), 10), DESCRIPTION)
    found = load_artifact(tmp_path / "model").contents
    assert found.user_vectors.dtype == np.float16
    assert found.user_vectors.nbytes * 2 == contents.user_vectors.nbytes
    assert found.user_vector(3).dtype == np.float32
    np.testing.assert_allclose(found.user_vector(3), contents.user_vectors[3], rtol=1e-3)


def test_everything_is_answered_nearly_as_in_full(contents: ArtifactContents) -> None:
    full, half = live(with_top_lists(contents, 10)), live(with_top_lists(in_half(contents), 10))
    for model in (full, half):
        model.overlay.apply(InteractionChanged(200, "u01", "c29", "enroll", removed=False))
    for user_id in USERS:
        for options in (Options(), Options(exclude_seen=False)):
            lists = [model.recommend(user_id, options) for model in (full, half)]
            scores = [sorted(item.score for item in each.items) for each in lists]
            np.testing.assert_allclose(scores[1], scores[0], rtol=2e-2, atol=2e-2)
    asked = [Neighbours(model) for model in (full, half)]
    near = [[user.similarity for user in each.users("u01", 5)] for each in asked]
    np.testing.assert_allclose(near[1], near[0], atol=1e-2)
    ranks = [[user.rank for user in each.users_for("c05", 5)] for each in asked]
    assert len(ranks[0]) == len(ranks[1]) == 5


def test_lists_that_come_with_the_model_are_those_of_its_vectors(contents: ArtifactContents) -> None:
    half = in_half(contents)
    lists, alone = live(with_top_lists(half, 10)), live(half)
    for user_id in USERS:
        found, wanted = (model.recommend(user_id, Options()).items for model in (lists, alone))
        assert [item.course_id for item in found] == [item.course_id for item in wanted]
        np.testing.assert_allclose([item.score for item in found], [item.score for item in wanted], rtol=1e-5)
