"""Gorse's calls as clients send them that are not at hand: Go, Java, Rust, PHP, .NET, curl."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.application import create_application
from app.domain.api_keys import KeyScope
from app.settings import Settings
from app.store.api_keys import KeyStore
from app.store.client import Database
from tests.support.published import publish_model, served
from tests.support.service import api, with_state

TIME = "2026-01-15T10:00:00Z"
ZERO = "0001-01-01T00:00:00Z"


async def ok(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> Any:
    answer = await client.request(method, f"/api{path}", **options)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def refused(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> tuple[int, str]:
    answer = await client.request(method, f"/api{path}", **options)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8", answer.text
    return answer.status_code, answer.text


def like(user: str, item: str, type_: str = "like", **more: Any) -> dict[str, Any]:
    return {"FeedbackType": type_, "UserId": user, "ItemId": item, "Timestamp": TIME, **more}


# --- bodies and headers


@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_call_takes_a_slash_at_its_end(client: httpx.AsyncClient, slash: str) -> None:
    assert await ok(client, "POST", f"/user{slash}", json={"UserId": "u"}) == {"RowAffected": 1}
    assert await ok(client, "POST", f"/users{slash}", json=[{"UserId": "v"}]) == {"RowAffected": 1}
    assert await ok(client, "POST", f"/item{slash}", json={"ItemId": "i", "Categories": ["c"]}) == {"RowAffected": 1}
    assert await ok(client, "POST", f"/items{slash}", json=[{"ItemId": "j", "Categories": ["c"]}]) == {"RowAffected": 1}
    assert await ok(client, "PUT", f"/item/i/category/d{slash}") == {"RowAffected": 1}
    assert (await ok(client, "GET", f"/item/i{slash}"))["Categories"] == ["c", "d"]
    assert await ok(client, "DELETE", f"/item/i/category/d{slash}") == {"RowAffected": 1}
    assert await ok(client, "PATCH", f"/item/i{slash}", json={"Comment": "T"}) == {"RowAffected": 1}
    assert await ok(client, "PATCH", f"/user/u{slash}", json={"Comment": "T"}) == {"RowAffected": 1}
    assert (await ok(client, "GET", f"/user/u{slash}"))["Comment"] == "T"
    for method in ("POST", "PUT"):
        assert await ok(client, method, f"/feedback{slash}", json=[like("u", "i")]) == {"RowAffected": 1}
    one = like("u", "i", Value=0.0, Comment="")
    for path in ("/feedback", "/feedback/like"):
        assert await ok(client, "GET", f"{path}{slash}") == {"Cursor": "", "Feedback": [one]}
    for path in (
        "/feedback/u/i",
        "/user/u/feedback",
        "/user/u/feedback/like",
        "/item/i/feedback",
        "/item/i/feedback/like",
    ):
        assert await ok(client, "GET", f"{path}{slash}") == [one]
    assert await ok(client, "GET", f"/feedback/like/u/i{slash}") == one
    assert [len((await ok(client, "GET", f"/{kind}{slash}"))[kind.title()]) for kind in ("users", "items")] == [2, 2]
    for path in ("/recommend/u", "/recommend/u/c"):
        assert await ok(client, "GET", f"{path}{slash}") == ["j"]
    scores = {"Id": "j", "Score": 0.0}
    for path in ("/collaborative-filtering/u", "/collaborative-filtering/u/c"):
        assert await ok(client, "GET", f"{path}{slash}") == [scores]
    for path in ("/session/recommend", "/session/recommend/c"):
        assert await ok(client, "POST", f"{path}{slash}", json=[like("x", "i")]) == [scores]
    for path in (
        "/popular",
        "/popular/c",
        "/latest",
        "/latest/c",
        "/non-personalized/popular",
        "/non-personalized/latest",
    ):
        assert {one["Id"] for one in await ok(client, "GET", f"{path}{slash}")} == {"i", "j"}
    for path in ("/item/i/neighbors", "/item/i/neighbors/c", "/item-to-item/any/i"):
        assert [one["Id"] for one in await ok(client, "GET", f"{path}{slash}")] == ["j"]
    for path in ("/user/u/neighbors", "/user-to-user/any/u"):
        assert await ok(client, "GET", f"{path}{slash}") == []
    for path in ("/health/live", "/health/ready"):
        assert (await ok(client, "GET", f"{path}{slash}"))["Ready"] is True
    assert await ok(client, "DELETE", f"/feedback/like/u/i{slash}") == {"RowAffected": 1}
    assert await ok(client, "DELETE", f"/feedback/u/i{slash}") == {"RowAffected": 0}
    assert await ok(client, "DELETE", f"/item/i{slash}") == {"RowAffected": 1}
    assert await ok(client, "DELETE", f"/user/u{slash}") == {"RowAffected": 1}


@pytest.mark.parametrize(
    "type_",
    ["application/json", "application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded", ""],
)
async def test_the_content_type_does_not_matter(client: httpx.AsyncClient, type_: str) -> None:
    headers = {"Content-Type": type_} if type_ else {}
    body = b'[{"FeedbackType": "like", "UserId": "u", "ItemId": "i"}]'
    assert await ok(client, "POST", "/feedback", content=body, headers=headers) == {"RowAffected": 1}
    assert await ok(client, "PUT", "/item/i/category/c", headers=headers) == {"RowAffected": 1}
    # The Go client sends null as the body of every GET and DELETE.
    assert len(await ok(client, "GET", "/user/u/feedback", content=b"null", headers=headers)) == 1
    assert await ok(client, "DELETE", "/feedback/u/i", content=b"null", headers=headers) == {"RowAffected": 1}


async def test_rows_of_clients_in_typed_languages(client: httpx.AsyncClient) -> None:
    """Nulls for empty arrays, Go's time of nothing, fields that another version knows, keys in another case."""
    go = {"ItemId": "go", "IsHidden": False, "Labels": None, "Categories": None, "Timestamp": ZERO, "Comment": ""}
    dotnet = {"itemId": "net", "TimeStamp": "2026-01-15T10:00:00.1234567Z", "IsHidden": True, "Labels": [], "Extra": {}}
    assert await ok(client, "POST", "/items", json=[go, dotnet, {"ItemId": "bare"}]) == {"RowAffected": 3}
    page = await ok(client, "GET", "/items")
    bare = {"IsHidden": False, "Categories": [], "Timestamp": ZERO, "Labels": None, "Comment": ""}
    assert page == {
        "Cursor": "",
        "Items": [
            {"ItemId": "bare", **bare},
            {"ItemId": "go", **bare},
            {"ItemId": "net", **bare, "IsHidden": True, "Timestamp": "2026-01-15T10:00:00.123Z", "Labels": []},
        ],
    }
    assert await ok(client, "POST", "/user", json={"UserId": "go", "Labels": None, "Subscribe": None}) == {
        "RowAffected": 1
    }
    assert await ok(client, "GET", "/user/go") == {"UserId": "go", "Labels": None, "Subscribe": None, "Comment": ""}
    for nothing in (b"null", b"[]"):
        for method, path in (("POST", "/users"), ("POST", "/items"), ("POST", "/feedback"), ("PUT", "/feedback")):
            assert await ok(client, method, path, content=nothing) == {"RowAffected": 0}


