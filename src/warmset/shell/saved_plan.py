"""A plan in a file: what was agreed to, and what it was made from.

It is hashed over everything that decides it. When it is applied, the decision is made anew; where
anything that matters differs, the plan is refused: the host has moved on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from warmset.bounded import read_bounded
from warmset.core.control.plain import to_plain
from warmset.core.control.preview import Preview
from warmset.errors import ConfigError, Refused

SCHEMA_VERSION: Final = 1
KIND: Final = "warmset-plan"
MAX_BYTES: Final = 16 << 20

_WORDS: Final = {
    "server": "the server's address or version",
    "models": "the installed models",
    "residents": "what is resident",
    "devices": "the GPUs",
    "config": "the configuration",
    "members": "the warm set that fits now",
    "steps": "what would be done",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """A plan that was agreed to.

    Attributes:
        facts: all that decides it, by topic.
    """

    facts: Mapping[str, object]

    @property
    def digest(self) -> str:
        """Names the plan: the same facts have the same digest."""
        text = json.dumps(self.facts, sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()


def plan_of(seen: Preview) -> SavedPlan:
    """Returns a decision as a plan that can be agreed to.

    Free bytes and deadlines, which move all the time, count only through what they decide.
    """
    observation, config, decision = seen.observation, seen.config, seen.decision
    settings = replace(config.settings, url="", path="", origins={})
    facts = {
        "server": [observation.server_url, observation.version],
        "models": sorted([e.key, *sorted(e.manifest_digests.items())] for e in observation.entries),
        "residents": sorted(
            [row.name, row.manifest_digest, row.context] for row in observation.residents or ()
        ),
        "devices": sorted([d.id, d.total_bytes.value] for d in observation.devices),
        "config": [to_plain(settings), sorted(config.holds)],
        "members": sorted([m.key, sorted(m.upper)] for m in decision.members),
        "steps": [[c.kind.value, c.key, c.name] for c in decision.changes],
    }
    plain: Mapping[str, object] = json.loads(json.dumps(facts))
    return SavedPlan(facts=plain)


def save_plan(path: Path, plan: SavedPlan, *, made_at: float) -> None:
    """Writes a plan.

    Raises:
        ConfigError: the file cannot be written.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "digest": plan.digest,
        "made_at": made_at,
        "facts": plan.facts,
    }
    try:
        path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: the plan cannot be written: {error.strerror or error}",
            hint="name a file in a folder that you may write",
        ) from error


def load_plan(path: Path) -> SavedPlan:
    """Returns a saved plan.

    Raises:
        ConfigError: it cannot be read, is none, or was changed since.
    """
    hint = "make it with `warmset plan --out FILE`"
    try:
        content = read_bounded(path, limit_bytes=MAX_BYTES)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path}: larger than any plan", hint=hint)
        document = json.loads(content)
    except OSError as error:
        text = f"{path}: the plan cannot be read: {error.strerror or error}"
        raise ConfigError(text, hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a saved plan: {error}", hint=hint) from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise ConfigError(f"{path}: not a saved plan", hint=hint)
    if document.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(f"{path}: a plan of another version of warmset", hint=hint)
    facts = document.get("facts")
    plan = SavedPlan(facts=facts if isinstance(facts, dict) else {})
    if plan.digest != document.get("digest"):
        raise ConfigError(f"{path}: the plan was changed after it was made", hint=hint)
    return plan


def refuse_stale(saved: SavedPlan, present: SavedPlan) -> None:
    """Refuses a plan that is not what would be decided now.

    Raises:
        Refused: names what is different.
    """
    if saved.digest == present.digest:
        return
    moved = [w for t, w in _WORDS.items() if saved.facts.get(t) != present.facts.get(t)]
    raise Refused(
        f"the host has moved on since the plan was made: {', '.join(moved)}",
        hint="make the plan again with `warmset plan --out FILE`",
        context={"digest": saved.digest, "present": present.digest},
    )
