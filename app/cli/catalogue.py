"""The demo catalogue: courses, users and interactions, all generated from a seed.  Nobody in it exists."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.cli.subjects import BUILDS_ON, SUBJECTS

LEVELS = ("beginner", "intermediate", "advanced")
TITLES = (
    ("Introduction to {}", "{} for Beginners", "{}: First Steps", "Foundations of {}", "{} from Scratch"),
    ("Intermediate {}", "{} in Practice", "{}: Beyond the Basics", "{} Workshop", "{} in Depth"),
    ("Advanced {}", "{} Masterclass", "Advanced Topics in {}", "{} Capstone Project"),
)
ASSUMES = (
    "No previous knowledge is needed.",
    "Assumes the basics.",
    "For people who have used this for a while and want to go further.",
)
LANGUAGES = {"en": "", "es": " (in Spanish)", "fr": " (in French)", "de": " (in German)"}
LANGUAGE_SHARES = (0.91, 0.03, 0.03, 0.03)

YEAR_START = datetime(2025, 1, 1, tzinfo=UTC)  # fixed, so that every run gives the same rows
YEAR_SECONDS = 365 * 24 * 3600
LEVEL_FIT = {-2: 0.2, -1: 0.5, 0: 1.0, 1: 0.6, 2: 0.1}  # level of the course less that of the person
UNREADY = 0.1  # how much rarer a course is taken whose prerequisites were not
CURIOSITY = 0.0007  # affinity of everybody to everything
FOUNDATIONS = 0.3  # share of the affinity to a topic that goes to the topics it builds on

Row = dict[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Rows as the HTTP API takes them; interactions in order of time."""

    courses: list[Row]
    users: list[Row]
    interactions: list[Row]


@dataclass(frozen=True, slots=True)
class _Person:
    level: int
    affinity: Floats  # (T,), to each topic


def generate_catalogue(*, seed: int = 0, n_users: int = 2_000, n_interactions: int = 30_000) -> Catalogue:
    """About 300 courses, ``n_users`` with interests, and what they did within a year.

    Who takes what follows interests, levels, prerequisites and popularity.  Equal arguments give equal rows.
    Raises ValueError unless there are 1 to 20 interactions a user.
    """
    if not n_users <= n_interactions <= 20 * n_users:
        raise ValueError(f"n_interactions has value {n_interactions}; wanted {n_users} to {20 * n_users}")
    rng = np.random.default_rng(seed)
    topics = [topic for subject in SUBJECTS.values() for topic in subject]
    courses = list(_courses(rng))
    people = [_person(rng, topics) for _ in range(n_users)]
    users = [_user_row(number, person, topics) for number, person in enumerate(people, 1)]
    quotas = _split(rng, n_interactions, n_users)
    shelf = _Shelf(courses, topics, appeal=rng.lognormal(0.0, 0.6, len(courses)))
    interactions = [
        row
        for user, person, quota in zip(users, people, quotas, strict=True)
        for row in _history(rng, user["user_id"], person, shelf, int(quota))
    ]
    return Catalogue(courses, users, sorted(interactions, key=lambda row: row["timestamp"]))


def _courses(rng: np.random.Generator) -> Iterator[Row]:
    """The courses of a topic form a chain; the first one needs the first ones of the topics that it builds on."""
    first = {topic: str(rng.choice(TITLES[0])).format(topic) for subject in SUBJECTS.values() for topic in subject}
    for category, subject in SUBJECTS.items():
        for place, (topic, skills) in enumerate(subject.items()):
            needs = [_slug(first[needed]) for needed in BUILDS_ON.get(topic, ())]
            for level in range(3 if place < 6 else 2 if place < 9 else 1):
                title = str(rng.choice(TITLES[level])).format(topic) if level else first[topic]
                yield _course_row(rng, title, category=category, topic=topic, skills=skills, level=level, needs=needs)
                needs = [_slug(title)]


def _course_row(
    rng: np.random.Generator,
    title: str,
    *,
    category: str,
    topic: str,
    skills: tuple[str, ...],
    level: int,
    needs: list[str],
) -> Row:
    language = str(rng.choice(list(LANGUAGES), p=LANGUAGE_SHARES))
    taught = [skills[place] for place in sorted(rng.permutation(len(skills))[:3])]
    weeks, hours = int(rng.integers(4, 13)), int(rng.integers(2, 7))
    return {
        "course_id": _slug(title),
        "title": title + LANGUAGES[language],
        "description": f"Covers {taught[0]}, {taught[1]} and {taught[2]}. {ASSUMES[level]} "
        f"{weeks} weeks, about {hours} hours a week.",
        "categories": [category],
        "tags": [topic.lower(), *taught],
        "level": LEVELS[level],
        "language": language,
        "url": f"https://example.org/courses/{_slug(title)}",
        "prerequisites": needs,
        "attributes": {"weeks": weeks, "hours_a_week": hours, "generated": True},
        "published_at": _time(-int(rng.integers(1, 4 * YEAR_SECONDS))),
    }


