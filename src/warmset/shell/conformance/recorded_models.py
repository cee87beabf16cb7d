"""Which models a recorded server had, and what they were, from the answers of a whole folder.

What no answer tells is made up and stays without consequence: a weights digest that no `show`
names is derived from the manifest's, so copies still share it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from warmset.core.model import FactValue, Tensor
from warmset.core.twin.library import COMPLETION, InstalledModel, Weights, digest_of
from warmset.shell.conformance.model_hints import Hints, Known, behaviour, display
from warmset.shell.conformance.recording import Json, Recording, Step, unix

_FROM: Final = re.compile(r"^FROM \S*?sha256-([0-9a-f]{64})", re.MULTILINE)
_NEW_LAYER: Final = re.compile(r"layer (sha256:[0-9a-f]{64})")
_SHORTENED: Final = re.compile(r"^\.\.\.|shortened", re.IGNORECASE)
_MADE_UP_TEMPLATE: Final = "{{ .Prompt }} "
_SCALES: Final = {"K": 10**3, "M": 10**6, "B": 10**9}
_FILE_TYPES: Final = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15, "BF16": 32}


class ModelKnowledge:
    """What a set of recordings tells of the models in them.

    Attributes:
        made_up: weights digests that no answer names.
    """

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self.made_up: set[str] = set()
        self._by_name: dict[str, Known] = {}
        self._converted: dict[str, tuple[str, str]] = {}  # uploaded digest -> weights, name
        for recording in recordings:
            seen: set[str] = set()
            for step in recording.steps:
                self._learn(step, seen)
            for name, hints in behaviour(recording).items():
                known = self._of(name)
                known.hints = known.hints | hints

    def known(self, name: str) -> Known:
        """Returns what is known of a name, perhaps nothing."""
        return self._by_name.get(display(name), Known())

    def load_seconds(self, name: str) -> float:
        """Returns the shortest first load that was recorded, else a guess by size."""
        known = self.known(name)
        size = known.row.get("size", 0) if known.row else 0
        return min(known.load_seconds, default=0.25 + (size if isinstance(size, int) else 0) / 5e8)

    def memory_bytes(self, name: str, context: int) -> int:
        """Returns the bytes in memory as `/api/ps` showed them at a context, or at another."""
        sizes = self.known(name).sizes
        return sizes.get(context) or max(sizes.values(), default=0)

    def installed(self, recording: Recording) -> tuple[InstalledModel, ...]:
        """Returns the models that a scenario had and did not make itself.

        One whose `modified_at` in a list of the scenario lies within the scenario was made by a
        request that is not recorded, at that moment.
        """
        made: set[str] = set()
        found: dict[str, Mapping[str, Json]] = {}
        for step in recording.steps:
            for row in _rows(step):
                name = str(row["name"])
                if display(name) not in made:
                    found[display(name)] = {**found.get(display(name), {}), **row}
            named = display(step.model)
            is_made = named in made or step.path == "/api/create"
            if named and step.status == 200 and not is_made:
                found.setdefault(named, {})
            if step.status == 200:
                made.update(_made_by(step))
                source = _source_of(step)
                if source and display(source) not in made:
                    found.setdefault(display(source), {})
        for text in (happening.text for happening in recording.happenings):
            for name in re.findall(r'file of "([^"]+)"', text):
                found.setdefault(display(name), {})
        if not recording.steps:  # nothing tells; what the other recordings had will do
            found = {name: known.tag for name, known in self._by_name.items() if known.tag}
        return tuple(self._installed(name, row) for name, row in found.items())

    def readable(self) -> dict[str, Weights]:
        """Returns uploaded digest -> the weights that importing it made."""
        return {
            uploaded: self._weights(name, self.known(name).tag, digest)
            for uploaded, (digest, name) in self._converted.items()
        }

    def _learn(self, step: Step, seen: set[str]) -> None:
        for row in _rows(step):
            known = self._of(str(row["name"]))
            if step.path == "/api/tags" and "details" in row:
                known.tag = row
            known.row = {**known.row, **row}
            if step.path == "/api/ps" and isinstance(row.get("size"), int):
                known.sizes[int(row["context_length"])] = row["size"]
        if step.status == 200 and step.path == "/api/show" and step.last:
            known = self._of(step.model)
            if not known.show or (isinstance(step.body, dict) and step.body.get("verbose")):
                known.show = step.last
        if step.status == 200 and step.path == "/api/create":
            self._learn_import(step)
        if step.status == 200 and _source_of(step):
            seen.update(_made_by(step))  # shares weights, so its first use may be no load
        name = display(step.model)
        if step.uses_runner and name not in seen and step.load_seconds is not None:
            self._of(step.model).load_seconds.append(step.load_seconds)
            seen.add(name)

    def _learn_import(self, step: Step) -> None:
        files = step.body.get("files") if isinstance(step.body, dict) else None
        lines = step.value if isinstance(step.value, list) else [step.value]
        found = [_NEW_LAYER.search(str(line.get("status"))) for line in lines if line]
        layer = next((match for match in found if match), None)
        if isinstance(files, dict) and files and layer is not None:
            first = min(files.items())[1]
            self._converted[str(first)] = (layer.group(1), step.model)

    def _of(self, name: str) -> Known:
        return self._by_name.setdefault(display(name), Known())

    def _installed(self, name: str, row: Mapping[str, Json]) -> InstalledModel:
        known = self.known(name)
        row, show = {**known.tag, **row}, known.show
        details = row.get("details") or known.row.get("details") or show.get("details") or {}
        digest = str(row.get("digest") or known.row.get("digest") or "")
        blob = _FROM.search(str(show.get("modelfile", "")))
        weights = f"sha256:{blob.group(1)}" if blob else self._weights_of(digest, name)
        capabilities = row.get("capabilities") or show.get("capabilities")
        template = _MADE_UP_TEMPLATE if known.hints.has_template else "{{ .Prompt }}"
        return InstalledModel(
            name=name,
            weights=self._weights(name, row, weights),
            digest=digest,
            size_bytes=int(known.tag.get("size", 0)),
            format=str(details.get("format", "gguf")),
            family=str(details.get("family", "")),
            parameter_size=str(details.get("parameter_size", "")),
            quantization=str(details.get("quantization_level", "")),
            capabilities=tuple(capabilities or sorted(known.hints.capabilities) or (COMPLETION,)),
            parameters=_parameters(str(show.get("parameters", ""))),
            template=str(show.get("template", template)),
            system=str(show.get("system", "")),
            license=str(show.get("license", "")),
            parent=str(details.get("parent_model", "")),
            modified_at=_modified_at(row, show),
        )

    def _weights_of(self, manifest: str, name: str) -> str:
        """A model of the same manifest has the same weights; else a digest is made up."""
        for other in self._by_name.values():
            if manifest and other.row.get("digest") == manifest and other.show:
                blob = _FROM.search(str(other.show.get("modelfile", "")))
                if blob:
                    return f"sha256:{blob.group(1)}"
        made_up = f"sha256:{manifest or digest_of('made up', name)}"
        self.made_up.add(made_up)
        return made_up

    def _weights(self, name: str, row: Mapping[str, Json], digest: str) -> Weights:
        known, details = self.known(name), row.get("details", {})
        details = {**details, **known.tag.get("details", {})}
        info = known.show.get("model_info")
        facts: dict[str, FactValue]
        if isinstance(info, dict):
            facts = {key: _fact(value) for key, value in info.items()}
        else:
            facts = _facts_of(details, known.hints)
        tensors = known.show.get("tensors", [])
        size = known.tag.get("size", known.row.get("size", 1 << 24))
        return Weights(
            digest=digest,
            size_bytes=int(size),
            facts=facts,
            tensors=tuple(_tensor(t) for t in tensors if isinstance(t, dict)),
        )


def _rows(step: Step) -> Iterator[Mapping[str, Json]]:
    if step.status == 200 and step.path in ("/api/tags", "/api/ps"):
        for row in step.last.get("models") or ():
            if isinstance(row, dict):
                yield row
            elif isinstance(row, str) and not _SHORTENED.search(row):
                yield {"name": row}  # a recording that kept names only


def _made_by(step: Step) -> tuple[str, ...]:
    if not isinstance(step.body, dict):
        return ()
    if step.path == "/api/copy":
        return (display(str(step.body.get("destination", ""))),)
    is_success = step.last.get("status") == "success"
    return (display(step.model),) if step.path == "/api/create" and is_success else ()


def _source_of(step: Step) -> str:
    key = {"/api/copy": "source", "/api/create": "from"}.get(step.path)
    return str(step.body.get(key, "")) if key and isinstance(step.body, dict) else ""


def _modified_at(row: Mapping[str, Json], show: Mapping[str, Json]) -> float:
    text = row.get("modified_at") or show.get("modified_at")
    return unix(str(text)) if text else 0.0


def _parameters(text: str) -> dict[str, object]:
    """Reads the lines of `parameters` in a show answer: a name, blanks, a number or text."""
    result: dict[str, object] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        value = value.strip()
        parsed: object = value.strip('"')
        if not value.startswith('"'):
            try:
                number = float(value)
                parsed = int(number) if number == int(number) else number
            except ValueError:
                parsed = value == "true" if value in ("true", "false") else value
        previous = result.get(key)
        if previous is None:
            result[key] = parsed if key != "stop" else [parsed]
        else:
            result[key] = [*(previous if isinstance(previous, list) else [previous]), parsed]
    return result


def _facts_of(details: Mapping[str, Json], hints: Hints) -> dict[str, FactValue]:
    """Returns the GGUF keys that the details of a list and the model's behaviour tell."""
    family = str(details.get("family") or "llama")
    facts: dict[str, FactValue] = {"general.architecture": family}
    told = {
        "context_length": details.get("context_length") or hints.trained_context,
        "embedding_length": details.get("embedding_length") or hints.embedding_length,
    }
    facts |= {f"{family}.{key}": value for key, value in told.items() if isinstance(value, int)}
    size = re.fullmatch(r"([\d.]+)([KMB])", str(details.get("parameter_size", "")))
    if size:
        facts["general.parameter_count"] = round(float(size.group(1)) * _SCALES[size.group(2)])
    kind = _FILE_TYPES.get(str(details.get("quantization_level")))
    if kind is not None:
        facts["general.file_type"] = kind
    if "bert" in family:
        facts[f"{family}.pooling_type"] = 1
    return facts


def _fact(value: Json) -> FactValue:
    if isinstance(value, list):
        whole = [v for v in value if not (isinstance(v, str) and _SHORTENED.search(v))]
        return tuple(_fact(v) for v in whole)
    assert value is None or isinstance(value, int | float | str), value
    return () if value is None else value


def _tensor(row: Mapping[str, Json]) -> Tensor:
    return Tensor(
        name=str(row["name"]), type=str(row["type"]), shape=tuple(int(n) for n in row["shape"])
    )
