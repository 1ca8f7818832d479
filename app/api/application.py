"""The FastAPI application."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app import __version__
from app.api.dependencies import Services
from app.api.exception_handlers import add_exception_handlers
from app.api.live import Live, running
from app.api.middleware import RequestMiddleware
from app.api.routers import (
    courses,
    export,
    interactions,
    models,
    operations,
    recommendations,
    training,
    users,
)
from app.api.service import CourseService, InteractionService, UserService
from app.errors import SettingError
from app.schemas.problems import Problem, ValidationProblem
from app.settings import Settings
from app.store.client import open_database
from app.store.courses import CourseStore
from app.store.interactions import InteractionStore
from app.store.models import ModelStore
from app.store.runs import RunStore
from app.store.users import UserStore
from app.telemetry.metrics import Metrics

DESCRIPTION = """Recommendations of courses from a LightGCN over who took what.

Send users, courses and interactions; ask for recommendations. Errors are `application/problem+json` (RFC 9457)."""
TRAINING_SETTINGS = (
    *("embedding_size", "n_layers", "combination", "loss", "epochs"),
    *("batch_size", "learning_rate", "l2_weight", "seed", "device"),
)


def create_application(settings: Settings) -> FastAPI:
    """The service; started without MONGODB_URI it raises SettingError, a database that is down is waited for."""
    metrics = Metrics()
    app = FastAPI(
        title="CourseGraph",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan(settings, metrics),
        redirect_slashes=False,
    )
    app.state.body_limit_bytes = settings.body_limit_bytes
    app.add_middleware(RequestMiddleware, metrics=metrics)
    add_exception_handlers(app)
    for module in (recommendations, users, courses, interactions, training, models, export, operations):
        app.include_router(module.router)
    _name_problems(app)
    return app


def _lifespan(settings: Settings, metrics: Metrics) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        if settings.mongodb_uri is None:
            raise SettingError("MONGODB_URI", None, "the address of a MongoDB replica set")
        async with open_database(
            settings.mongodb_uri,
            settings.mongodb_database,
            timeout_seconds=settings.database_timeout_seconds,
            app_name="coursegraph-api",
        ) as db:
            counted = [name for name, weight in settings.interaction_weights.items() if weight > 0]
            live = Live(db, settings.cache_dir, counted, metrics)
            services = Services(
                users=UserService(UserStore(db), live),
                courses=CourseService(CourseStore(db), live),
                interactions=InteractionService(InteractionStore(db), live),
                runs=RunStore(db),
                models=ModelStore(db),
                live=live,
                metrics=metrics,
                interaction_types=tuple(settings.interaction_weights),
                training_settings={name: getattr(settings, name) for name in TRAINING_SETTINGS},
            )
            async with running(live):
                yield {"services": services}

    return lifespan


def _name_problems(app: FastAPI) -> None:
    """Put the problem schemas, which no route names as its model, into the OpenAPI document."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            schemas = make().setdefault("components", {}).setdefault("schemas", {})
            for model in (Problem, ValidationProblem):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(schema.pop("$defs", {}))
                schemas[model.__name__] = schema
        return make()

    app.openapi = openapi  # type: ignore[method-assign] # the way FastAPI's documentation gives
