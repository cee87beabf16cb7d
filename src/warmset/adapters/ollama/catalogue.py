"""Installed models as entries: one per weights blob, with all of its names.

`/api/tags` lists names; `/api/show` (verbose, once per manifest digest) tells which weights blob a
name stands for and what is in it. A model whose show fails keeps its place with the basis "tags
only"; one that is gone by then is left out. Cloud stubs are left out: they take no memory here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from msgspec.structs import replace as copy_with

from warmset.adapters.ollama.cache import ShowCache
from warmset.adapters.ollama.facts import printable
from warmset.adapters.ollama.levers import is_cloud_name
from warmset.adapters.ollama.modelfile import Layers, blob_digest
from warmset.adapters.ollama.sizes import BlobBytes, with_sizes
from warmset.adapters.ollama.wire import Details, Shown, TagRow, bare_digest
from warmset.core.model import Entry, FactValue, ModelKey, find_entry, normalise_name
from warmset.errors import BackendTimeout, BadPayload, BadStatus, UnknownModel

_PARALLEL_SHOWS: Final = 4
_MAX_REMEMBERED: Final = 4096
_MAX_VALUES: Final = 1_000_000
"""Of facts and tensors, for all models together. Our choice: 300 models with 2000 tensors each are
600,000; a server that means harm has more to tell than there is memory."""

_ROUND_SECONDS: Final = 45.0
"""For asking about models that are new, until the next look. Our choice: what was told until then
is kept, so a host of a thousand models is known after a few looks, and none takes for ever."""

_FORGOTTEN: Final = "more is told of all models than is kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One installed name with what is known of it."""

    row: TagRow
    digest: str
    shown: Shown | None
    problem: str = ""  # why `shown` is None


