"""``coursegraph settings``: every setting with its value, default and meaning."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from app.settings import Settings, environment_name, load_settings

PASSWORD = re.compile(r"(//[^:@/]*):[^@/]*@")  # of an address
SECRET_OPTION = re.compile(r"((?:tlsCertificateKeyFilePassword|authMechanismProperties)=)[^&]*", re.IGNORECASE)


@click.command("settings")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def settings_command(as_json: bool) -> None:
    """List every setting with its value, default and meaning.  Passwords are hidden."""
    rows = settings_in_force(load_settings())
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    for row in rows:
        click.echo(f"{row['name']} = {written(row['value'])}  (default: {written(row['default'])})")
        click.echo(f"    {row['description']}")


def settings_in_force(settings: Settings) -> list[dict[str, Any]]:
    """name, value, default (both as JSON has them, secrets hidden) and description of each setting."""
    values = settings.model_dump(mode="json")
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    return [
        {
            "name": environment_name(name),
            "value": hide_secrets(values[name]),
            "default": str(defaults[name]) if isinstance(defaults[name], Path) else defaults[name],
            "description": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]


def hide_secrets(value: object) -> object:
    """The value without the passwords that an address may hold."""
    if not isinstance(value, str):
        return value
    return SECRET_OPTION.sub(r"\1***", PASSWORD.sub(r"\1:***@", value))


def written(value: object) -> str:
    """A value as one would set it."""
    if value is None:
        return "unset"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={weight:g}" for key, weight in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
