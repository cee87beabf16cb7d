"""The operator's words as they stand: the file when it was last read, orders as they are."""

from __future__ import annotations

from collections.abc import Callable

from warmset.adapters.journal import Orders, OrdersFile
from warmset.core.settings import Settings
from warmset.errors import ConfigError
from warmset.shell.said import Said
from warmset.shell.yielding import why_yield


class Words:
    """What an operator said to one daemon.

    Args:
        load: reads the file, environment and flags.
        settings: as they were read at the start.
        orders: what `pin`, `hold` and their like said; `None` for a host without a past.
        is_local: whether the server's machine is this one.
        warn: is told what cannot be read, once.
    """

    def __init__(
        self,
        load: Callable[[], Settings],
        settings: Settings,
        orders: OrdersFile | None,
        *,
        is_local: bool,
        warn: Callable[[str, str], None],
    ) -> None:
        self._load = load
        self.settings = settings
        self._orders = orders
        self._is_local = is_local
        self._warn = warn
        self._told = ""

    def said(self) -> Said:
        """Returns all that is wanted now."""
        orders = Orders()
        if self._orders is not None:
            orders = self._orders.read()
            if self._orders.trouble and self._orders.trouble != self._told:
                self._warn("orders_trouble", self._orders.trouble)
            self._told = self._orders.trouble
        yielding = why_yield(self.settings, is_local=self._is_local)
        return Said(settings=self.settings, orders=orders, yielding=yielding)

    def reload(self) -> None:
        """Reads the file again.

        Raises:
            ConfigError: it is wrong, or means another host; what was read before stays.
        """
        settings = self._load()
        if settings.url != self.settings.url:
            raise ConfigError(
                f"the address changed from {self.settings.url} to {settings.url}",
                hint="restart warmset to let it steer another host",
            )
        self.settings = settings