async def test_a_patch_keeps_what_is_null_or_absent(client: httpx.AsyncClient) -> None:
    item = {
        **{"ItemId": "i", "IsHidden": True, "Categories": ["c"], "Timestamp": TIME, "Labels": {"a": {"b": 1}}},
        "Comment": "T",
    }
    await ok(client, "POST", "/item", json=item)
    nothing = dict.fromkeys(item)
    for body in ({}, nothing, {"Unknown": 1}):
        assert await ok(client, "PATCH", "/item/i", json=body) == {"RowAffected": 1}
        assert await ok(client, "GET", "/item/i") == item
    await ok(client, "PATCH", "/item/i", json={**nothing, "Labels": {"c": 2}, "Categories": []})
    assert await ok(client, "GET", "/item/i") == {**item, "Labels": {"c": 2}, "Categories": []}
    user = {"UserId": "u", "Labels": ["a"], "Subscribe": ["s"], "Comment": "T"}
    await ok(client, "POST", "/user", json=user)
    await ok(client, "PATCH", "/user/u", json={"UserId": "u", "Labels": None, "Subscribe": None, "Comment": "V"})
    assert await ok(client, "GET", "/user/u") == {**user, "Comment": "V"}


async def test_ids_and_categories_as_they_stand_in_paths(client: httpx.AsyncClient) -> None:
    for id_ in ("vuejs:vue", "a b", "ä€", "50%", "a+b", "?#&"):
        await ok(client, "POST", "/items", json=[{"ItemId": id_, "Categories": ["AI/ML", "x y"]}])
        quoted = httpx.URL("/", params={"q": id_}).query.decode()[2:].replace("+", "%20")
        assert (await ok(client, "GET", f"/item/{quoted}"))["ItemId"] == id_
        assert id_ in await ok(client, "GET", "/recommend/u/AI%2FML")
        assert id_ in await ok(client, "GET", "/recommend/u?category=AI/ML")
        assert id_ in [one["Id"] for one in await ok(client, "GET", "/popular/x%20y/")]
        assert await ok(client, "GET", "/recommend/u/line%0Abreak%0A") == []
        assert await ok(client, "PUT", f"/item/{quoted}/category/new%2Fone/") == {"RowAffected": 1}
        assert (await ok(client, "GET", f"/item/{quoted}"))["Categories"] == ["AI/ML", "x y", "new/one"]
        assert await ok(client, "DELETE", f"/item/{quoted}/category/new%2Fone") == {"RowAffected": 1}
        assert await ok(client, "DELETE", f"/item/{quoted}") == {"RowAffected": 1}
    assert (await client.get("/api/recommend/u/AI/ML")).status_code == 404
    assert (await client.get("/api/recommend/a%2Fb")).status_code == 404  # and not category b for a