class Catalogue:
    """Turns tags into entries, and remembers which weights a manifest stood for.

    Args:
        show: asks the server about one name (verbose).
        cache: records of earlier answers.
        blob_bytes: sizes of blobs, if they can be seen from here.
        monotonic: for the end of a round, seconds.
    """

    def __init__(
        self,
        *,
        show: Callable[[str], Shown],
        cache: ShowCache,
        blob_bytes: BlobBytes,
        monotonic: Callable[[], float],
    ) -> None:
        self._show = show
        self._monotonic = monotonic
        self._cache = cache
        self._blob_bytes = blob_bytes
        self._known: dict[str, Shown] = {}
        self._values = 0  # in what is known
        self._version = ""
        self._last: tuple[list[TagRow], str, tuple[Entry, ...]] | None = None
        self._owners: tuple[Sequence[Entry], dict[str, ModelKey]] = ((), {})

    def entries(self, rows: Sequence[TagRow], version: str) -> tuple[Entry, ...]:
        """Returns the installed models, ordered by name; the same value while nothing changes.

        Raises:
            Unreachable: if the server went away in between.
        """
        asked = list(rows)
        if self._last is not None and self._last[:2] == (asked, version):
            return self._last[2]
        found, is_whole = self._group(asked, version)
        self._last = (asked, version, found) if is_whole else None
        return found

    def _group(self, rows: Sequence[TagRow], version: str) -> tuple[tuple[Entry, ...], bool]:
        """Returns the models, and whether all that could be asked about them is known."""
        local = _one_row_per_name(row for row in rows if not _is_remote(row))
        shows = self._show_missing(local, version)
        groups: dict[ModelKey, list[_Member]] = {}
        for row in local:
            digest = bare_digest(row.digest)
            outcome = shows.get(row.name, self._known.get(digest, _FORGOTTEN))
            if outcome is None or (isinstance(outcome, Shown) and outcome.is_remote):
                continue
            if isinstance(outcome, Shown):
                member = _Member(row=row, digest=digest, shown=outcome)
            else:
                member = _Member(row=row, digest=digest, shown=None, problem=outcome)
            groups.setdefault(_key(member), []).append(member)
        found = (_entry(key, members, self._blob_bytes) for key, members in groups.items())
        is_whole = all(isinstance(outcome, Shown) for outcome in shows.values())
        is_whole = is_whole and all(bare_digest(row.digest) for row in local)  # else: ask again
        return tuple(sorted(found, key=lambda entry: entry.names)), is_whole

    def match(self, entries: Sequence[Entry], digest: str, name: str) -> ModelKey | None:
        """Returns whose weights a row of `/api/ps` runs; `None` if they are not installed any more.

        The manifest decides, also one that no tag has now: what it stood for is remembered. The
        name decides only where the server sent no digest.
        """
        if not digest:
            named = find_entry(tuple(entries), name)
            return None if named is None else named.key
        if self._owners[0] is not entries:
            owners = {d: e.key for e in reversed(entries) for d in e.manifest_digests.values()}
            self._owners = (entries, owners)
        if digest in self._owners[1]:
            return self._owners[1][digest]
        shown = self._recall(digest, self._version)
        former = None if shown is None else _weights_key(shown.layers)
        return next((entry.key for entry in entries if entry.key == former), None)

    def _show_missing(self, rows: Sequence[TagRow], version: str) -> dict[str, Shown | str | None]:
        """Asks about every digest not known yet, a few at a time.

        Returns:
            By name: the answer, the problem as text, or `None` for a model that is gone.
        """
        missing: dict[str, list[TagRow]] = {}
        for row in rows:
            digest = bare_digest(row.digest)
            if not digest or not self._recall(digest, version):
                missing.setdefault(digest or f"name:{row.name}", []).append(row)
        if not missing:
            return {}
        with ThreadPoolExecutor(min(_PARALLEL_SHOWS, len(missing))) as pool:
            answers = list(pool.map(_Asker(self._show, self._monotonic), missing.values()))
        outcome: dict[str, Shown | str | None] = {}
        for same, answer in zip(missing.values(), answers, strict=True):
            digest = bare_digest(same[0].digest)
            if isinstance(answer, Shown) and digest:
                self._remember(digest, answer)
                self._cache.store(digest, version, answer)
            outcome.update((row.name, answer) for row in same)
        return outcome

    def _recall(self, digest: str, version: str) -> Shown | None:
        """Returns what a manifest was earlier found to be, from memory or disk."""
        if version != self._version:  # another server version may show more
            self._known.clear()
            self._values = 0
            self._version = version
        shown = self._known.get(digest) or self._cache.load(digest, version)
        if shown is not None:
            self._remember(digest, shown)
        return shown

    def _remember(self, digest: str, shown: Shown) -> None:
        if digest in self._known:
            return
        self._values += count_values(shown)
        if len(self._known) >= _MAX_REMEMBERED or self._values > 2 * _MAX_VALUES:
            self._known.clear()
            self._values = count_values(shown)
        self._known[digest] = shown


class _Asker:
    """Asks about one manifest.

    After one time-out the rest of the round is not asked, nor when the round takes long, or when
    more was told than is kept.
    """

    def __init__(self, show: Callable[[str], Shown], monotonic: Callable[[], float]) -> None:
        self._show = show
        self._monotonic = monotonic
        self._ends_at = monotonic() + _ROUND_SECONDS
        self._is_stuck = False
        self._values = 0

    def __call__(self, same: Sequence[TagRow]) -> Shown | str | None:
        """Returns the answer under the first of its names that still exists."""
        for row in same:
            if why := self._why_not():
                return why
            try:
                shown = self._show(row.name)
                self._values += count_values(shown)
                return shown  # noqa: TRY300 - what else follows belongs to errors
            except UnknownModel:
                continue
            except BackendTimeout as error:
                self._is_stuck = True
                return error.message
            except (BadStatus, BadPayload) as error:
                return error.message
        return None

    def _why_not(self) -> str:
        if self._is_stuck:
            return "not asked, since another show timed out"
        if self._values > _MAX_VALUES:
            return f"not asked, since {_MAX_VALUES} values of others are known"
        is_late = self._monotonic() > self._ends_at
        return f"not asked yet: others took {_ROUND_SECONDS:.0f} s" if is_late else ""


