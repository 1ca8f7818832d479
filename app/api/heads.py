"""HEAD: whatever GET answers, without its body."""

from starlette.types import Message, Send


class _AnsweredError(Exception):
    """The head is out, and the rest of a long answer need not be made."""


def without_body(send: Send) -> Send:
    """The same door, which lets heads through only."""

    async def send_head(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        if message.get("more_body", False):
            raise _AnsweredError

    return send_head


def is_answered(error: BaseException) -> bool:
    """Whether this is how a long answer was broken off; groups of tasks wrap what ends them."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_answered(inner) for inner in error.exceptions)
    return isinstance(error, _AnsweredError)
