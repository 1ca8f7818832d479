"""Every environment variable, its unit, default and reason.

Settings are read by entry points (API, worker, command line) and handed down as plain values.
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import SettingError

PREFIX = "COURSEGRAPH_"
SECRETS = Path("/run/secrets")  # where containers keep what should not stand in their environment


def _parse_weights(value: Any) -> Any:
    """``view=1, dislike=0`` or the same as a JSON object."""
    if not isinstance(value, str):
        return value
    try:
        if value.lstrip().startswith("{"):
            return json.loads(value)
        pairs = [item.split("=") for item in value.split(",") if item.strip()]
        return {name.strip(): float(weight) for name, weight in pairs}
    except ValueError:
        raise ValueError("type=weight, type=weight, ... or a JSON object of them") from None


def _split(value: Any) -> Any:
    """``a, b`` as a tuple."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _check_uri(value: Any) -> Any:
    """The driver takes nearly any text as the name of a host, and waits for it."""
    if isinstance(value, str) and not re.match(r"mongodb(\+srv)?://[^/]", value):
        raise ValueError("the address of a MongoDB replica set, mongodb://HOST:PORT/ or mongodb+srv://NAME/")
    return value


def _named(value: Any) -> Any:
    """An empty name would be that of the directory in which the command happens to run."""
    if value == "":
        raise ValueError("the name of a directory")
    return value


Origin = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")]  # as browsers write it, without a path
Origins = Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split)]
Weight = Annotated[float, Field(ge=0, le=1_000_000)]  # ratios matter, and these leave room in 32 bits
Weights = Annotated[dict[str, Weight], NoDecode, BeforeValidator(_parse_weights)]


