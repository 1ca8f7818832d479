"""The FastAPI application."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app.api.at_once import AtOnce
from app.api.batches import ARRAY_ROWS
from app.api.dependencies import Services
from app.api.exception_handlers import add_exception_handlers
from app.api.front import Application
from app.api.gate import Gate
from app.api.heads import DATA_AGE
from app.api.live import Live, running
from app.api.middleware import RequestMiddleware
from app.api.openapi import TAGS, complete_openapi
from app.api.overview import Overview
from app.api.pictures import PictureService
from app.api.quotas import Quota, Quotas
from app.api.recommender import Recommender
from app.api.routers import (
    courses,
    export,
    gorse,
    interactions,
    models,
    operations,
    overview,
    page,
    pictures,
    recommendations,
    training,
    users,
)
from app.api.service import CourseService, InteractionService, UserService
from app.api.shown import Shown
from app.api.slots import AllSlots, Slots
from app.api.takers import Takers
from app.errors import SettingError
from app.schemas.overview import Limits
from app.settings import Settings, environment_name
from app.store.api_keys import KeyStore
from app.store.client import open_database
from app.store.courses import CourseStore
from app.store.given_answers import GivenAnswerStore
from app.store.interactions import InteractionStore
from app.store.models import ModelStore
from app.store.pulse import feel_pulse
from app.store.rejected import RejectedStore
from app.store.runs import RunStore
from app.store.users import UserStore
from app.telemetry.metrics import Metrics

DESCRIPTION = """Recommendations of courses from a LightGCN over who took what.

Send users, courses and interactions; ask for recommendations. Errors are `application/problem+json` (RFC 9457)."""
START_SECONDS = 5.0  # how long a process waits to be ready before it answers 503 instead
ROUTERS = (
    recommendations.router,
    interactions.router,
    *(module.router for module in (users, courses, training, models, pictures, export, overview, operations, page)),
)
FIRST, *REST = (route for router in ROUTERS for route in router.routes)
TRAINING_SETTINGS = (
    *("embedding_size", "n_layers", "combination", "loss", "epochs"),
    *("batch_size", "learning_rate", "l2_weight", "seed", "device"),
    *("filter", "time_budget_seconds", "ease_items"),
)


def create_application(settings: Settings, *, local: bool = False) -> FastAPI:
    """The service.  Raises SettingError without MONGODB_URI; a database that is down is waited for.

    local: only this machine reaches it, so that as long as there are no keys it answers without one.
    """
    if settings.mongodb_uri is None:
        raise SettingError("MONGODB_URI", None, "the address of a MongoDB replica set")
    metrics = Metrics()
    app = Application(
        doors=[FIRST, *gorse.HOT],
        title="CourseGraph",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan(settings, settings.mongodb_uri, metrics, local=local),
        docs_url=None,  # the page's router has both, without files from another host
        redoc_url=None,
        redirect_slashes=False,  # one address for one thing
        openapi_tags=TAGS,
        # In one flat table, as each inclusion costs every request a second search; what must be fast comes first.
        routes=[FIRST, *gorse.HOT, *REST, *gorse.ROUTES],
    )
    app.state.body_limit_bytes = settings.body_limit_bytes
    app.state.spool_limit_bytes = settings.spool_limit_bytes
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "X-API-Key",
                "X-Request-ID",
                "Content-Type",
                "Content-Encoding",
                "If-None-Match",
                "Idempotency-Key",
            ],
            expose_headers=["ETag", "Location", "Retry-After", "X-Request-ID", "Idempotency-Replayed", DATA_AGE],
        )
    app.state.at_once = AtOnce(FIRST, metrics)
    app.add_middleware(RequestMiddleware, metrics=metrics, at_once=app.state.at_once)
    add_exception_handlers(app)
    complete_openapi(app)
    return app


def _limits(settings: Settings) -> Limits:
    return Limits(
        json_rows=ARRAY_ROWS,
        json_bytes=settings.body_limit_bytes,
        spool_bytes=settings.spool_limit_bytes,
        users=settings.max_users or None,
        courses=settings.max_courses or None,
        interactions=settings.max_interactions or None,
    )


def _lifespan(
    settings: Settings, uri: str, metrics: Metrics, *, local: bool
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        timeout_seconds = settings.database_timeout_seconds
        async with (
            open_database(
                uri, settings.mongodb_database, timeout_seconds=timeout_seconds, app_name="coursegraph-api"
            ) as db,
            feel_pulse(uri, timeout_seconds) as pulse,
        ):
            uncounted = [name for name, weight in settings.interaction_weights.items() if weight <= 0]
            live = Live(db, settings.cache_dir, metrics, pulse, settings.users_held)
            takers = Takers(InteractionStore(db), uncounted, settings.popular_half_life_days)
            recommender = Recommender(live, InteractionStore(db), UserStore(db), takers)
            shown = Shown(ModelStore(db))
            admin_key = None if settings.admin_key is None else settings.admin_key.get_secret_value()
            gate = Gate(
                KeyStore(db),
                local=local,
                admin_key=admin_key,
                origins=settings.cors_origins,
                per_second=settings.requests_per_second,
                burst=settings.requests_per_second * settings.burst_seconds,
            )
            slots = AllSlots(Slots(settings.batches_limit, "batches"), Slots(settings.streams_limit, "event streams"))
            quotas = Quotas(
                users=Quota(UserStore(db), "users", settings.max_users, environment_name("max_users")),
                courses=Quota(CourseStore(db), "courses", settings.max_courses, environment_name("max_courses")),
                interactions=Quota(
                    InteractionStore(db),
                    "interactions",
                    settings.max_interactions,
                    environment_name("max_interactions"),
                ),
            )
            rejected = RejectedStore(db)
            answers = GivenAnswerStore(db, settings.idempotency_seconds)
            services = Services(
                users=UserService(UserStore(db), live, metrics, rejected, quotas.users, answers=answers),
                courses=CourseService(CourseStore(db), live, metrics, rejected, quotas.courses),
                interactions=InteractionService(
                    InteractionStore(db),
                    live,
                    metrics,
                    rejected,
                    types=settings.interaction_weights,
                    quotas=quotas,
                ),
                runs=RunStore(db),
                models=ModelStore(db),
                live=live,
                pictures=PictureService(live, recommender, ModelStore(db), RunStore(db)),
                overview=Overview(
                    (UserStore(db), CourseStore(db), InteractionStore(db)),
                    live,
                    types=tuple(settings.interaction_weights),
                    limits=_limits(settings),
                ),
                recommender=recommender,
                shown=shown,
                rejected=rejected,
                answers=answers,
                metrics=metrics,
                training_settings={name: getattr(settings, name) for name in TRAINING_SETTINGS},
            )
            async with (
                gate.keeping(patience_seconds=START_SECONDS),
                running(live, patience_seconds=START_SECONDS),
                shown.telling(),
            ):
                yield {"services": services, "gate": gate, "slots": slots}

    return lifespan
