"""The whole ring: rows in, a trained model, recommendations out."""

import math

import httpx
import pytest

from app.settings import Settings
from tests.support.service import api, train, worker

USERS = {
    "u1": [1.0, 0.0, 0.0], "u2": [0.0, 1.0, 0.0], "u3": [0.0, 0.0, 1.0], "u4": [1.0, 1.0, 0.0], "u5": [0.0, 1.0, 1.0],
}  # fmt: skip
COURSES = {f"c{i}": [float(i % 3 == 0), float(i % 3 == 1), float(i % 3 == 2)] for i in range(10)}
TAKEN = [
    ("u1", "c0"), ("u1", "c3"), ("u1", "c6"), ("u2", "c1"), ("u2", "c4"), ("u3", "c2"), ("u3", "c5"), ("u3", "c8"),
    ("u4", "c0"), ("u4", "c1"), ("u5", "c4"), ("u5", "c5"),
]  # fmt: skip


async def load_toy(client: httpx.AsyncClient) -> None:
    await client.post("/users", json=[{"user_id": id_, "features": f} for id_, f in USERS.items()])
    await client.post("/courses", json=[{"course_id": id_, "features": f} for id_, f in COURSES.items()])
    await client.post("/interactions", json=[{"user_id": user, "course_id": course} for user, course in TAKEN])


@pytest.fixture
def toy_settings(settings: Settings) -> Settings:
    recipe = {"embedding_size": 3, "n_layers": 2, "combination": "sum", "loss": "bpr", "epochs": 50}
    return settings.model_copy(update={**recipe, "learning_rate": 0.01})


async def test_the_toy_of_the_notebook(toy_settings: Settings) -> None:
    async with api(toy_settings) as client, worker(toy_settings):
        await load_toy(client)
        run = await train(client)
        assert (run["status"], run["error"]) == ("succeeded", None)
        assert len(run["losses"]) == 50
        assert sum(run["losses"][-5:]) < sum(run["losses"][:5])
        for user in USERS:
            answer = (await client.get(f"/recommendations/{user}?n=10")).json()
            assert answer["source"] == "model"
            unseen = set(COURSES) - {course for taker, course in TAKEN if taker == user}
            assert {item["course_id"] for item in answer["items"]} == unseen
            scores = [item["score"] for item in answer["items"]]
            assert scores == sorted(scores, reverse=True)
            shares = [math.exp(score - scores[0]) for score in scores]
            wanted = [100 * share / sum(shares) for share in shares]
            assert [item["percent"] for item in answer["items"]] == pytest.approx(wanted)


async def test_a_course_taken_is_gone_at_once_and_may_come_back(toy_settings: Settings) -> None:
    async with api(toy_settings) as client, api(toy_settings) as other, worker(toy_settings):
        await load_toy(client)
        await train(client)

        async def listed() -> set[str]:
            answer = (await client.get("/recommendations/u2?n=10")).json()
            return {item["course_id"] for item in answer["items"]}

        for _ in range(20):
            assert "c9" in await listed()
            await client.post("/interactions", json={"user_id": "u2", "course_id": "c9"})
            assert "c9" not in await listed()
            await client.delete("/interactions?user_id=u2&course_id=c9")
        await client.patch("/courses/c9", json={"available": False})
        assert "c9" not in await listed()
        before = (await other.get("/recommendations/u2?n=10")).headers["etag"]
        assert before
        assert (await client.get("/recommendations/u2")).headers["cache-control"] == "private"
        tag = (await client.get("/recommendations/u2")).headers["etag"]
        assert (await client.get("/recommendations/u2", headers={"If-None-Match": tag})).status_code == 304


@pytest.mark.parametrize(
    ("rows", "slug"),
    [([], "nothing_to_learn"), ([("u", "c")], "nothing_to_learn"), ([("u", "a"), ("u", "b")], "nothing_to_learn")],
)
async def test_too_little_to_learn_ends_in_a_clear_status(
    settings: Settings, rows: list[tuple[str, str]], slug: str
) -> None:
    async with api(settings) as client, worker(settings):
        if rows:
            await client.post("/interactions", json=[{"user_id": user, "course_id": course} for user, course in rows])
        run = await train(client)
        assert (run["status"], run["error"]["type"]) == ("failed", slug)
        answer = await client.get("/recommendations/u")
        assert (answer.status_code, answer.json()["source"], answer.json()["items"]) == (200, "popular", [])


