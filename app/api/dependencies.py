"""What routers are given: the only way from HTTP to the stores and to serving."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Response

from app.api import batches
from app.api.gate import Gate
from app.api.live import Live
from app.api.once import IdempotencyKey, once
from app.api.overview import Overview
from app.api.pictures import PictureService
from app.api.recommender import Answer, Recommender
from app.api.service import CourseService, InteractionService, UserService
from app.api.shown import Shown
from app.errors import InvalidValueError
from app.schemas.fields import Id, NewId
from app.schemas.pages import decode_cursor
from app.store.given_answers import GivenAnswerStore
from app.store.interactions import InteractionStore
from app.store.models import ModelStore
from app.store.rejected import RejectedStore
from app.store.runs import RunStore
from app.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Services:
    """What one API process works with; opened and closed by its lifespan."""

    users: UserService
    courses: CourseService
    interactions: InteractionService
    runs: RunStore
    models: ModelStore
    live: Live
    pictures: PictureService
    overview: Overview
    recommender: Recommender
    shown: Shown
    rejected: RejectedStore
    answers: GivenAnswerStore
    metrics: Metrics
    training_settings: dict[str, Any]

    def count(self, answer: Answer) -> None:
        """A list was answered."""
        self.metrics.count_recommendation(answer.ranked.source)
        self.shown.add(answer.ranked.model_id)


def get_services(request: Request) -> Services:
    """The services of this process."""
    services: Services = request.scope["state"]["services"]  # request.state takes several microseconds
    return services


async def services_of(request: Request) -> Services:
    """The same, as a dependency that needs no thread."""
    return get_services(request)


async def users_of(request: Request) -> UserService:
    """Users."""
    return get_services(request).users


async def courses_of(request: Request) -> CourseService:
    """Courses."""
    return get_services(request).courses


async def interactions_of(request: Request) -> InteractionService:
    """Interactions."""
    return get_services(request).interactions


async def interaction_store_of(request: Request) -> InteractionStore:
    """Interactions as they are stored."""
    return get_services(request).interactions.store


async def runs_of(request: Request) -> RunStore:
    """Training runs."""
    return get_services(request).runs


async def models_of(request: Request) -> ModelStore:
    """Models."""
    return get_services(request).models


async def pictures_of(request: Request) -> PictureService:
    """Pictures."""
    return get_services(request).pictures


async def live_of(request: Request) -> Live:
    """What is served."""
    return get_services(request).live


async def gate_of(request: Request) -> Gate:
    """Who may call."""
    gate: Gate = request.scope["state"]["gate"]
    return gate


async def answers_of(request: Request) -> GivenAnswerStore:
    """What was answered to batches with a key."""
    return get_services(request).answers


async def after_of(
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before", json_schema_extra={"format": "cursor"})
    ] = None,
) -> str | None:
    """Where the page begins.  Raises InvalidValueError."""
    if cursor is None:
        return None
    try:
        return decode_cursor(cursor)
    except ValueError:
        raise InvalidValueError(("query", "cursor"), cursor, "the next_cursor of an earlier page") from None


AllServices = Annotated[Services, Depends(services_of)]
Users = Annotated[UserService, Depends(users_of)]
Courses = Annotated[CourseService, Depends(courses_of)]
Interactions = Annotated[InteractionService, Depends(interactions_of)]
StoredInteractions = Annotated[InteractionStore, Depends(interaction_store_of)]
Runs = Annotated[RunStore, Depends(runs_of)]
Models = Annotated[ModelStore, Depends(models_of)]
Pictures = Annotated[PictureService, Depends(pictures_of)]
Access = Annotated[Gate, Depends(gate_of)]
Serving = Annotated[Live, Depends(live_of)]

Limit = Annotated[int, Query(ge=1, le=1000, description="Most rows in the page")]
After = Annotated[str | None, Depends(after_of)]


@dataclass(frozen=True, slots=True)
class BatchCall:
    """A batch of rows that somebody sends."""

    request: Request
    answers: GivenAnswerStore
    key: str | None
    on_error: batches.OnError
    dry_run: bool

    async def take(self, kind: batches.BatchKind) -> Response:
        """Its report, or that of the time before.  Raises what ``once`` and ``take_batch`` raise."""

        async def take(asked: Request) -> Response:
            return await batches.take_batch(asked, kind, on_error=self.on_error, dry_run=self.dry_run)

        return await once(self.request, self.key, self.answers, take)


async def batch_of(
    request: Request,
    answers: Annotated[GivenAnswerStore, Depends(answers_of)],
    on_error: Annotated[batches.OnError, Query(description="`abort`: write nothing if any row is bad")] = "skip",
    dry_run: Annotated[bool, Query(description="Check the rows and write nothing")] = False,
    key: IdempotencyKey = None,
) -> BatchCall:
    """The batch with what is asked of it."""
    return BatchCall(request, answers, key, on_error, dry_run)


Batch = Annotated[BatchCall, Depends(batch_of)]
UserId = Annotated[Id, Path(description="Id of a user", examples=["ada"])]
NewUserId = Annotated[NewId, Path(description="Id of a user", examples=["ada"])]
CourseId = Annotated[Id, Path(description="Id of a course", examples=["python"])]
NewCourseId = Annotated[NewId, Path(description="Id of a course", examples=["python"])]
RunId = Annotated[str, Path(description="Id of a training run", examples=["r-000001"])]
ModelId = Annotated[str, Path(description="Id of a model", examples=["m-000001"])]
ThisUser = Annotated[Id, Query(description="Id of the user", examples=["ada"])]
ThisCourse = Annotated[Id, Query(description="Id of the course", examples=["python"])]
OfUser = Annotated[Id | None, Query(description="Only of this user", examples=["ada"])]
OfCourse = Annotated[Id | None, Query(description="Only with this course", examples=["python"])]
OfType = Annotated[Id | None, Query(description="Only of this type", examples=["complete"])]