# --- what is refused


@pytest.mark.parametrize(
    ("method", "path", "body", "wanted"),
    [
        ("POST", "/feedback", b"", "the body is empty"),
        ("POST", "/feedback", b"{", "the body is not JSON"),
        ("POST", "/feedback", b"{}", "the body is an object; wanted an array"),
        ("POST", "/feedback", b'[{"FeedbackType":"a","UserId":"u"}]', "row 0: ItemId is missing"),
        ("POST", "/feedback", b'[{"FeedbackType":"a","UserId":1,"ItemId":"i"}]', "row 0: UserId has value 1"),
        ("PUT", "/feedback", b'[{"FeedbackType":"a","UserId":"u","ItemId":"a/b"}]', "row 0: ItemId has value 'a/b'"),
        (
            "POST",
            "/feedback",
            b'[{"FeedbackType":"a","UserId":"u","ItemId":"i","Timestamp":"soon"}]',
            "row 0: Timestamp has value 'soon'; wanted a time such as 2022-02-24T10:00:00Z",
        ),
        ("POST", "/items", b'[{"ItemId":"a"},{"ItemId":"b","Categories":"c"}]', "row 1: Categories has value 'c'"),
        ("POST", "/item", b"[]", "body: the row has value []; wanted an object"),
        ("POST", "/user", b'{"UserId":""}', "body: UserId has value ''"),
        ("POST", "/user", b'{"UserId":"u","Labels":{"n":1e400}}', "the body is not JSON"),
        ("PATCH", "/item/i", b'{"IsHidden":"maybe"}', "body: IsHidden has value 'maybe'"),
        ("GET", "/recommend/u?n=ten", b"", "query.n has value 'ten'"),
        ("GET", "/recommend/u?n=-1", b"", "query.n has value '-1'"),
        ("GET", "/recommend/u?write-back-type=read&write-back-delay=soon", b"", "wanted a duration such as 10m"),
        ("GET", "/recommend/u?write-back-type=read&write-back-delay=1e9h", b"", "wanted a duration such as 10m"),
        ("GET", f"/recommend/u?write-back-delay={'9' * 400}h", b"", "query.write-back-delay has value"),
        ("GET", "/recommend/u?write-back-type=a/b", b"", "query.write-back-type has value 'a/b'"),
        ("GET", f"/recommend/u?category={'x' * 129}", b"", "query.category.0 has value"),
        ("GET", "/items?n=0", b"", "query.n has value '0'"),
        ("GET", "/items?cursor=%21", b"", "query.cursor has value '!'"),
        ("GET", f"/user/{'x' * 129}", b"", "path.user_id has value"),
    ],
)
async def test_what_is_wrong_is_said_in_plain_text(
    client: httpx.AsyncClient, method: str, path: str, body: bytes, wanted: str
) -> None:
    await client.put("/courses/i", json={})
    status, text = await refused(client, method, path, content=body)
    assert status == 400
    assert wanted in text


