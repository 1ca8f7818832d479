"""A real mongod for the whole run and a database of its own for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from pymongo import MongoClient

from app.store.client import Database, open_database, prepare_database
from app.store.embedded import EmbeddedMongod


@pytest.fixture(scope="session")
def mongodb_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server of this process (each worker of pytest-xdist has its own); it is killed when the process ends."""
    server = EmbeddedMongod(tmp_path_factory.mktemp("mongodb"))
    yield server.start()
    server.stop(timeout_seconds=0)  # nothing in it is wanted any more


@pytest.fixture(scope="session")
def mongodb_admin(mongodb_uri: str) -> Iterator[MongoClient[dict[str, object]]]:
    """A plain client beside the code under test, to look into the server and to clean it."""
    with MongoClient[dict[str, object]](mongodb_uri, tz_aware=True) as client:
        yield client


@pytest.fixture
def database_name(mongodb_admin: MongoClient[dict[str, object]]) -> Iterator[str]:
    """Name of a database that does not exist yet and is dropped after the test."""
    name = f"test_{uuid4().hex[:16]}"
    yield name
    mongodb_admin.drop_database(name)


@pytest.fixture
async def database(mongodb_uri: str, database_name: str) -> AsyncIterator[Database]:
    """That database with its indexes, through the client of the application."""
    async with open_database(mongodb_uri, database_name, timeout_seconds=5.0, app_name="tests") as db:
        await prepare_database(db)
        yield db


@pytest.fixture(scope="session")
def data_folder(pytestconfig: pytest.Config) -> Path:
    """Real data sets, beside the repository when there are any; tests that use one skip when it is absent."""
    return pytestconfig.rootpath.parent / "shared" / "data"