def _person(rng: np.random.Generator, topics: list[str]) -> _Person:
    """One to three subjects, a few topics of each, and what these build on."""
    place = {topic: row for row, topic in enumerate(topics)}
    affinity = np.zeros(len(topics))
    n_subjects = int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]))
    chosen = rng.choice(len(SUBJECTS), n_subjects, replace=False)
    for subject, share in zip(chosen, rng.dirichlet(np.full(n_subjects, 3.0)), strict=True):
        inside = list(list(SUBJECTS.values())[subject])
        affinity[[place[topic] for topic in inside]] = share * rng.dirichlet(np.full(len(inside), 0.5))
    for topic, needed in BUILDS_ON.items():
        for foundation in needed:
            affinity[place[foundation]] += FOUNDATIONS * affinity[place[topic]]
    return _Person(level=int(rng.choice(3, p=[0.5, 0.35, 0.15])), affinity=affinity)


def _user_row(number: int, person: _Person, topics: list[str]) -> Row:
    best = np.argsort(-person.affinity, kind="stable")[:5]
    weights = person.affinity[best] / person.affinity[best[0]]
    return {
        "user_id": f"user-{number:04d}",
        "interests": {
            topics[row].lower(): round(float(weight), 2)
            for row, weight in zip(best, weights, strict=True)
            if weight >= 0.05
        },
        "attributes": {"level": LEVELS[person.level], "generated": True},
    }


def _split(rng: np.random.Generator, total: int, n_users: int) -> NDArray[np.int64]:
    """How many interactions each user has: a few people do much, everybody does something."""
    least = min(5, total // n_users)
    activity = rng.lognormal(0.0, 0.6, n_users)
    return least + rng.multinomial(total - least * n_users, activity / activity.sum())


class _Shelf:
    """The courses as arrays, so that choosing among them is one product."""

    def __init__(self, courses: list[Row], topics: list[str], appeal: Floats) -> None:
        rows = {course["course_id"]: row for row, course in enumerate(courses)}
        place = {topic.lower(): row for row, topic in enumerate(topics)}
        self.ids = list(rows)
        self.appeal = appeal  # (C,)
        self.topic = np.array([place[course["tags"][0]] for course in courses])  # (C,)
        self.level = np.array([LEVELS.index(course["level"]) for course in courses])  # (C,)
        self.needs = np.zeros((len(courses), len(courses)))  # (C, C), 1 where the row needs the column
        for row, course in enumerate(courses):
            self.needs[row, [rows[needed] for needed in course["prerequisites"]]] = 1.0

    def chances(self, person: _Person) -> Floats:
        """(C,) how readily the person takes each course whose prerequisites are there."""
        fit = np.vectorize(LEVEL_FIT.get, otypes=[float])(self.level - person.level)
        return np.asarray((person.affinity[self.topic] + CURIOSITY) * fit * self.appeal)


def _history(rng: np.random.Generator, user_id: str, person: _Person, shelf: _Shelf, quota: int) -> list[Row]:
    """Exactly ``quota`` interactions of one person, from the day they joined on."""
    chances = shelf.chances(person)
    taken = np.zeros(len(shelf.ids))
    visits: list[tuple[int, list[str]]] = []
    while (missing := quota - sum(len(kinds) for _, kinds in visits)) > 0:
        unready = (shelf.needs * (1.0 - taken)).any(axis=1)
        weights = chances * np.where(unready, UNREADY, 1.0) * (1.0 - taken)
        course = int(rng.choice(len(weights), p=weights / weights.sum()))
        taken[course] = 1.0
        visits.append((course, _visit(rng)[:missing]))
    joined = rng.uniform(0.0, 0.7)
    moments = np.sort(rng.uniform(joined, 1.0, len(visits))) * YEAR_SECONDS
    return [
        {"user_id": user_id, "course_id": shelf.ids[course], "type": kind, "timestamp": _time(when)}
        for (course, kinds), moment in zip(visits, moments, strict=True)
        for kind, when in zip(kinds, _times(rng, moment, len(kinds)), strict=True)
    ]


def _visit(rng: np.random.Generator) -> list[str]:
    """What somebody does with one course: look, or enrol and then perhaps finish or give up."""
    look, ending, opinion = rng.random(3)
    if look < 0.35:
        return ["view"]
    if ending < 0.55:
        return ["enroll", "complete", "like"] if opinion < 0.3 else ["enroll", "complete"]
    if ending < 0.65:
        return ["enroll", "drop", "dislike"] if opinion < 0.4 else ["enroll", "drop"]
    return ["enroll"]


def _times(rng: np.random.Generator, start: float, n: int) -> Floats:
    """(n,) seconds into the year: the start, and then steps within ten weeks of it or the rest of the year."""
    room = min(10 * 7 * 24 * 3600.0, YEAR_SECONDS - start)
    return start + room * np.concatenate([[0.0], np.sort(rng.uniform(0.1, 0.99, n - 1))])


def _time(seconds: float) -> str:
    """ISO-8601 of so many seconds into the year."""
    return (YEAR_START + timedelta(seconds=int(seconds))).isoformat().replace("+00:00", "Z")


def _slug(title: str) -> str:
    return "-".join("".join(char if char.isalnum() else " " for char in title.lower()).split())
