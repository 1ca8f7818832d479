from app.store.client import Database


async def test_one(database: Database) -> None:
    await database["x"].insert_one({"a": 1})
    assert await database["x"].count_documents({}) == 1


async def test_two(database: Database) -> None:
    assert await database["x"].count_documents({}) == 0
