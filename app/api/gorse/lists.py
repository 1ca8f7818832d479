"""Lists as Gorse shows them: ids, or ids with scores."""

from collections.abc import Iterable
from datetime import UTC, datetime

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.api.access import authorised
from app.api.dependencies import get_services
from app.api.gorse.answers import ok
from app.api.gorse.queries import GorseListOptions, GorseRecommendOptions
from app.api.outage import unless_gone
from app.api.recommender import Answer
from app.domain.api_keys import KeyScope
from app.schemas.interactions import Interaction

VERSION = (b"x-api-version", b"2")  # the header that asks for scores


def wants_scores(request: Request) -> bool:
    """Whether a list of recommendations is to have scores."""
    return VERSION in request.scope["headers"]


def ids_response(answer: Answer, options: GorseListOptions) -> Response:
    """Ids, best first."""
    return ok([item.course_id for item in answer.ranked.items[: options.n]])


def scores_response(answer: Answer, options: GorseListOptions) -> Response:
    """Ids with scores, best first."""
    return pairs_response((item.course_id, item.score) for item in answer.ranked.items[: options.n])


def pairs_response(pairs: Iterable[tuple[str, float]]) -> Response:
    """The same of other lists."""
    return ok([{"Id": id_, "Score": score} for id_, score in pairs])


async def write_back(request: Request, user_id: str, answer: Answer, options: GorseRecommendOptions) -> None:
    """Note what a user is shown as feedback, if asked; of somebody unknown nothing is noted.

    Raises KeyScopeError, as a key that only asks cannot write in this way either; UnavailableError; and
    RequestValidationError where an earlier release took an id that no feedback can have now.
    """
    listed = answer.ranked.items[: options.n]
    if options.write_back_type is None:
        return
    if (refusal := authorised(request, KeyScope.write)) is not None:
        raise refusal
    when = datetime.now(UTC) + options.write_back_delay
    try:
        rows = [
            Interaction(user_id=user_id, course_id=item.course_id, type=options.write_back_type, timestamp=when)
            for item in listed
        ]
    except ValidationError as error:
        problems = [{**problem, "loc": ("query", *problem["loc"])} for problem in error.errors(include_url=False)]
        raise RequestValidationError(problems) from None
    services = get_services(request)
    await unless_gone(services.interactions.write(rows, auto_create=False), services.live)
