"""The notebook, cell by cell, against a real service."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.up import Up

NOTEBOOK = json.loads(
    (Path(__file__).parents[1] / "scripts" / "notebooks" / "walkthrough.ipynb").read_text(encoding="utf-8")
)
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """An empty service with the notebook's settings."""
    settings = {"AUTO_TRAIN": "false", "EMBEDDING_SIZE": "3", "N_LAYERS": "2", "LOSS": "bpr", "EPOCHS": "30"}
    environment = {f"COURSEGRAPH_{name}": value for name, value in settings.items()}
    with Up(tmp_path / "data", environment=environment) as up:
        yield up.url


def test_it_runs_from_top_to_bottom(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SERVICE_URL", url)
    names: dict[str, Any] = {}
    for cell in CODE:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    names["service"].close()
    assert names["run"]["status"] == "succeeded"
    assert all(content.startswith(b"\x89PNG") for content in names["pictures"].values())
    for name, taken in names["TAKEN"].items():
        assert not {item["course_id"] for item in names["lists"][name]["items"]} & set(taken)
    best = names["best"]
    assert sum(reason["contribution"] for reason in best["because"]) == pytest.approx(best["score"], abs=1e-5)
    assert capsys.readouterr().out.endswith("False\n")


def test_it_is_committed_without_results() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)