async def test_nothing_of_a_request_with_a_bad_row_is_written(client: httpx.AsyncClient) -> None:
    assert (await refused(client, "POST", "/feedback", json=[like("u", "i"), like("u", "")]))[0] == 400
    assert (await refused(client, "POST", "/items", json=[{"ItemId": "i"}, {"ItemId": None}]))[0] == 400
    assert await ok(client, "GET", "/feedback") == {"Cursor": "", "Feedback": []}
    assert await ok(client, "GET", "/items") == {"Cursor": "", "Items": []}


async def test_what_is_not_there(client: httpx.AsyncClient) -> None:
    for method in ("GET", "PATCH"):
        assert await refused(client, method, "/user/u", content=b"{}") == (404, "u: user not found")
        assert await refused(client, method, "/item/i", content=b"{}") == (404, "i: item not found")
    for method in ("PUT", "DELETE"):
        assert await refused(client, method, "/item/i/category/c") == (404, "i: item not found")
    assert await ok(client, "GET", "/feedback/like/u/i") == {}
    for path in ("/feedback/u/i", "/user/u/feedback", "/item/i/feedback", "/item/i/neighbors", "/user/u/neighbors"):
        assert await ok(client, "GET", path) == []
    for path in ("/user/u", "/item/i", "/feedback/u/i", "/feedback/like/u/i"):
        assert await ok(client, "DELETE", path) == {"RowAffected": 0}
    assert await refused(client, "POST", "/recommend/u") == (405, "POST is not done on this path; it takes GET, HEAD")


async def test_a_body_that_is_too_large(settings: Settings) -> None:
    async with api(settings.model_copy(update={"body_limit_bytes": 100})) as client:
        status, text = await refused(client, "POST", "/feedback", json=[like("u", "i")] * 2)
        assert status == 413
        assert "more than 100 bytes" in text


# --- feedback


async def test_post_updates_and_put_overwrites(client: httpx.AsyncClient) -> None:
    later, earlier = "2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"
    assert await ok(client, "POST", "/feedback", json=[like("u", "i", Value=2)] * 2) == {"RowAffected": 1}
    assert (await ok(client, "GET", "/feedback/like/u/i"))["Value"] == 2  # and not 4
    newer = like("u", "i", Value=3, Comment="again") | {"Timestamp": later}
    assert await ok(client, "POST", "/feedback", json=[newer]) == {"RowAffected": 1}
    older = like("u", "i", Value=1) | {"Timestamp": earlier}
    assert await ok(client, "POST", "/feedback", json=[older]) == {"RowAffected": 0}
    assert await ok(client, "GET", "/feedback/like/u/i") == newer
    assert await ok(client, "PUT", "/feedback", json=[older]) == {"RowAffected": 1}
    assert await ok(client, "GET", "/feedback/like/u/i") == {**older, "Comment": "again"}
    assert await ok(client, "PUT", "/feedback", json=[newer, older | {"Value": 9}]) == {"RowAffected": 1}
    assert (await ok(client, "GET", "/feedback/like/u/i"))["Value"] == 9


