import csv
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app.cli.dataset import read_dataset
from app.cli.evaluate import evaluate_command
from app.errors import DatasetError
from app.settings import load_settings

OPTIONS = ["--json", "--embedding-size", "8", "--epochs", "4", "--batch-size", "256", "--time-budget", "0"]


def write(path: Path, rows: Iterable[tuple[object, ...]], header: str = "user_id,item_id,timestamp,value") -> None:
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        file.write(header + "\n")
        csv.writer(file).writerows(rows)


def groups(users: int = 300, items: int = 60) -> list[tuple[str, str, str, str]]:
    """Six groups of users, each with ten items of its own, of which a user takes eight."""
    return [
        (f"u{user}", f"i{(user + k) % 10 + 10 * (user % 6)}", "", "")
        for user in range(users)
        for k in range(8)
        if (user + k) % 10 + 10 * (user % 6) < items
    ]


def evaluated(folder: Path, *options: str) -> dict[str, Any]:
    result = CliRunner().invoke(evaluate_command, [str(folder), *OPTIONS, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = groups()
    write(tmp_path / "interactions_train.csv.gz", [row for k, row in enumerate(rows) if k % 8 < 6])
    write(tmp_path / "interactions_test.csv.gz", [row for k, row in enumerate(rows) if k % 8 >= 6])
    return tmp_path


def test_the_report_has_the_model_beside_the_baselines(folder: Path) -> None:
    report = evaluated(folder)
    assert report["model"]["recall@10"] > 0.9
    assert report["model"]["recall@10"] > 2 * report["baselines"]["popular"]["recall@10"]
    assert set(report["baselines"]) == {"popular", "item_cosine", "gf_cf", "ease"}
    assert {"recall@20", "ndcg@10", "mrr@20", "hit_rate@10", "coverage@20", "gini@20"} <= set(report["model"])
    assert {"config", "wall_seconds", "cpu_seconds", "peak_bytes"} <= set(report)


@pytest.mark.parametrize(
    ("option", "value", "name"),
    [
        ("--loss", "hard_bpr", "loss"),
        ("--filter", "none", "filter"),
        ("--time-budget", 1.5, "time_budget_seconds"),
        ("--layers", 1, "n_layers"),
        ("--embedding-size", 4, "embedding_size"),
        ("--epochs", 1, "epochs"),
        ("--batch-size", 300, "batch_size"),
        ("--learning-rate", 0.01, "learning_rate"),
        ("--l2-weight", 0.5, "l2_weight"),
        ("--seed", 3, "seed"),
        ("--device", "cpu", "device"),
    ],
)
def test_every_option_arrives(folder: Path, option: str, value: object, name: str) -> None:
    assert evaluated(folder, option, str(value))["config"][name] == value


def test_without_a_filter_none_is_tried(folder: Path) -> None:
    report = evaluated(folder, "--filter", "none", "--time-budget", "20")
    assert {trial["item_filter"] for trial in report["trials"]} == {"none"}


def test_an_override_of_no_setting_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="filter_"):
        load_settings(filter_="none")


def test_nothing_is_chosen_on_the_test_rows(folder: Path) -> None:
    """Another test file, with users and items of its own even, changes what is measured and nothing that was made."""
    first = evaluated(folder, "--time-budget", "60")
    write(folder / "interactions_test.csv.gz", [("u0", "i59", "", ""), ("nobody", "nothing", "", "")])
    second = evaluated(folder, "--time-budget", "60")
    assert first["model"] != second["model"]
    assert first["validation"]["held_out"] >= 100
    assert len(first["trials"]) > 1
    for part in ("config", "validation"):
        assert first[part] == second[part]
    timeless = [[{**trial, "seconds": 0} for trial in report["trials"]] for report in (first, second)]
    assert timeless[0] == timeless[1]


def test_what_only_the_test_knows_counts_as_not_found(folder: Path) -> None:
    write(folder / "interactions_test.csv.gz", [("u0", "unheard-of", "", ""), ("newcomer", "i0", "", "")])
    report = evaluated(folder)
    assert report["model"]["recall@20"] <= 0.5
    assert report["model"]["cold_recall@20"] == 0.0


def test_one_file_is_divided_by_time(tmp_path: Path) -> None:
    rows = [("a", f"i{k}", 1_000_000 - k, "") for k in range(10)] + [("b", "i0", 5, ""), ("b", "i1", 7, "")]
    write(tmp_path / "interactions.csv.gz", rows)
    test = read_dataset(tmp_path, ordered=False, seed=0).test
    assert {(row.user_id, row.item_id) for row in test} == {("a", "i0"), ("a", "i1")}


def test_one_file_in_order_is_divided_by_rows(tmp_path: Path) -> None:
    write(tmp_path / "interactions.csv.gz", [("a", f"i{k}", "", "") for k in range(10)])
    dataset = read_dataset(tmp_path, ordered=True, seed=0)
    assert [row.item_id for row in dataset.test] == ["i8", "i9"]
    assert (dataset.snapshot.timestamps[1:] - dataset.snapshot.timestamps[:-1] > 3_600_000).all()


def test_a_pair_given_twice_counts_once_with_its_last_time(tmp_path: Path) -> None:
    write(tmp_path / "interactions_train.csv.gz", [("a", "x", 9, ""), ("a", "x", 4, ""), ("a", "y", 1, "")])
    write(tmp_path / "interactions_test.csv.gz", [("a", "z", "", "")])
    snapshot = read_dataset(tmp_path, ordered=False, seed=0).snapshot
    assert snapshot.timestamps.tolist() == [9000, 1000]


@pytest.mark.parametrize(
    ("rows", "header", "problem"),
    [
        ([], "user_id,item_id", "has no training rows"),
        ([("a", "x")], "user,item", "wanted item_id and user_id too"),
        ([("a", "x", "yesterday")], "user_id,item_id,timestamp", "line 2: timestamp is 'yesterday'"),
    ],
)
def test_a_folder_that_is_no_data_set(
    tmp_path: Path, rows: list[tuple[object, ...]], header: str, problem: str
) -> None:
    write(tmp_path / "interactions_train.csv.gz", rows, header)
    write(tmp_path / "interactions_test.csv.gz", [("a", "y")], "user_id,item_id")
    with pytest.raises(DatasetError, match=problem):
        read_dataset(tmp_path, ordered=False, seed=0)


def test_an_empty_folder_and_a_file_that_is_not_gzip(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has neither"):
        read_dataset(tmp_path, ordered=False, seed=0)
    for name in ("interactions_train.csv.gz", "interactions_test.csv.gz"):
        (tmp_path / name).write_text("user_id,item_id\na,x\n")
    with pytest.raises(DatasetError, match="cannot be read as gzipped CSV"):
        read_dataset(tmp_path, ordered=False, seed=0)