class Settings(BaseSettings):
    """All settings; `coursegraph settings` prints them with their descriptions."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    # --- database
    mongodb_uri: Annotated[str | None, BeforeValidator(_check_uri)] = Field(
        None,
        validation_alias="MONGODB_URI",
        description="Address of a MongoDB replica set; unset: `up` and `demo` start their own mongod",
    )
    mongodb_database: str = Field(
        "coursegraph",
        validation_alias="MONGODB_DATABASE",
        min_length=1,
        max_length=38,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Name of the database",
    )
    database_timeout_seconds: PositiveFloat = Field(
        2.0, description="How long a call waits for a database server before it answers 503"
    )

    # --- training
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where to train: `auto` (CUDA when there is one), `cpu`, `cuda` or `cuda:N`",
    )
    embedding_size: int | None = Field(
        None, ge=1, le=4096, description="Numbers in a vector, D; unset: 64, or 128 where that is better"
    )
    n_layers: int = Field(3, ge=0, le=10, description="Propagation layers, K")
    combination: Literal["sum", "mean"] = Field(
        "sum",
        description="How layers 0..K become one vector: `sum`, as in the notebook, or `mean`, as in the paper",
    )
    loss: Literal["bpr", "hard_bpr", "softmax"] = Field(
        "softmax",
        description="Training loss: `softmax` over shared negatives, fast and accurate, `bpr`, as in the notebook, or "
        "`hard_bpr`, the same against the hardest of several negatives",
    )
    filter: Literal["none", "ease", "gf_cf", "auto"] = Field(
        "auto",
        description="Closed-form item filter beside the embeddings: `auto` takes what held-out interactions say, which "
        "may be none",
    )
    time_budget_seconds: NonNegativeFloat = Field(
        120.0,
        description="Most seconds for trying several recipes before the last fit; 0 trains the usual recipe only",
    )
    ease_items: int = Field(
        6_000,
        ge=0,
        description="Courses above which the filter EASE is left out: its time grows with their cube",
    )
    epochs: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Most passes over the interactions in a run; unset: 40 for `bpr`, else 200 steps",
    )
    batch_size: PositiveInt | None = Field(
        None, description="Interactions in a step; unset: by loss and number of interactions, 2,048 to 16,384 or more"
    )
    learning_rate: PositiveFloat | None = Field(None, description="Step size of Adam; unset: by loss")
    l2_weight: NonNegativeFloat | None = Field(
        None, description="Weight of the squared length of layer-0 vectors; unset: by loss and number of interactions"
    )
    seed: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="Start of all randomness; equal seeds give equal models on CPU, if the time budget suffices",
    )
    interaction_weights: Weights = Field(
        {"view": 1.0, "like": 1.0, "enroll": 1.0, "complete": 1.0, "dislike": 0.0, "drop": 0.0},
        description="Accepted interaction types and their edge weights; 0 keeps a course out of graph and list",
    )
    half_life_days: PositiveFloat | None = Field(
        None, description="Days after which an interaction weighs half; unset: it weighs the same for ever"
    )
    popular_half_life_days: NonNegativeFloat = Field(
        0.0,
        description="Days after which somebody who took a course counts half in what is popular; 0: as much for ever",
    )
    auto_train: bool = Field(True, description="Whether the worker retrains by itself when data changed")
    train_after_changes: PositiveInt = Field(1000, description="Changes since the last snapshot that start a run")
    train_after_seconds: PositiveFloat = Field(
        3600.0, description="Seconds after the last run at which any single change starts one"
    )
    train_quiet_seconds: NonNegativeFloat = Field(
        10.0,
        description="Seconds without a change before an automatic run starts, so that a bulk load is over",
    )
    search_every: PositiveInt = Field(
        20,
        description="One of so many runs tries several recipes; the others take that of the model served, if "
        "data and settings are like those it was chosen for",
    )
    warm_start: Literal["auto", "off"] = Field(
        "auto",
        description="Whether runs go on from the vectors of the model served for a few steps, if most of the data are "
        "the same (`auto`), or all train from the start (`off`)",
    )
    full_every: PositiveInt = Field(
        10, description="One of so many runs trains from the start all the same, so that nothing builds up"
    )
    gate_margin: NonNegativeFloat = Field(
        0.05,
        description="Share of its NDCG@20 by which a new model may be worse than the one served; where it is more, "
        "and more than chance explains, it is rejected",
    )
    checkpoint_seconds: NonNegativeFloat = Field(
        60.0, description="Seconds between two checkpoints, from which a run goes on when its worker died; 0: none"
    )
    ranks: PositiveInt = Field(
        1, le=1024, description="Processes of this machine that train one model together, each with some of the users"
    )
    rank_timeout_seconds: PositiveFloat = Field(
        60.0, description="How long one of them waits for another in the middle of a step before that counts as lost"
    )
    user_vectors: Literal["float32", "float16"] = Field(
        "float32",
        description="How models keep the vectors of users: in `float16` they take half the room, at a loss in accuracy "
        "below a thousandth",
    )
    models_kept: PositiveInt = Field(5, description="Newest models kept for roll-back")
    lease_seconds: float = Field(
        15.0,
        ge=1.0,
        description="After this long without a heartbeat another worker takes over (three are missed)",
    )

    # --- who may call
    admin_key: SecretStr | None = Field(
        None,
        min_length=32,
        max_length=256,
        description="A key with scope admin besides those of `coursegraph keys`, 32 characters or more: for a first "
        "start without a hand, best as a file; with it set nobody is answered without a key",
    )
    api_key: SecretStr | None = Field(
        None, description="Key that `demo` and the scripts give to a service that they call"
    )
    cors_origins: Origins = Field(
        (),
        description="Origins of other web pages that may call from a browser, such as `https://learn.example.org`; "
        "none: no other page may",
    )

    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65_535,
        description="Port on which each API process answers `/metrics`, `/docs`, `/redoc` and `/openapi.json`, and on "
        "no other; unset: beside all other calls",
    )
    metrics_host: str = Field(
        "127.0.0.1", min_length=1, description="Address for that port; others than this machine need a key there too"
    )

    # --- requests
    body_limit_bytes: PositiveInt = Field(
        32 * 2**20, description="Largest JSON body in bytes, unpacked; NDJSON is read line by line and has no limit"
    )
    spool_limit_bytes: PositiveInt = Field(
        2**30, description="Most bytes of NDJSON put on disk while all of it is checked for on_error=abort"
    )

    head_timeout_seconds: PositiveFloat = Field(
        10.0, description="How long a client may take for the head of a request: a second is much on any line"
    )
    body_timeout_seconds: PositiveFloat = Field(
        30.0, description="How long nothing of a body may come before the connection is closed; as proxies have it"
    )
    requests_per_second: NonNegativeFloat = Field(
        0.0,
        description="Most requests a second of one key and process, above which 429 is answered; 0: any number, as "
        "one key may stand for a whole web application",
    )
    burst_seconds: PositiveFloat = Field(
        10.0, description="Seconds of that rate that may be saved up and spent at once, as a page that opens does"
    )
    batches_limit: PositiveInt = Field(
        8,
        description="Batches of rows, exports and batches of lists that a process works on at once, as each takes "
        "some MB; more get 503 and may come again",
    )
    idempotency_seconds: PositiveFloat = Field(
        86_400.0, description="How long the answer to a batch with an Idempotency-Key is kept for those who ask again"
    )
    streams_limit: PositiveInt = Field(
        100, description="Event streams that a process keeps open at once; more get 503 and may come again"
    )
    max_users: int = Field(0, ge=0, description="Users above which no new ones are taken; 0: any number")
    max_courses: int = Field(0, ge=0, description="Courses above which no new ones are taken; 0: any number")
    max_interactions: int = Field(0, ge=0, description="Interactions above which no new ones are taken; 0: any number")

    # --- serving
    drain_seconds: float = Field(
        0.0,
        ge=0.0,
        le=300.0,
        description="How long a process that is told to stop goes on answering while `/health/ready` says 503, so that "
        "a load balancer sends it nothing more; three of its checks are enough, and 0 is right without one",
    )
    cache_dir: Annotated[Path, BeforeValidator(_named)] = Field(
        Path(tempfile.gettempdir()) / f"coursegraph-{getattr(os, 'getuid', lambda: 0)()}",
        description="Directory of fetched models, shared by the processes of a machine",
    )
    users_held: int | None = Field(
        None,
        ge=0,
        description="Users of the model, the first by id, of whom a process holds vectors and lists; what others have "
        "taken is read when they are asked for, and they are folded in; 0: their files are not fetched; unset: all",
    )

    # --- logging
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")
    log_format: Literal["text", "json"] = Field("text", description="`text` for people, `json` for collectors")
    traces: bool = Field(
        False,
        description="Send OpenTelemetry spans of requests, training runs and their database commands to where "
        "`OTEL_EXPORTER_OTLP_ENDPOINT` says; needs the extra `otel`",
    )


SECRET_FIELDS = {name for name, field in Settings.model_fields.items() if field.annotation == SecretStr | None}


_WANTED = re.compile(r"^(\w+ should (be|have|match) |Value error, )")  # Pydantic's beginnings of what was wanted


def environment_name(field: str) -> str:
    """Name of the environment variable of a setting."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else PREFIX + field.upper()