async def test_our_api_has_all_of_it(client: httpx.AsyncClient) -> None:
    await ok(client, "POST", "/feedback", json=[like("u", "i", "star", Value=2.5, Comment="good")])
    (row,) = (await client.get("/interactions")).json()["items"]
    assert {name: row[name] for name in ("user_id", "course_id", "type", "value", "timestamp", "comment")} == {
        **{"user_id": "u", "course_id": "i", "type": "star", "value": 2.5, "timestamp": TIME, "comment": "good"}
    }
    await ok(client, "PATCH", "/user/u", json={"Labels": ["sql"], "Comment": "Una"})
    user = (await client.get("/users/u")).json()
    assert user["interests"] == {"sql": 1.0}
    assert user["attributes"] == {"gorse": {"Labels": ["sql"], "Comment": "Una"}}
    await ok(client, "PATCH", "/item/i", json={"IsHidden": True, "Labels": {"tags": ["sql"], "features": [1, 2]}})
    course = (await client.get("/courses/i")).json()
    assert (course["available"], course["tags"], course["features"]) == (False, ["sql"], [1.0, 2.0])


async def test_rows_and_lists_are_counted(client: httpx.AsyncClient) -> None:
    await ok(client, "POST", "/items", json=[{"ItemId": "i"}, {"ItemId": "j"}])
    await ok(client, "POST", "/feedback", json=[like("u", "i")] * 3)
    await ok(client, "GET", "/recommend/u")
    lines = (await client.get("/metrics")).text.splitlines()
    counts = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
    (rows,) = {
        name.partition("{")[0]
        for name in counts
        if name.endswith('{kind="courses",outcome="accepted"}') and "_total" in name
    }
    assert counts[f'{rows}{{kind="courses",outcome="accepted"}}'] == 2
    assert counts[f'{rows}{{kind="interactions",outcome="accepted"}}'] == 3
    assert [value for name, value in counts.items() if "recommendations_total" in name and "popular" in name] == [1]


async def test_pages_hold_everything_once(client: httpx.AsyncClient) -> None:
    rows = [like(f"u{i}", f"i{j}", str(kind)) for i in range(4) for j in range(4) for kind in ("like", "read")]
    await ok(client, "POST", "/feedback", json=rows)
    for path, name, n_rows in (
        ("/feedback", "Feedback", 32),
        ("/feedback/read", "Feedback", 16),
        ("/users", "Users", 4),
    ):
        for parameter in ("cursor", "Cursor"):
            seen: list[Any] = []
            cursor = ""
            for _ in range(n_rows):
                page = await ok(client, "GET", path, params={"n": 3, parameter: cursor})
                seen += page[name]
                if not (cursor := page["Cursor"]):
                    break
            assert len(seen) == n_rows
            assert len({str(row) for row in seen}) == n_rows
    assert len((await ok(client, "GET", "/feedback"))["Feedback"]) == 10
    assert len((await ok(client, "GET", "/feedback?n="))["Feedback"]) == 10
    assert len((await ok(client, "GET", "/feedback?n=100000000&user-id=u0"))["Feedback"]) == 32


async def test_more_rows_than_are_written_at_once(client: httpx.AsyncClient) -> None:
    items: list[dict[str, Any]] = [{"ItemId": f"i{number:04}", "Categories": ["c"]} for number in range(4_500)]
    assert await ok(client, "POST", "/items", json=items) == {"RowAffected": 4_500}
    rows = [like("u", item["ItemId"]) for item in items] + [like(f"v{number}", "i0000") for number in range(11_000)]
    assert await ok(client, "POST", "/feedback", json=rows) == {"RowAffected": 15_500}
    assert len(await ok(client, "GET", "/user/u/feedback")) == 4_500
    of_item = await ok(client, "GET", "/item/i0000/feedback")
    assert len({row["UserId"] for row in of_item}) == len(of_item) == 11_001


