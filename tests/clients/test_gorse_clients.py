"""Gorse's own clients, as they are published, work against a running service."""

import asyncio
import csv
import gzip
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gorse import AsyncGorse, Gorse, GorseException

from tests.support.up import Up

HERE = Path(__file__).parent
TIME = "2026-01-15T10:00:00Z"
KEY = "k"
SETTINGS = {
    "COURSEGRAPH_AUTO_TRAIN": "false",
    "COURSEGRAPH_TIME_BUDGET_SECONDS": "0",
    "COURSEGRAPH_EPOCHS": "5",
    "COURSEGRAPH_INTERACTION_WEIGHTS": "like=1,star=1,read=0",
}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """An empty service."""
    with Up(tmp_path / "data", environment=SETTINGS) as up:
        yield up.url


def feedback(user: str, item: str, type_: str = "like", value: float = 0.0) -> dict[str, Any]:
    return {"FeedbackType": type_, "UserId": user, "ItemId": item, "Timestamp": TIME, "Value": value, "Comment": ""}


def test_python_client(url: str) -> None:
    client = Gorse(url, KEY, timeout=20)
    user = {"UserId": "ada", "Labels": {"tags": ["x"], "age": 36}, "Subscribe": ["d", "e"], "Comment": "comment"}
    item = {
        **{"ItemId": "go:1", "IsHidden": True, "Labels": ["a", "b", "c"], "Categories": ["d", "e"]},
        **{"Timestamp": TIME, "Comment": "Toy Story"},
    }

    assert client.insert_user(user) == {"RowAffected": 1}
    assert client.get_user("ada") == user
    assert client.insert_users([{"UserId": "bob"}, {"UserId": "cyd", "Labels": None}]) == {"RowAffected": 2}
    first, cursor = client.get_users(2)
    assert [one["UserId"] for one in first] == ["ada", "bob"]
    rest, end = client.get_users(2, cursor)
    assert rest == [{"UserId": "cyd", "Labels": None, "Subscribe": None, "Comment": ""}]
    assert end == ""

    assert client.insert_item(item) == {"RowAffected": 1}
    assert client.get_item("go:1") == item
    for number in (2, 3):
        client.insert_item({"ItemId": f"go:{number}", "Categories": ["d"], "Labels": ["a"], "Comment": f"No {number}"})
    assert client.update_item("go:1", is_hidden=False, labels=["x"]) == {"RowAffected": 1}
    assert client.get_item("go:1") == {**item, "IsHidden": False, "Labels": ["x"]}
    pages: list[dict[str, Any]] = []
    cursor = ""
    while True:
        some, cursor = client.get_items(2, cursor)
        pages += some
        if not cursor:
            break
    assert [one["ItemId"] for one in pages] == ["go:1", "go:2", "go:3"]
    assert pages[0] == client.get_item("go:1")
    assert [one["ItemId"] for one in client.search_items("story")] == ["go:1"]

    assert client.insert_feedback("like", "ada", "go:1", TIME, 3.0) == {"RowAffected": 1}
    assert client.insert_feedbacks([feedback("ada", "go:2", "read"), feedback("dan", "new")]) == {"RowAffected": 2}
    assert client.list_feedbacks("like", "ada") == [feedback("ada", "go:1", value=3.0)]
    assert client.get_item("new")["Categories"] == []
    listed, cursor = client.get_feedbacks(2)
    more, end = client.get_feedbacks(2, cursor)
    assert listed + more == [
        feedback("ada", "go:1", value=3.0),
        feedback("ada", "go:2", "read"),
        feedback("dan", "new"),
    ]
    assert end == ""

    assert {one.id for one in client.get_recommend("ada")} == {"go:3", "new"}
    assert [one.id for one in client.get_recommend("ada", "d")] == ["go:3"]
    assert client.get_recommend("ada", n=10, offset=2) == []
    session = client.session_recommend([feedback("nobody", "new")], n=2)
    assert [one["Id"] for one in session] == ["go:1", "go:2"]
    assert [one["Id"] for one in client.get_neighbors("go:2")] == ["go:3", "go:1"]  # before a model: by labels
    assert [one["Id"] for one in client.get_neighbors("go:2", n=1, offset=1)] == ["go:1"]

    back = client.get_recommend("ada", "d", write_back_type="read", write_back_delay="10m")
    assert [one.id for one in back] == ["go:3"]
    assert [one["ItemId"] for one in client.list_feedbacks("read", "ada")] == ["go:2", "go:3"]
    assert client.get_recommend("ada", "d") == []

    assert client.delete_feedback("ada", "go:1") == {"RowAffected": 1}
    assert client.delete_feedback("ada", "go:1") == {"RowAffected": 0}
    assert client.delete_item("go:1") == {"RowAffected": 1}
    assert client.delete_user("ada") == {"RowAffected": 1}
    assert client.delete_user("ada") == {"RowAffected": 0}
    for read, message in ((client.get_item, "go:1: item not found"), (client.get_user, "go:1: user not found")):
        with pytest.raises(GorseException) as refused:
            read("go:1")
        assert (refused.value.status_code, refused.value.message) == (404, message)
    with pytest.raises(GorseException) as bad:
        client.insert_item({"ItemId": "a/b"})
    assert bad.value.status_code == 400
    assert "ItemId has value 'a/b'" in bad.value.message


