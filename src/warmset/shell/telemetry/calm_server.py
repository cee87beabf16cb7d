"""uvicorn, waiting for the word to stop instead of waking up ten times a second to look for it.

Beside a calm host that alone was a tenth of what the daemon cost.
"""

from __future__ import annotations

import asyncio

import uvicorn


class CalmServer(uvicorn.Server):
    """A server that is ended from another thread.

    Source: uvicorn 0.54 `Server.main_loop` and `on_tick`: between start and shutdown it updates the
    headers that every answer has, and looks at `should_exit`.
    """

    _ending: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    async def main_loop(self) -> None:
        """Waits until it is told to end."""
        await self.on_tick(0)
        event = asyncio.Event()
        self._ending = (asyncio.get_running_loop(), event)
        if not self.should_exit:  # `end` may have come before anybody could be woken
            await event.wait()

    def end(self) -> None:
        """Ends it, and closes connections that are open; from any thread."""
        self.should_exit = self.force_exit = True
        if self._ending is not None:
            loop, event = self._ending
            loop.call_soon_threadsafe(event.set)