# --- lists


async def test_every_type_counts_and_one_that_weighs_nothing_does_not(settings: Settings) -> None:
    weights = {"like": 1.0, "read": 0.0}
    async with api(settings.model_copy(update={"interaction_weights": weights})) as client:
        await ok(client, "POST", "/items", json=[{"ItemId": f"i{number}"} for number in range(4)])
        rows = [like("u", "i0", "star"), like("v", "i0"), like("u", "i1", "read"), like("v", "i1", "read")]
        assert await ok(client, "POST", "/feedback", json=[*rows, like("u", "i2")]) == {"RowAffected": 5}
        popular = await ok(client, "GET", "/popular")
        assert [one["Id"] for one in popular] == ["i0", "i2", "i1", "i3"]
        assert popular[2]["Score"] == popular[3]["Score"] == 0
        assert await ok(client, "GET", "/recommend/u") == ["i3"]
        assert [one["Id"] for one in await ok(client, "GET", "/popular?user-id=u")] == ["i3"]
        # Our own call still takes only what the setting names.
        answer = await client.post("/interactions", json={"user_id": "u", "course_id": "i3", "type": "star"})
        assert answer.status_code == 422


@pytest.fixture
async def model_id(client: httpx.AsyncClient, database: Database, mongodb_uri: str, tmp_path: Path) -> str:
    items = [
        {"ItemId": f"i{number}", "Categories": ["even" if number % 2 == 0 else "odd", "AI/ML"]} for number in range(12)
    ]
    await ok(client, "POST", "/items", json=items)
    pairs = [("ann", 1), ("ann", 2), ("bob", 2), ("bob", 3), ("cyd", 2), ("cyd", 5)]
    await ok(client, "POST", "/feedback", json=[like(user, f"i{number}") for user, number in pairs])
    model_id = await publish_model(database, mongodb_uri, tmp_path, propagated=True)
    await served(client, model_id)
    return model_id


async def own(client: httpx.AsyncClient, path: str, **params: Any) -> list[dict[str, Any]]:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    id_ = "user_id" if path.startswith("/users/") else "course_id"
    return [{"Id": item[id_], "Score": item["score"]} for item in answer.json()["items"]]


async def test_lists_are_those_of_our_own_api(client: httpx.AsyncClient, model_id: str) -> None:
    scores = {"X-API-Version": "2"}
    for user in ("ann", "bob", "nobody"):
        wanted = await own(client, f"/recommendations/{user}")
        assert wanted
        assert await ok(client, "GET", f"/recommend/{user}") == [one["Id"] for one in wanted]
        assert await ok(client, "GET", f"/recommend/{user}", headers=scores) == wanted
        assert await ok(client, "GET", f"/collaborative-filtering/{user}") == wanted
        odd = await own(client, f"/recommendations/{user}", category="odd", n=3, offset=1)
        assert len(odd) == 3
        assert await ok(client, "GET", f"/recommend/{user}/odd?n=3&offset=1", headers=scores) == odd
        assert await ok(client, "GET", f"/collaborative-filtering/{user}/odd/?n=3&offset=1") == odd
        both = await ok(client, "GET", f"/recommend/{user}?category=odd&category=even&n=500")
        assert both == [one["Id"] for one in await own(client, f"/recommendations/{user}", n=500)]
        assert await ok(client, "GET", f"/recommend/{user}?n=0") == []
        assert await ok(client, "GET", f"/recommend/{user}?offset=500") == []
    assert await ok(client, "GET", "/popular?n=5") == await own(client, "/popular", n=5)
    assert await ok(client, "GET", "/popular/even") == await own(client, "/popular", category="even")
    assert await ok(client, "GET", "/non-personalized/most_starred?category=even") == await own(
        client, "/popular", category="even"
    )
    near = await own(client, "/courses/i2/similar", n=20)
    assert len(near) == 11
    assert await ok(client, "GET", "/item/i2/neighbors?n=20") == near
    assert await ok(client, "GET", "/item/i2/neighbors?n=4&offset=3") == near[3:7]
    odd_ids = {f"i{number}" for number in range(1, 12, 2)}
    assert await ok(client, "GET", "/item/i2/neighbors/odd?n=20") == [one for one in near if one["Id"] in odd_ids]
    assert await ok(client, "GET", "/item-to-item/similar/i2?n=20") == near
    users = await own(client, "/users/ann/similar")
    assert {one["Id"] for one in users} == {"bob", "cyd"}
    assert await ok(client, "GET", "/user/ann/neighbors") == users
    assert await ok(client, "GET", "/user-to-user/any/ann?n=1&offset=1") == users[1:]