SECRET_NAMES = {environment_name(field) for field in SECRET_FIELDS} | {"MONGODB_URI"}  # which may hold a password


def own_key(settings: Settings) -> str | None:
    """What commands that call a service give as X-API-Key."""
    key = settings.api_key or settings.admin_key
    return None if key is None else key.get_secret_value()


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, or from a file of the name in ``SECRETS``.

    Raises SettingError that names the key, the value and what was wanted, and TypeError for an override of no setting.
    """
    if strangers := overrides.keys() - Settings.model_fields.keys():
        raise TypeError(f"no settings are called {sorted(strangers)}")
    try:
        settings = Settings(_secrets_dir=SECRETS if SECRETS.is_dir() else None, **overrides)
    except ValidationError as error:
        first = error.errors()[0]
        key = _key(first["loc"])
        value = "***" if key in SECRET_NAMES else first["input"]
        raise SettingError(key, value, _WANTED.sub("", first["msg"])) from None
    unknown = sorted(_unknown_names(os.environ))
    if unknown:
        raise SettingError(unknown[0], os.environ[unknown[0]], "one of the settings that `coursegraph settings` lists")
    return settings


def _key(loc: tuple[int | str, ...]) -> str:
    field = str(loc[0])
    return environment_name(field) if field in Settings.model_fields else field


def _unknown_names(environment: Mapping[str, str]) -> set[str]:
    """A mistyped name would silently leave the default in force."""
    known = {environment_name(field) for field in Settings.model_fields}
    return {name for name in environment if name.startswith(PREFIX)} - known
