"""Weights of features against the normal equations."""

from dataclasses import replace

import numpy as np
import pytest

from app.artifact.features import LEAST_USERS, RIDGE, with_feature_weights
from app.domain.courses import CourseFacts
from app.domain.interactions import Features
from app.serving.catalogue import Catalogue
from app.serving.content import Profile, feature_parts
from app.serving.index import ServingIndex
from app.serving.live import LiveModel
from app.serving.options import Options
from tests.support.models import light_gcn_contents

USERS = [f"u{number:02}" for number in range(40)]
ITEMS = [f"c{number}" for number in range(8)]
KEYS = {(user, item, "enroll") for i, user in enumerate(USERS[:30]) for j, item in enumerate(ITEMS) if (i + j) % 3 == 0}


@pytest.fixture
def features() -> Features:
    values = np.random.default_rng(1).normal(size=(len(USERS) - 2, 5)).astype(np.float32)
    return Features(np.arange(2, len(USERS), dtype=np.int32), values)


def test_it_is_the_ridge_regression_of_users_with_edges(features: Features) -> None:
    contents = with_feature_weights(light_gcn_contents(USERS, ITEMS, KEYS), features)
    weights = contents.user_feature_weights
    assert weights is not None
    given, vectors = features.values[:28].astype(float), contents.user_vectors[2:30].astype(float)
    centred = given - given.mean(axis=0)
    errors = centred @ weights[:-1] - (vectors - vectors.mean(axis=0))
    gradient = centred.T @ errors + RIDGE * np.mean(centred**2) * weights[:-1]
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    np.testing.assert_allclose(given.mean(axis=0) @ weights[:-1] + weights[-1], vectors.mean(axis=0), atol=1e-5)


def test_with_too_few_users_there_are_none(features: Features) -> None:
    few = Features(features.rows[: LEAST_USERS - 1], features.values[: LEAST_USERS - 1])
    for given in (few, Features.none(), Features(features.rows[30:], features.values[30:])):
        assert with_feature_weights(light_gcn_contents(USERS, ITEMS, KEYS), given).user_feature_weights is None


def test_a_list_from_features_alone(features: Features) -> None:
    contents = with_feature_weights(light_gcn_contents(USERS, ITEMS, KEYS), features)
    live = LiveModel(ServingIndex("m-000001", contents), Catalogue((item, CourseFacts()) for item in ITEMS))
    profile = Profile({}, features.values[0])
    answer = live.recommend_to([], profile, Options())
    parts = feature_parts(contents, features.values[0])
    assert parts is not None
    assert answer.source == "content"
    scores = {item: float(contents.item_vectors[row] @ parts.own) for row, item in enumerate(ITEMS)}
    assert [item.course_id for item in answer.items] == sorted(scores, key=lambda item: -scores[item])
    explained = live.explain_to([], profile, [item.course_id for item in answer.items])
    for item, (reason,) in zip(answer.items, explained, strict=True):
        assert reason.course_id is None
        assert reason.contribution == pytest.approx(item.score, abs=1e-5)
    assert live.recommend_to([], Profile({}, features.values[0][:3]), Options()).source == "popular"
    bare = replace(contents, user_feature_weights=None)
    assert feature_parts(bare, features.values[0]) is None
