"""What the pictures show, as plain values: their JSON, which the page draws itself."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

EdgeKind = Literal["taken", "recommended"]
Scope = Literal["all", "user", "course"]


@dataclass(frozen=True, slots=True)
class CourseLabel:
    """What is written beside a course; ``title`` None: its id is."""

    title: str | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GraphUser:
    """A square on the left.  courses: how many the user has taken in all, shown or not."""

    user_id: str
    courses: int


@dataclass(frozen=True, slots=True)
class GraphCourse:
    """A circle on the right.  rank and percent: of a recommended course, None of others."""

    course_id: str
    title: str | None
    categories: tuple[str, ...]
    users: int
    rank: int | None = None
    percent: float | None = None

    @property
    def label(self) -> str:
        """Title or id."""
        return self.title or self.course_id


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """A line; a dashed one for what is recommended."""

    user_id: str
    course_id: str
    kind: EdgeKind


@dataclass(frozen=True, slots=True)
class GraphPoints:
    """A bipartite graph or a part of one.

    scope: the whole graph, or the neighbourhood of the user or course ``focus``.  n_users, n_courses: of the whole
    graph, shown or not.  hidden: neighbours of the focus for which there was no room.
    """

    model_id: str | None
    scope: Scope
    focus: str | None
    n_users: int
    n_courses: int
    users: tuple[GraphUser, ...]
    courses: tuple[GraphCourse, ...]
    edges: tuple[GraphEdge, ...]
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class LossPoints:
    """How training went.

    losses: mean loss of epochs 1, 2, ...  validation: epochs and the metric on held-out interactions after them.
    """

    model_id: str | None
    run_id: str | None
    losses: tuple[float, ...]
    metric: str = "ndcg@20"
    validation: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class MapUsers:
    """Columns of the users that are shown."""

    ids: Sequence[str]
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class MapCourses:
    """Columns of all courses."""

    ids: Sequence[str]
    titles: Sequence[str | None]
    categories: Sequence[Sequence[str]]
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class MapPoints:
    """Users and courses in the plane of the two directions in which their vectors differ most.

    explained_variance: shares of the variance of all vectors along x and y, 0 to 1.
    n_users: of all users; in a large graph only some are shown.
    """

    model_id: str | None
    n_users: int
    n_courses: int
    explained_variance: tuple[float, float]
    users: MapUsers
    courses: MapCourses


Points = GraphPoints | LossPoints | MapPoints


def to_json(points: Points) -> bytes:
    """The JSON of a picture."""
    return json.dumps(asdict(points), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def graph_from(document: dict[str, Any]) -> GraphPoints:
    """The points of a graph from its JSON."""
    return GraphPoints(
        **{
            **document,
            "users": tuple(GraphUser(**user) for user in document["users"]),
            "courses": tuple(
                GraphCourse(**{**course, "categories": tuple(course["categories"])}) for course in document["courses"]
            ),
            "edges": tuple(GraphEdge(**edge) for edge in document["edges"]),
        }
    )


def loss_from(document: dict[str, Any]) -> LossPoints:
    """The points of a loss curve from its JSON."""
    return LossPoints(
        **{
            **document,
            "losses": tuple(document["losses"]),
            "validation": tuple((epoch, value) for epoch, value in document["validation"]),
        }
    )