async def test_a_session_counts_what_weighs_and_leaves_all_of_it_out(client: httpx.AsyncClient, model_id: str) -> None:
    rows = [like("x", "i1"), like("x", "i3", "dislike"), like("x", "i1", "view"), like("x", "new")]
    body = {"course_ids": ["i1", "new"], "exclude": ["i3"], "n": 20}
    wanted = (await client.post("/recommendations", json=body)).json()
    assert wanted["source"] == "fold_in"
    listed = [{"Id": item["course_id"], "Score": item["score"]} for item in wanted["items"]]
    assert len(listed) == 10
    assert await ok(client, "POST", "/session/recommend?n=20", json=rows) == listed
    bare = [{"ItemId": row["ItemId"], "FeedbackType": row["FeedbackType"], "UserId": ""} for row in rows]
    assert await ok(client, "POST", "/session/recommend?n=20", json=bare) == listed
    even = [one for one in listed if int(one["Id"][1:]) % 2 == 0]
    assert await ok(client, "POST", "/session/recommend/even?n=3&offset=1", json=rows) == even[1:4]
    assert (await client.get("/users/x")).status_code == 404  # nothing of it is kept


async def test_the_latest_come_first(client: httpx.AsyncClient) -> None:
    items = [
        {"ItemId": f"i{day}", "Timestamp": f"2026-01-0{day}", "Categories": [f"k{day % 2}"]} for day in range(1, 7)
    ]
    await ok(client, "POST", "/items", json=[*items, {"ItemId": "old", "Timestamp": "1950-01-01"}, {"ItemId": "none"}])
    listed = await ok(client, "GET", "/latest")
    assert [one["Id"] for one in listed] == ["i6", "i5", "i4", "i3", "i2", "i1", "none", "old"]
    assert listed[0]["Score"] == 1767657600  # 2026-01-06
    assert [one["Id"] for one in await ok(client, "GET", "/latest/k1?n=2&offset=1")] == ["i3", "i1"]
    await ok(client, "PATCH", "/item/i6", json={"IsHidden": True})
    await ok(client, "PATCH", "/item/i1", json={"Timestamp": "2026-02-01T00:00:00Z"})
    await ok(client, "POST", "/feedback", json=[like("u", "i5")])
    listed = await ok(client, "GET", "/latest?n=3&user-id=u")
    assert [one["Id"] for one in listed] == ["i1", "i4", "i3"]
    assert await ok(client, "GET", "/non-personalized/latest?n=3&user-id=u") == listed


async def test_what_is_listed_may_be_written_back(client: httpx.AsyncClient, model_id: str) -> None:
    first = await ok(client, "GET", "/recommend/ann?n=3&write-back-type=view&write-back-delay=1h30m")
    second = await ok(client, "GET", "/recommend/ann?n=3")
    assert len(first) == 3
    assert not set(first) & set(second)
    views = await ok(client, "GET", "/user/ann/feedback/view")
    assert {row["ItemId"] for row in views} == set(first)
    await ok(client, "GET", "/recommend/nobody?n=3&write-back-type=view")
    assert await ok(client, "GET", "/user/nobody/feedback") == []
    await refused(client, "GET", "/user/nobody")


