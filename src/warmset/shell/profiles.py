"""Ready profiles for a first budgets.toml: who uses the host, and how long models stay for them.

The ranges are what operators of such hosts report; the values inside them are our choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """One class of the profile. `keep_alive` as the file says it; empty: no limit."""

    name: str
    priority: int
    keep_alive: str
    usual: str  # the range of the field, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a host of this kind starts with.

    Attributes:
        about: one line for the head of the file.
        reserve, limit: of each GPU, as the file says them; empty: the defaults.
        yields: whether models make way while the machine runs on its battery.
        classes: the first is for models that complete, `embedding` for those that only embed.
    """

    about: str
    reserve: str
    limit: str
    classes: tuple[Class, ...]
    yields: bool = False

    def class_for(self, *, is_embedding: bool) -> str:
        """Returns the class of a model of this kind."""
        return "embedding" if is_embedding else self.classes[0].name

    def class_lines(self) -> Iterator[str]:
        """Yields the sections of the classes."""
        if self.yields:
            yield "[yield]"
            yield "on_battery = true"
            yield '# programs = ["steam", "blender"]'.ljust(40) + "# while one of these runs"
        for number, each in enumerate(self.classes):
            if number or self.yields:
                yield ""
            yield f"[class.{each.name}]"
            yield f"priority = {each.priority}"
            if each.keep_alive:
                yield f'keep_alive = "{each.keep_alive}"'.ljust(32) + f"# usual: {each.usual}"
            else:
                yield '# keep_alive = "24h"'.ljust(32) + f"# usual: {each.usual}"


PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        "solo": Profile(
            about="one person: chats, a few models, a desktop on the same GPU",
            reserve="1GiB",
            limit="",
            classes=(
                Class(name="interactive", priority=100, keep_alive="1h", usual="30m to 4h"),
                Class(name="embedding", priority=80, keep_alive="24h", usual="4h to for ever"),
                Class(name="batch", priority=20, keep_alive="0", usual="0 to 5m"),
            ),
        ),
        "coding": Profile(
            about="editors: completion that must not wait, and a chat beside it",
            reserve="1GiB",
            limit="",
            classes=(
                Class(name="interactive", priority=80, keep_alive="2h", usual="1h to 8h"),
                Class(
                    name="completion", priority=100, keep_alive="8h", usual="a working day, or pin"
                ),
                Class(name="embedding", priority=90, keep_alive="24h", usual="8h to for ever"),
            ),
        ),
        "internal-api": Profile(
            about="services of a company: some models always, the others by rank",
            reserve="512MiB",
            limit="",
            classes=(
                Class(name="interactive", priority=100, keep_alive="", usual="12h to for ever"),
                Class(name="embedding", priority=100, keep_alive="", usual="24h to for ever"),
                Class(name="batch", priority=20, keep_alive="5m", usual="0 to 15m"),
            ),
        ),
        "batch": Profile(
            about="jobs: models come with their job and leave the memory after it",
            reserve="512MiB",
            limit="",
            classes=(
                Class(name="batch", priority=50, keep_alive="0", usual="0 to 5m"),
                Class(name="embedding", priority=60, keep_alive="5m", usual="0 to 15m"),
            ),
        ),
        "laptop": Profile(
            about="a laptop: memory and battery belong to other programs first",
            reserve="2GiB",
            limit="75%",
            yields=True,
            classes=(
                Class(name="interactive", priority=100, keep_alive="10m", usual="5m to 30m"),
                Class(name="embedding", priority=80, keep_alive="30m", usual="10m to 2h"),
            ),
        ),
    }
)
