"""A picture that cannot be drawn never costs a model."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from app.store.client import Database
from app.worker.drawing import draw_pictures, users_to_draw
from tests.support.content import alone
from tests.support.graphs import random_graph
from tests.support.models import make_contents

KEYS = [(f"u{user}", f"c{(user + shift) % 40}", "enroll") for user in range(50) for shift in range(5)]
FILES = {f"{name}.{format_}" for name in ("graph", "loss", "embeddings") for format_ in ("svg", "png", "json")}


@dataclass
class Trained:
    losses: tuple[float, ...] = (2.0, 1.0)
    validation: tuple[tuple[int, float], ...] = ((2, 0.3),)


async def draw(database: Database, **changes: Any) -> dict[str, bytes]:
    contents = make_contents([f"u{user}" for user in range(50)], [f"c{item}" for item in range(40)], KEYS)
    trained: Any = Trained(**changes)
    graph = random_graph(n_users=50, n_items=40)
    users = users_to_draw(alone(contents.user_vectors.astype(np.float32), graph), contents)
    return await draw_pictures(database, contents, "m-000001", "r-000001", trained, users=users)


async def test_all_are_drawn(database: Database) -> None:
    assert (await draw(database)).keys() == FILES


async def test_without_matplotlib_there_are_points(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith(("matplotlib", "app.plots.drawing"))]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("app.plots.embeddings", "app.plots.graph", "app.plots.loss"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert (await draw(database)).keys() == {name for name in FILES if name.endswith(".json")}


async def test_a_failure_is_a_missing_picture(database: Database) -> None:
    pictures = await draw(database, validation=((2,),))
    assert "graph.json" in pictures
    assert "loss.png" not in pictures
