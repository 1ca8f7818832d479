"""The pulse stops when the database does not answer, and beats again when it does."""

from app.store.pulse import feel_pulse
from scripts.faults.proxy import Mode, Proxy
from tests.support.processes import eventually


async def test_silence_is_noticed_and_so_is_its_end(mongodb_uri: str) -> None:
    port = int(mongodb_uri.split(":")[2].split("/", maxsplit=1)[0])
    proxy = Proxy(port)
    async with feel_pulse(mongodb_uri.replace(str(port), str(proxy.port)), timeout_seconds=1) as pulse:
        modes: tuple[Mode, ...] = ("silent", "refuse")
        for mode in modes:
            await eventually(lambda: not pulse.is_silent())
            proxy.set(mode)
            await eventually(pulse.is_silent)
            proxy.set("pass")
        await eventually(lambda: not pulse.is_silent())