async def test_before_the_first_model_the_popular_ones_are_served(client: httpx.AsyncClient) -> None:
    rows = [("a", "x"), ("b", "x"), ("c", "x"), ("a", "y"), ("b", "y"), ("c", "z")]
    await client.post("/interactions", json=[{"user_id": user, "course_id": course} for user, course in rows])
    answer = (await client.get("/recommendations/stranger?n=2")).json()
    assert (answer["model_id"], answer["source"]) == (None, "popular")
    assert [item["course_id"] for item in answer["items"]] == ["x", "y"]
    assert [i["course_id"] for i in (await client.get("/recommendations/a")).json()["items"]] == ["z"]
    assert [i["course_id"] for i in (await client.get("/popular")).json()["items"]] == ["x", "y", "z"]


async def test_two_workers_one_trains_and_runs_can_be_watched_and_cancelled(settings: Settings) -> None:
    async with api(settings) as client, worker(settings), worker(settings):
        await load_toy(client)
        first = await client.post("/training/runs")
        assert first.status_code == 202
        refused = await client.post("/training/runs")
        if refused.status_code == 409:
            assert refused.json()["run_id"] == first.json()["run_id"]
        events = await client.get(f"{first.headers['location']}/events")
        assert events.headers["content-type"].startswith("text/event-stream")
        assert '"status":"succeeded"' in events.text
        assert (await client.post(f"{first.headers['location']}/cancel")).status_code == 409
        runs = (await client.get("/training/runs")).json()["items"]
        assert runs[-1]["run_id"] == first.json()["run_id"]
        model = (await client.get("/models/current")).json()
        assert model["counts"] == {"users": 5, "courses": 10, "interactions": 12}
        assert None not in model["config"].values()  # else nobody could make the model again
        assert model["config"] == runs[-1]["config"]
        assert (await client.post(f"/models/{model['model_id']}/activate")).json()["current"] is True


