"""`coursegraph shard` without a cluster."""

import json

from tests.cli.test_keys import environment, run

__all__ = ["environment"]


def test_a_dry_run_prints_what_the_router_would_be_told() -> None:
    done = run({"PATH": "/usr/bin:/bin", "MONGODB_DATABASE": "shop"}, "shard", "--dry-run")
    assert done.returncode == 0, done.stderr
    said = [json.loads(line.removeprefix("db.adminCommand(").removesuffix(")")) for line in done.stdout.splitlines()]
    assert said[0] == {"enableSharding": "shop"}
    assert {"shardCollection": "shop.users", "key": {"_id": "hashed"}, "unique": False} in said


def test_a_server_that_is_no_router_is_refused_in_one_sentence(environment: dict[str, str]) -> None:
    done = run(environment, "shard")
    assert done.returncode == 1
    assert done.stderr.startswith("coursegraph: MONGODB_URI does not name a mongos;")
