"""`/api/embed` and `/api/embeddings`. Neither can unload: keep-alive 0 loads, then lets go.

Source: Ollama v0.33 `server/routes.go: EmbedHandler, EmbeddingsHandler`; transcript 09.
"""

from __future__ import annotations

from dataclasses import replace

from warmset.core.twin.api.answer import Answer, Refuse
from warmset.core.twin.api.gojson import Fields, nanoseconds
from warmset.core.twin.api.inference import find_model, refuse_remote
from warmset.core.twin.api.session import Ask, Session, Times
from warmset.core.twin.api.speech import Pace, Speech, embed, unit
from warmset.core.twin.host import TwinHost
from warmset.core.twin.library import InstalledModel


def embed_texts(host: TwinHost, pace: Pace, fields: Fields, path: str, answer: Answer) -> None:
    """Answers `/api/embed`."""
    empty = (404, f"model '{fields.text('model')}' not found")
    ask = _ask(host, fields, path, empty, value=fields.raw("input"))
    ask = replace(ask, dimensions=fields.integer("dimensions") or 0)
    Session(host=host, pace=pace, ask=ask, answer=answer, finish=_end).begin()


def embed_prompt(host: TwinHost, pace: Pace, fields: Fields, path: str, answer: Answer) -> None:
    """Answers the older `/api/embeddings`."""
    empty = (400, "model is required")
    ask = _ask(host, fields, path, empty, value=fields.text("prompt"))
    Session(host=host, pace=pace, ask=ask, answer=answer, finish=_end_older).begin()


def _ask(
    host: TwinHost, fields: Fields, path: str, empty: tuple[int, str], *, value: object
) -> Ask:
    name, keep_alive = fields.text("model"), fields.keep_alive()
    options = fields.mapping("options")
    texts = _read_input(value)
    return Ask(
        path=path,
        body=fields.source,
        name=name,
        model=_find(host, name, empty=empty),
        keep_alive=keep_alive,
        options=options,
        stream=False,
        texts=texts,
        is_preload=not texts,
        arrived_at=host.timeline.now,
    )


def _read_input(value: object) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise Refuse(400, "invalid input type")


def _find(host: TwinHost, name: str, *, empty: tuple[int, str]) -> InstalledModel:
    try:
        model = find_model(host, name, empty=empty)
    except Refuse as refusal:
        if refusal.status == 404 and name.strip():
            text = f'model "{name}" not found, try pulling it first'
            raise Refuse(404, text) from None
        raise
    refuse_remote(host, model)
    return model


def _vectors(ask: Ask) -> list[list[float]]:
    length = ask.model.weights.fact("embedding_length")
    whole = [embed(text, length if isinstance(length, int) else 1) for text in ask.texts or ()]
    kept = ask.dimensions
    return [unit(v[:kept]) if 0 < kept < len(v) else v for v in whole]


def _end(ask: Ask, speech: Speech | None, answer: Answer, times: Times) -> None:
    head: dict[str, object] = {"model": ask.name, "embeddings": _vectors(ask)}
    if speech is not None:
        head["total_duration"] = nanoseconds(times.now - times.arrived_at)
        head["load_duration"] = nanoseconds(times.loaded_at - times.arrived_at)
        head["prompt_eval_count"] = times.prompt_tokens
    answer.whole(head)


def _end_older(ask: Ask, speech: Speech | None, answer: Answer, times: Times) -> None:
    del times
    vectors = _vectors(ask) if speech is not None else []
    answer.whole({"embedding": vectors[0] if vectors else []})