async def test_the_database_is_away(settings: Settings) -> None:
    away = settings.model_copy(update={"mongodb_uri": "mongodb://127.0.0.1:1/?directConnection=true"})
    app = create_application(away, local=True)
    async with app.router.lifespan_context(app) as state:
        transport = httpx.ASGITransport(with_state(app, state))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for path in ("/health/ready", "/items", "/recommend/u"):
                status, text = await refused(client, "GET", path)
                assert status == 503, text
            live = await ok(client, "GET", "/health/live")
            assert live["Ready"] is live["DataStoreConnected"] is False
            assert live["DataStoreError"]
            await asyncio.sleep(0)


# --- keys


async def test_keys(settings: Settings, database: Database) -> None:
    store = KeyStore(database)
    read, write = [(await store.create("test", scope))[0] for scope in (KeyScope.read, KeyScope.write)]
    async with api(settings) as client:
        for key in ("", "undefined", "bad"):
            status, text = await refused(client, "GET", "/recommend/u", headers={"X-API-Key": key})
            assert status == 401
            assert not key or key not in text
        assert (await refused(client, "POST", "/feedback", json=[like("u", "i")]))[0] == 401
        assert (await ok(client, "GET", "/health/ready"))["Ready"] is True
        with_write, with_read = {"X-API-Key": write}, {"X-API-Key": read}
        assert await ok(client, "POST", "/items", json=[{"ItemId": "i"}], headers=with_write) == {"RowAffected": 1}
        assert await ok(client, "POST", "/user", json={"UserId": "u"}, headers=with_write) == {"RowAffected": 1}
        assert await ok(client, "GET", "/recommend/u", headers=with_read) == ["i"]
        assert await ok(client, "POST", "/session/recommend", json=[], headers=with_read)
        status, text = await refused(client, "POST", "/feedback", json=[like("u", "i")], headers=with_read)
        assert status == 403
        assert "takes scope write" in text
        path = "/recommend/u?write-back-type=view"
        assert (await refused(client, "GET", path, headers=with_read))[0] == 403
        assert await ok(client, "GET", "/feedback", headers=with_read) == {"Cursor": "", "Feedback": []}
        assert await ok(client, "GET", path, headers=with_write) == ["i"]
        assert len((await ok(client, "GET", "/feedback", headers=with_read))["Feedback"]) == 1


async def test_where_no_key_is_needed_any_is_taken(client: httpx.AsyncClient) -> None:
    """Gorse without a key in its settings looks at none, and its clients always send one."""
    for key in ("", "undefined", "api_key"):
        assert await ok(client, "GET", "/items", headers={"X-API-Key": key}) == {"Cursor": "", "Items": []}
    answer = await client.get("/api/items", headers={"X-API-Key": "api_key", "Origin": "https://elsewhere.example"})
    assert answer.status_code == 401  # a page of another host is still not let in


async def test_a_quota_that_is_reached_is_said(settings: Settings) -> None:
    async with api(settings.model_copy(update={"max_users": 1, "max_courses": 1})) as client:
        assert await ok(client, "POST", "/user", json={"UserId": "u"}) == {"RowAffected": 1}
        for path, body in (("/user", {"UserId": "v"}), ("/users", [{"UserId": "v"}]), ("/feedback", [like("v", "i")])):
            status, text = await refused(client, "POST", path, json=body)
            assert status == 409
            assert "1 users already" in text
        assert await ok(client, "POST", "/user", json={"UserId": "u", "Comment": "U"}) == {"RowAffected": 1}


async def test_so_many_large_batches_at_once_and_no_more(settings: Settings) -> None:
    rows = [like("u", "i", Comment="x" * 100)] * 10_000
    async with api(settings.model_copy(update={"batches_limit": 1})) as client:
        calls = [client.post("/api/feedback", json=rows) for _ in range(3)]
        answers = await asyncio.gather(*calls)
        assert sorted(answer.status_code for answer in answers) == [200, 503, 503]
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
