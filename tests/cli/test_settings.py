import json

import pytest
from click.testing import CliRunner

from app.cli import group
from app.cli.settings import hide_secrets
from app.errors import SettingError
from app.settings import Settings, environment_name, load_settings


def listed(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(group, ["settings", *arguments], env=environment, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_lists_every_setting_with_value_default_and_meaning() -> None:
    output = listed(COURSEGRAPH_EPOCHS="7", COURSEGRAPH_INTERACTION_WEIGHTS="view=0.5,enroll=1")
    for name, field in Settings.model_fields.items():
        assert f"{environment_name(name)} = " in output
        assert str(field.description) in output
    assert "COURSEGRAPH_EPOCHS = 7  (default: unset)" in output
    assert "COURSEGRAPH_INTERACTION_WEIGHTS = view=0.5,enroll=1  (default: view=1,like=1," in output
    assert "COURSEGRAPH_AUTO_TRAIN = true  (default: true)" in output
    assert "MONGODB_URI = unset  (default: unset)" in output


def test_json_is_one_object_a_line() -> None:
    rows = {row["name"]: row for row in map(json.loads, listed("--json", COURSEGRAPH_SEED="3").splitlines())}
    assert rows.keys() == {environment_name(name) for name in Settings.model_fields}
    assert rows["COURSEGRAPH_SEED"]["value"] == 3
    assert rows["COURSEGRAPH_SEED"]["default"] == 0
    assert rows["COURSEGRAPH_INTERACTION_WEIGHTS"]["default"]["drop"] == 0.0
    assert rows["MONGODB_URI"]["value"] is None


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("COURSEGRAPH_EPOCHS", "many", "has value 'many'; wanted a valid integer"),
        ("COURSEGRAPH_LEASE_SECONDS", "inf", "has value 'inf'; wanted a finite number"),
        ("COURSEGRAPH_LEARNING_RATE", "nan", "has value 'nan'; wanted a finite number"),
        ("COURSEGRAPH_CACHE_DIR", "", "has value ''; wanted the name of a directory"),
        ("COURSEGRAPH_INTERACTION_WEIGHTS", "view", "has value 'view'; wanted type=weight, "),
        ("COURSEGRAPH_INTERACTION_WEIGHTS", "view=much", "has value 'view=much'; wanted type=weight, "),
        ("COURSEGRAPH_INTERACTION_WEIGHTS", "{", "has value '{'; wanted type=weight, "),
        ("COURSEGRAPH_ADMIN_KEY", "short", "has value '***'; wanted at least 32"),
        (
            "MONGODB_URI",
            "ada:secret@db:27017",
            "has value '***'; wanted the address of a MongoDB replica set, mongodb://",
        ),
        ("MONGODB_URI", "", "has value '***'; wanted the address of a MongoDB replica set, mongodb://"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_named_with_what_was_wanted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, wanted: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{name} {wanted}")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://ada:secret@db:27017/?replicaSet=rs0", "mongodb://ada:***@db:27017/?replicaSet=rs0"),
        ("mongodb+srv://ada:p%40ss@db.example/x", "mongodb+srv://ada:***@db.example/x"),
        ("mongodb://a:s@h1:1,h2:2/?tls=true&tlsCertificateKeyFilePassword=s", None),
        ("mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:secret&w=1", None),
        ("mongodb://127.0.0.1:27017/?directConnection=true", "mongodb://127.0.0.1:27017/?directConnection=true"),
    ],
)
def test_passwords_are_hidden(uri: str, shown: str | None) -> None:
    for output in (listed(MONGODB_URI=uri), listed("--json", MONGODB_URI=uri), str(hide_secrets(uri))):
        assert "secret" not in output
        assert "Password=s" not in output
        assert ":s@" not in output
        assert shown is None or shown in output
