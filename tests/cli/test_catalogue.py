from collections import Counter, defaultdict
from datetime import UTC, datetime

import pytest

from app.cli.catalogue import LEVELS, Catalogue, generate_catalogue
from app.cli.subjects import BUILDS_ON, SUBJECTS
from app.schemas.courses import Course
from app.schemas.interactions import Interaction
from app.schemas.rows import validate_rows
from app.schemas.users import User


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return generate_catalogue()


def test_has_the_size_that_the_demo_names(catalogue: Catalogue) -> None:
    assert (len(catalogue.courses), len(catalogue.users), len(catalogue.interactions)) == (300, 2_000, 30_000)
    assert len({course["course_id"] for course in catalogue.courses}) == 300
    assert len({course["title"] for course in catalogue.courses}) == 300
    assert len({(row["user_id"], row["course_id"], row["type"]) for row in catalogue.interactions}) == 30_000


def test_equal_seeds_give_equal_rows() -> None:
    once, again, other = (generate_catalogue(seed=seed, n_users=50, n_interactions=500) for seed in (7, 7, 8))
    assert once == again
    assert once.interactions != other.interactions


@pytest.mark.parametrize(("n_users", "n_interactions"), [(1, 1), (3, 3), (10, 200)])
def test_small_sizes_are_exact(n_users: int, n_interactions: int) -> None:
    small = generate_catalogue(n_users=n_users, n_interactions=n_interactions)
    assert (len(small.users), len(small.interactions)) == (n_users, n_interactions)


@pytest.mark.parametrize("n_interactions", [9, 201])
def test_impossible_sizes_are_refused(n_interactions: int) -> None:
    with pytest.raises(ValueError, match=f"n_interactions has value {n_interactions}; wanted 10 to 200"):
        generate_catalogue(n_users=10, n_interactions=n_interactions)


def test_the_api_takes_every_row(catalogue: Catalogue) -> None:
    for model, rows in (
        (Course, catalogue.courses),
        (User, catalogue.users),
        (Interaction, catalogue.interactions),
    ):
        good, rejected = validate_rows(model, rows)
        assert len(good) == len(rows)
        assert rejected == []


def test_every_row_says_that_it_is_generated(catalogue: Catalogue) -> None:
    assert all(row["attributes"]["generated"] for row in catalogue.courses + catalogue.users)


def test_prerequisites_exist_and_form_no_circle(catalogue: Catalogue) -> None:
    needs = {course["course_id"]: set(course["prerequisites"]) for course in catalogue.courses}
    assert sum(map(len, needs.values())) > 180
    done: set[str] = set()
    while ready := {course for course, needed in needs.items() if needed <= done} - done:
        done |= ready
    assert done == set(needs)


def test_subjects_name_each_topic_once() -> None:
    topics = [topic for subject in SUBJECTS.values() for topic in subject]
    assert len(topics) == len(set(topics))
    assert set(BUILDS_ON) | {needed for needs in BUILDS_ON.values() for needed in needs} <= set(topics)


def test_interactions_follow_interests(catalogue: Catalogue) -> None:
    topic = {course["course_id"]: course["tags"][0] for course in catalogue.courses}
    interests = {user["user_id"]: user["interests"] for user in catalogue.users}
    hits = sum(topic[row["course_id"]] in interests[row["user_id"]] for row in catalogue.interactions)
    assert 0.55 < hits / len(catalogue.interactions) < 0.95  # by chance: 5 of 120 topics, 0.04


def test_interactions_follow_levels(catalogue: Catalogue) -> None:
    level = {course["course_id"]: LEVELS.index(course["level"]) for course in catalogue.courses}
    person = {user["user_id"]: LEVELS.index(user["attributes"]["level"]) for user in catalogue.users}
    levels = defaultdict(list)
    for row in catalogue.interactions:
        levels[person[row["user_id"]]].append(level[row["course_id"]])
    means = [sum(levels[row]) / len(levels[row]) for row in range(3)]
    assert means[0] < means[1] < means[2]


def test_a_few_courses_are_popular(catalogue: Catalogue) -> None:
    counts = sorted(Counter(row["course_id"] for row in catalogue.interactions).values(), reverse=True)
    assert sum(counts[:60]) > 0.4 * 30_000


def test_times_spread_over_one_year_and_steps_follow_each_other(catalogue: Catalogue) -> None:
    times = [datetime.fromisoformat(row["timestamp"]) for row in catalogue.interactions]
    assert times == sorted(times)
    assert datetime(2025, 1, 1, tzinfo=UTC) <= times[0]
    assert times[-1] < datetime(2026, 1, 1, tzinfo=UTC)
    assert len({time.month for time in times}) == 12
    begun = {(row["user_id"], row["course_id"]) for row in catalogue.interactions if row["type"] in {"enroll", "view"}}
    enrolled: dict[tuple[str, str], datetime] = {}
    for row, time in zip(catalogue.interactions, times, strict=True):
        pair = row["user_id"], row["course_id"]
        assert pair in begun
        if row["type"] == "enroll":
            enrolled[pair] = time
        elif row["type"] != "view":
            assert enrolled[pair] < time


def test_courses_are_published_before_the_year(catalogue: Catalogue) -> None:
    assert all(course["published_at"] < "2025-01-01" for course in catalogue.courses)