def test_asynchronous_python_client(url: str) -> None:
    async def call_all() -> None:
        client = AsyncGorse(url, KEY)
        user = {"UserId": "ada", "Labels": ["x"], "Subscribe": None, "Comment": ""}
        assert await client.insert_user(user) == {"RowAffected": 1}
        assert await client.get_user("ada") == user
        assert await client.insert_users([{"UserId": "bob"}]) == {"RowAffected": 1}
        assert (await client.get_users(1))[0] == [user]
        assert await client.insert_item({"ItemId": "go:1", "Categories": ["d"], "Timestamp": TIME}) == {
            "RowAffected": 1
        }
        assert await client.update_item("go:1", comment="Toy Story") == {"RowAffected": 1}
        assert (await client.get_item("go:1"))["Comment"] == "Toy Story"
        assert [one["ItemId"] for one in (await client.get_items(10))[0]] == ["go:1"]
        assert [one["ItemId"] for one in await client.search_items("toy")] == ["go:1"]
        assert await client.insert_feedback("star", "bob", "go:1", TIME) == {"RowAffected": 1}
        assert await client.insert_feedbacks([feedback("bob", "go:2")]) == {"RowAffected": 1}
        assert await client.list_feedbacks("star", "bob") == [feedback("bob", "go:1", "star")]
        assert len((await client.get_feedbacks(10))[0]) == 2
        assert {one.id for one in await client.get_recommend("ada")} == {"go:1", "go:2"}
        assert [one.id for one in await client.get_recommend("ada", "d")] == ["go:1"]
        assert [one["Id"] for one in await client.session_recommend([feedback("x", "go:1")])] == ["go:2"]
        assert await client.get_neighbors("go:1") == []
        assert await client.delete_feedback("bob", "go:1") == {"RowAffected": 1}
        assert await client.delete_item("go:1") == {"RowAffected": 1}
        assert await client.delete_user("ada") == {"RowAffected": 1}
        with pytest.raises(GorseException) as refused:
            await client.get_user("ada")
        assert refused.value.status_code == 404

    asyncio.run(call_all())


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm, which brings the TypeScript client")
def test_typescript_client(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "client"
    shutil.copytree(HERE / "gorse", folder)
    run("npm", "ci", "--no-audit", "--no-fund", cwd=folder)
    said = json.loads(run("node", "all_calls.mjs", url, KEY, cwd=folder))
    item = {
        **{"ItemId": "ts:1", "IsHidden": False, "Categories": ["d", "e"], "Timestamp": "2022-08-07T00:26:46Z"},
        **{"Labels": ["a", "b"], "Comment": "comment"},
    }
    user = {"UserId": "ts", "Labels": ["a", "b", "c"], "Subscribe": None, "Comment": "comment"}
    like, read, other = (
        {**feedback("ts", item_id, type_), "Timestamp": item["Timestamp"]}
        for type_, item_id in (("like", "ts:1"), ("read", "ts:1"), ("read", "ts:2"))
    )
    scores = [{"Id": "ts:1", "Score": pytest.approx(0.6931, abs=1e-4)}, {"Id": "ts:2", "Score": 0}]
    newest = 1659832006
    third, delayed = {"Id": "ts:3", "Score": 0}, said.pop("getWrittenBack")
    assert (delayed["ItemId"], delayed["FeedbackType"]) == ("ts:3", "read")
    assert said == {
        **{"insertUser": 1, "getUser": user, "updateUser": 1, "getUpdatedUser": {**user, "Comment": "other"}},
        "insertUsers": 2,
        "getUsers": {"Cursor": said["getUsers"]["Cursor"], "Users": [{**user, "Comment": "other"}, bare("ts2")]},
        "getMoreUsers": {"Cursor": "", "Users": [bare("ts3")]},
        **{"upsertItem": 1, "getItem": item, "updateItem": 1, "getUpdatedItem": {**item, "IsHidden": True}},
        **{"showItem": 1, "insertItemCategory": 1, "getItemInCategory": {**item, "Categories": ["d", "e", "f"]}},
        **{"deleteItemCategory": 1, "getItemOutOfCategory": item, "upsertItems": 2},
        "getItems": {"Cursor": said["getItems"]["Cursor"], "Items": [item, {**item, "ItemId": "ts:2"}]},
        "getMoreItems": {"Cursor": "", "Items": [{**item, "ItemId": "ts:3", "Categories": ["g"]}]},
        **{"insertFeedbacks": 3, "upsertFeedbacks": 1, "getFeedback": like, "getNoFeedback": {}},
        "getFeedbacks": {"Cursor": "", "Feedback": [like, read, other]},
        "getFeedbacksByType": {"Cursor": "", "Feedback": [like]},
        **{"getItemFeedback": [like, read], "getItemFeedbackByType": [read]},
        **{"getUserFeedback": [like, read, other], "getUserFeedbackByType": [read, other]},
        **{"getRecommend": ["ts:3"], "getRecommendInCategory": ["ts:3"]},
        **{"getPopular": [*scores, third], "getPopularInCategory": [third]},
        "getLatest": [{"Id": f"ts:{number}", "Score": newest} for number in (1, 2, 3)],
        "getLatestInCategory": [{"Id": "ts:3", "Score": newest}],
        **{"getSessionRecommend": [scores[1], third], "getSessionRecommendInCategory": [third]},
        "getItemNeighbors": [{"Id": "ts:2", "Score": 1}, {"Id": "ts:3", "Score": pytest.approx(0.4)}],
        "getItemNeighborsInCategory": [{"Id": "ts:2", "Score": 1}],
        **{"getUserNeighbors": [], "writeBack": ["ts:3"]},
        **{"deleteFeedback": {"RowAffected": 1}, "deleteUser": 1, "deleteItem": 1},
        "getDeletedUser": [True, 404, "ts: user not found"],
        "getDeletedItem": [True, 404, "ts:1: item not found"],
        "badItem": [True, 400, said["badItem"][2]],
    }


def bare(user_id: str) -> dict[str, Any]:
    return {"UserId": user_id, "Labels": None, "Subscribe": None, "Comment": ""}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ, capture_output=True, text=True, timeout=240, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- a site's life


def generated_rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Items of two categories, and people who like mostly one of them."""
    draw = random.Random(0)
    items = [
        {"ItemId": f"i:{number}", "Categories": [f"k{number % 2}"], "Timestamp": TIME, "Comment": f"No {number}"}
        for number in range(30)
    ]
    rows = [
        feedback(f"u{user}", f"i:{2 * draw.randrange(15) + (user % 2 if draw.random() < 0.9 else 1 - user % 2)}")
        for user in range(60)
        for _ in range(8)
    ]
    return items, rows


def canvas_rows(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The data set of that name."""

    def read(name: str) -> list[dict[str, str]]:
        with gzip.open(folder / name, "rt", newline="") as file:
            return list(csv.DictReader(file))

    items = [
        {"ItemId": f"c:{row['item_id']}", "Categories": [row["discipline"]] if row["discipline"] else None}
        for row in read("items.csv.gz")
    ]
    rows = [feedback(f"u{row['user_id']}", f"c:{row['item_id']}") for row in read("interactions_train.csv.gz")]
    return items, rows


@pytest.mark.parametrize("data", ["generated", "canvas-network"])
def test_life_of_a_site(url: str, data: str, data_folder: Path) -> None:
    folder = data_folder / data
    if data != "generated" and not folder.exists():
        pytest.skip(f"{folder} is not there")
    items, rows = generated_rows() if data == "generated" else canvas_rows(folder)
    client = Gorse(url, KEY, timeout=60)

    users = sorted({row["UserId"] for row in rows})
    assert client.insert_users([{"UserId": user} for user in users]) == {"RowAffected": len(users)}
    assert sum(client.insert_item(item)["RowAffected"] for item in items) == len(items)
    pairs = {(row["UserId"], row["ItemId"]) for row in rows}
    for start in range(0, len(rows), 10_000):
        client.insert_feedbacks(rows[start : start + 10_000])

    with httpx.Client(base_url=url, timeout=60) as ours:

        def listed(path: str, **params: Any) -> list[tuple[str, float]]:
            answer = ours.get(path, params=params).raise_for_status().json()
            return [(one["course_id"], one["score"]) for one in answer["items"]]

        assert ours.get("/statistics").json()["interactions"] == len(pairs)
        train(ours)
        category = next(item["Categories"][0] for item in items if item["Categories"])
        for user in users[:20]:
            own = ours.get(f"/recommendations/{user}").json()
            assert own["source"] == "model"
            assert scored(client.get_recommend(user)) == [(one["course_id"], one["score"]) for one in own["items"]]
            assert not {(user, one.id) for one in client.get_recommend(user, n=500)} & pairs
            assert scored(client.get_recommend(user, category, n=5, offset=1)) == listed(
                f"/recommendations/{user}", category=category, n=5, offset=1
            )
        some = [feedback("guest", item["ItemId"]) for item in items[:3]]
        session = client.session_recommend(some, n=7)
        body = {"course_ids": [item["ItemId"] for item in items[:3]], "n": 7}
        wanted = ours.post("/recommendations", json=body).json()
        assert wanted["source"] == "fold_in"
        assert [(one["Id"], one["Score"]) for one in session] == [
            (one["course_id"], one["score"]) for one in wanted["items"]
        ]
        item = items[0]["ItemId"]
        near = client.get_neighbors(item, n=6)
        assert [(one["Id"], one["Score"]) for one in near] == listed(f"/courses/{item}/similar", n=6)
        assert [one["Id"] for one in client.get_neighbors(item, n=4, offset=2)] == [one["Id"] for one in near[2:]]

        user = users[0]
        hidden = client.get_recommend(user)[0].id
        assert client.update_item(hidden, is_hidden=True) == {"RowAffected": 1}
        assert hidden not in [one.id for one in client.get_recommend(user, n=500)]
        assert scored(client.get_recommend(user)) == listed(f"/recommendations/{user}")
        taken = client.get_recommend(user)[0].id
        client.insert_feedback("read", user, taken, TIME)
        assert taken not in [one.id for one in client.get_recommend(user, n=500)]

        assert client.delete_user(user) == {"RowAffected": 1}
        assert client.list_feedbacks("like", user) == []
        assert ours.get(f"/recommendations/{user}").json()["source"] == "popular"
        assert scored(client.get_recommend(user)) == listed(f"/recommendations/{user}") == listed("/popular")


def scored(items: list[Any]) -> list[tuple[str, float]]:
    return [(item.id, item.score) for item in items]


def train(ours: httpx.Client) -> None:
    """A model, served."""
    asked = ours.post("/training/runs")
    assert asked.status_code == 202, asked.text
    until = time.monotonic() + 200
    while (run := ours.get(asked.headers["location"]).json())["ended_at"] is None:
        assert time.monotonic() < until, run
        time.sleep(0.1)
    assert run["status"] == "succeeded", run
    while ours.get("/popular").json()["model_id"] != run["model_id"]:
        time.sleep(0.05)