def count_values(shown: Shown) -> int:
    """Returns how much there is to keep of an answer."""
    facts = (*shown.facts.values(), *shown.projector_facts.values())
    return sum(map(_size, facts)) + len(shown.tensors or ())


def _size(fact: FactValue) -> int:
    return sum(map(_size, fact)) if isinstance(fact, tuple) else 1


def _one_row_per_name(rows: Iterable[TagRow]) -> list[TagRow]:
    unique: dict[str, TagRow] = {}
    for row in rows:
        name = printable(row.name)
        unique.setdefault(normalise_name(name), copy_with(row, name=name))
    return list(unique.values())


def _is_remote(row: TagRow) -> bool:
    return bool(row.remote_host or row.remote_model) or is_cloud_name(row.name)


def _weights_key(layers: Layers) -> ModelKey | None:
    digest = blob_digest(layers.weights)
    return None if digest is None else ModelKey(f"sha256:{digest}")


def _key(member: _Member) -> ModelKey:
    key = None if member.shown is None else _weights_key(member.shown.layers)
    return key or ModelKey(f"manifest:{member.digest or normalise_name(member.row.name)}")


def _tagged(name: str) -> str:
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def _entry(key: ModelKey, members: Sequence[_Member], blob_bytes: BlobBytes) -> Entry:
    """Returns one entry for all names of the same weights."""
    members = sorted(members, key=lambda member: member.row.name)
    sizes = [member.row.size for member in members if member.row.size is not None]
    details = members[0].row.details or Details()
    entry = Entry(
        key=key,
        names=tuple(sorted({_tagged(member.row.name) for member in members})),
        manifest_digests={_tagged(member.row.name): member.digest for member in members},
        file_bytes=None,
        size_bytes=max(sizes, default=None),
        format=printable(details.format or ""),
        family=printable(details.family or ""),
        parameter_size=printable(details.parameter_size or ""),
        quantization=printable(details.quantization_level or ""),
        capabilities=_capabilities(members),
        projector_bytes=None,
        adapter_bytes=None,
        basis="tags only" + (f": {members[0].problem}" if members[0].problem else ""),
    )
    shown = [member.shown for member in members if member.shown is not None]
    if not shown:
        return replace(entry, format=entry.format or "gguf")
    installed = [(member.row.size, member.shown) for member in members if member.shown is not None]
    return with_sizes(_with_facts(entry, members, shown), installed, blob_bytes)


def _capabilities(members: Sequence[_Member]) -> frozenset[str]:
    """Returns what any of the names can do; tags know it since 0.30, show since 0.6.4."""
    found: set[str] = set()
    for member in members:
        shown = () if member.shown is None else member.shown.capabilities
        found.update(printable(name) for name in member.row.capabilities or shown)
    return frozenset(found)


def _with_facts(entry: Entry, members: Sequence[_Member], shown: Sequence[Shown]) -> Entry:
    projectors = (one.projector_facts for one in shown if one.projector_facts)
    return replace(
        entry,
        format=entry.format or shown[0].format or "gguf",
        family=entry.family or shown[0].family,
        parameter_size=entry.parameter_size or shown[0].parameter_size,
        quantization=entry.quantization or shown[0].quantization,
        facts=shown[0].facts,
        tensors=shown[0].tensors,
        projector_facts=next(projectors, {}),
        modelfile_num_ctx={
            _tagged(member.row.name): member.shown.num_ctx
            for member in members
            if member.shown is not None and member.shown.num_ctx is not None
        },
        modelfile_main_gpu={
            _tagged(member.row.name): member.shown.main_gpu
            for member in members
            if member.shown is not None and member.shown.main_gpu is not None
        },
        basis="show verbose",
    )