async def test_the_openapi_document_is_whole(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path in document["paths"].values():
        for call in path.values():
            assert call["summary"]
            assert call["tags"]
    parameters = document["paths"]["/recommendations/{user_id}"]["get"]["parameters"]
    assert {"n", "offset", "category", "exclude", "percent_over"} <= {p["name"] for p in parameters}
    assert "Problem" in document["components"]["schemas"]


async def test_a_user_met_after_training_is_folded_in(settings: Settings) -> None:
    async with api(settings) as client, worker(settings):
        await load_toy(client)
        await train(client)
        await client.post("/interactions", json={"user_id": "newcomer", "course_id": "c0"})
        answer = (await client.get("/recommendations/newcomer?n=10")).json()
        assert answer["source"] == "fold_in"
        assert {item["course_id"] for item in answer["items"]} == set(COURSES) - {"c0"}
        assert (await client.get("/recommendations/stranger")).json()["source"] == "popular"


@pytest.mark.parametrize(("change", "slug"), [({"learning_rate": 1e30}, "diverged"), ({"l2_weight": 1e4}, "collapsed")])
async def test_a_run_that_fails_leaves_the_old_model(settings: Settings, change: dict[str, float], slug: str) -> None:
    async with api(settings) as client:
        await load_toy(client)
        async with worker(settings):
            model_id = (await train(client))["model_id"]
        async with worker(settings.model_copy(update=change)):
            run = await train(client)
        assert (run["status"], run["error"]["type"], run["model_id"]) == ("failed", slug, None)
        assert (await client.get("/models/current")).json()["model_id"] == model_id
        assert (await client.get("/recommendations/u1")).json()["model_id"] == model_id


async def test_with_a_half_life_what_is_old_counts_less(toy_settings: Settings) -> None:
    """The model says with what it was made, and what comes after it is folded in."""
    settings = toy_settings.model_copy(update={"half_life_days": 30.0})
    times = {"c0": "2020-01-01T00:00:00Z", "c1": "2024-01-01T00:00:00Z"}
    async with api(settings) as client, worker(settings):
        await load_toy(client)
        rows = [{"user_id": "u4", "course_id": course, "timestamp": time} for course, time in times.items()]
        await client.post("/interactions", json=rows)
        run = await train(client)
        assert (run["status"], run["config"]["half_life_days"]) == ("succeeded", 30.0)
        assert (await client.get("/models/current")).json()["config"] == run["config"]
        await client.post("/interactions", json={"user_id": "u4", "course_id": "c9"})
        assert (await client.get("/recommendations/u4")).json()["source"] == "model"


async def test_what_is_popular_may_be_what_was_taken_lately(toy_settings: Settings) -> None:
    """Before the first model and after it."""
    settings = toy_settings.model_copy(update={"popular_half_life_days": 30.0})
    old = [{"user_id": f"u{n}", "course_id": "once", "timestamp": "2020-01-01T00:00:00Z"} for n in range(9)]
    new = [{"user_id": f"u{n}", "course_id": "lately"} for n in range(2)]
    async with api(settings) as client, worker(settings):
        await load_toy(client)
        await client.post("/interactions", json=old + new)
        for _ in range(2):
            ids = [item["course_id"] for item in (await client.get("/popular?n=100")).json()["items"]]
            assert ids.index("lately") < ids.index("once")
            await train(client)


async def test_what_words_say_places_new_courses_and_people(settings: Settings) -> None:
    """Half the people take law, half take art.  Nobody has taken the first two courses, and two came after training."""
    labels = ("law", "art")
    courses = [
        {"course_id": f"{label}-{n:02}", "title": f"{label} number {n}", "tags": [label]}
        for label in labels
        for n in range(20)
    ]
    people = [{"user_id": f"{label}-{n:02}", "interests": [label]} for label in labels for n in range(30)]
    taken = [
        {"user_id": f"{label}-{n:02}", "course_id": f"{label}-{course:02}"}
        for label in labels
        for n in range(1, 30)
        for course in range(1, 20)
        if (n + course) % 3
    ]
    async with api(settings) as client, worker(settings):
        for path, rows in (("/courses", courses), ("/users", people), ("/interactions", taken)):
            assert (await client.post(path, json=rows)).status_code == 200
        run = await train(client)
        assert (run["status"], run["error"]) == ("succeeded", None)
        await client.post("/courses", json=[{"course_id": f"new-{label}", "tags": [label]} for label in labels])

        async def scores(user_id: str) -> dict[str, float]:
            answer = (await client.get(f"/recommendations/{user_id}?n=100&exclude_seen=false")).json()
            assert answer["source"] == ("content" if user_id.endswith("00") else "model")
            return {item["course_id"]: item["score"] for item in answer["items"]}

        for own, other in (labels, labels[::-1]):
            for number in ("00", "01"):
                found = await scores(f"{own}-{number}")
                assert found[f"{own}-00"] > found[f"{other}-00"]
                assert found[f"new-{own}"] > found[f"new-{other}"]
                assert found[f"{own}-01"] > found[f"{other}-01"]


async def test_who_and_what_the_model_has_not_met_is_ranked_by_content(settings: Settings) -> None:
    async with api(settings) as client, worker(settings):
        courses = [{"course_id": f"c{i:02}", "tags": [("art", "law")[i % 2]], "level": "easy"} for i in range(20)]
        users = [{"user_id": f"u{i:02}", "features": [float(i % 2), 1.0 - i % 2]} for i in range(60)]
        taken = [
            {"user_id": f"u{u:02}", "course_id": f"c{c:02}"}
            for u in range(60)
            for c in range(20)
            if (u + c) % 2 == 0 and (3 * u + 7 * c) % 5 < 3
        ]
        for path, rows in (("/courses", courses), ("/users", users), ("/interactions", taken)):
            assert (await client.post(path, json=rows)).json()["rejected"] == []
        run = await train(client)
        assert (run["status"], run["error"]) == ("succeeded", None)
        await client.put("/courses/new-art", json={"tags": ["art"], "level": "easy"})
        await client.put("/users/reader", json={"features": [1.0, 0.0]})
        await client.put("/users/artist", json={"interests": ["art"]})
        known = (await client.get("/recommendations/u00?n=50&explain=true")).json()
        ranks = {item["course_id"]: item["rank"] for item in known["items"]}
        assert (known["source"], ranks["new-art"] < 15) == ("model", True)
        for item in known["items"]:
            assert sum(part["contribution"] for part in item["because"]) == pytest.approx(item["score"], abs=1e-5)
        for user, odd in (("reader", 1), ("artist", 0)):
            body = (await client.get(f"/recommendations/{user}")).json()
            assert body["source"] == "content"
            kinds = [0 if item["course_id"] == "new-art" else int(item["course_id"][1:]) % 2 for item in body["items"]]
            assert kinds.count(odd) >= 8
