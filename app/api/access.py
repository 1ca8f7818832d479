"""The scope that each call takes, said once at its route as ``openapi_extra``: enforced there and shown in OpenAPI.

READ asks, WRITE changes data, ADMIN changes what everybody is answered: it trains and chooses the model.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from app.api.gate import Gate
from app.domain.api_keys import KeyScope
from app.errors import HttpError

SCHEME = "ApiKey"
SECURITY_SCHEMES = {
    SCHEME: {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "A key that `coursegraph keys create` made. A call takes the scope beside it or more: "
        "`read` < `write` < `admin`. As long as there are no keys, calls from the machine itself need none.",
    }
}

OPEN: dict[str, Any] = {"security": []}
READ, WRITE, ADMIN = ({"security": [{SCHEME: [scope.name]}]} for scope in KeyScope)


def scope_of(operation: Mapping[str, Any] | None) -> KeyScope | None:
    """The scope that an operation of the document takes, None when it is open.  Raises ValueError when none is said."""
    security = None if operation is None else operation.get("security")
    if security == []:
        return None
    for scope in KeyScope:
        if security == [{SCHEME: [scope.name]}]:
            return scope
    raise ValueError(f"security is {security!r}; wanted OPEN, READ, WRITE or ADMIN in openapi_extra")


def authorised(request: Request, needed: KeyScope) -> HttpError | None:
    """None when the caller may, else the error (status, detail): for routes that word errors in their own way."""
    gate: Gate = request.scope["state"]["gate"]
    return gate.refusal(request.scope, needed)
