"""`/api/generate` and `/api/chat`: preload, unload, and text that comes at its pace.

Source: Ollama v0.33 `server/routes.go: GenerateHandler, ChatHandler, scheduleRunner,
handleScheduleError`; the order of the checks is the order there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from warmset.core.twin.api.answer import Answer, Refuse
from warmset.core.twin.api.gojson import Fields, instant, nanoseconds
from warmset.core.twin.api.session import Ask, Session, Times
from warmset.core.twin.api.speech import Pace, Speech
from warmset.core.twin.host import TwinHost
from warmset.core.twin.library import COMPLETION, InstalledModel
from warmset.core.twin.names import is_cloud_name, parse_name

CLOUD_DISABLED: Final = "ollama cloud is disabled: remote inference is unavailable"


# -- what both endpoints check -------------------------------------------------------------


def find_model(host: TwinHost, text: str, *, empty: tuple[int, str]) -> InstalledModel:
    """Returns the installed model that a request names.

    Raises:
        Refuse: in Ollama's words; `empty` for a request without a name.
    """
    base = text.strip()
    if not base:
        raise Refuse(*empty)
    if is_cloud_name(base):
        raise _cloud_refusal(host, base)
    if base.lower().endswith(":local"):
        base = base[: -len(":local")]
    if parse_name(base) is None:
        raise Refuse(400, "invalid model name")
    model = host.library.find(base)
    if model is None:
        raise Refuse(404, f"model '{text}' not found")
    return model


def _cloud_refusal(host: TwinHost, name: str) -> Refuse:
    if host.env.no_cloud:
        return Refuse(403, CLOUD_DISABLED)
    return Refuse(502, f"the twin of a host has no cloud to ask for {name}")


def refuse_remote(host: TwinHost, model: InstalledModel) -> None:
    """Refuses a cloud stub, whose requests a real server would send away."""
    if model.remote_host:
        raise _cloud_refusal(host, model.name)


def check_capabilities(model: InstalledModel, name: str, verb: str, wanted: list[str]) -> None:
    """Refuses what the model cannot do, before anything is scheduled."""
    missing = [word for word in wanted if word not in model.capabilities]
    if COMPLETION in missing:
        raise Refuse(400, f'"{name}" does not support {verb}')
    if missing:
        qualified = parse_name(model.name)
        assert qualified is not None
        full = "/".join(qualified.key[:2]) + f"/{model.name.rpartition('/')[2]}"
        joined = "\n".join(missing)
        raise Refuse(400, f"{full} does not support {joined}")


def read_limit(options: Mapping[str, object], model: InstalledModel) -> int | None:
    """Returns the most tokens to generate; `None` for no limit."""
    value = options.get("num_predict", model.parameters.get("num_predict"))
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return int(value)
    return None


def wants_thinking(fields: Fields, model: InstalledModel, name: str) -> list[str]:
    """Returns the capability that thinking asks for, if any."""
    if "thinking" in model.capabilities:
        return ["thinking"]
    think = fields.raw("think")
    if think is not None and think is not False:
        raise Refuse(400, f'"{name}" does not support thinking')
    return []


# -- the two endpoints ---------------------------------------------------------------------


def generate(host: TwinHost, pace: Pace, fields: Fields, path: str, answer: Answer) -> None:
    """Answers `/api/generate`."""
    name, prompt, keep_alive = fields.text("model"), fields.text("prompt"), fields.keep_alive()
    stream, options = fields.flag("stream"), fields.mapping("options")
    model = find_model(host, name, empty=(404, f"model '{name}' not found"))
    if not prompt and keep_alive == 0:
        host.unload(model)
        answer.whole(_generated(name, host.timeline.now, "", "unload"))
        return
    refuse_remote(host, model)
    if fields.flag("raw") and (fields.text("template") or fields.text("system")):
        raise Refuse(400, "raw mode does not support template, system, or context")
    wanted = [COMPLETION, *(["insert"] if fields.text("suffix") else [])]
    wanted += wants_thinking(fields, model, name)
    check_capabilities(model, name, "generate", wanted)
    system = fields.text("system") or model.system
    ask = Ask(
        path=path,
        body=fields.source,
        name=name,
        model=model,
        keep_alive=keep_alive,
        options=options,
        shift=fields.flag("shift"),
        stream=stream is not False,
        truncate=fields.flag("truncate") is not False,
        prompt=f"{system}{model.template}{prompt}",
        is_preload=not prompt,
        limit=read_limit(options, model),
        arrived_at=host.timeline.now,
    )
    Session(
        host=host, pace=pace, ask=ask, answer=answer, finish=_end_generate, part=_part_generate
    ).begin()


def chat(host: TwinHost, pace: Pace, fields: Fields, path: str, answer: Answer) -> None:
    """Answers `/api/chat`."""
    name, keep_alive = fields.text("model"), fields.keep_alive()
    messages = fields.items("messages", "[]api.Message")
    stream, options = fields.flag("stream"), fields.mapping("options")
    model = find_model(host, name, empty=(400, "model is required"))
    if not messages and keep_alive == 0:
        host.unload(model)
        answer.whole(_said(name, host.timeline.now, "", "unload"))
        return
    refuse_remote(host, model)
    wanted = [COMPLETION, *(["tools"] if fields.items("tools", "[]api.Tool") else [])]
    wanted += wants_thinking(fields, model, name)
    check_capabilities(model, name, "chat", wanted)
    texts = [str(m.get("content", "")) for m in messages if isinstance(m, dict)]
    ask = Ask(
        path=path,
        body=fields.source,
        name=name,
        model=model,
        keep_alive=keep_alive,
        options=options,
        shift=fields.flag("shift"),
        stream=stream is not False,
        truncate=fields.flag("truncate") is not False,
        prompt=f"{model.system}{model.template}{''.join(texts)}",
        is_preload=not messages,
        limit=read_limit(options, model),
        arrived_at=host.timeline.now,
    )
    Session(host=host, pace=pace, ask=ask, answer=answer, finish=_end_chat, part=_part_chat).begin()


def _generated(name: str, now: float, text: str, reason: str) -> dict[str, object]:
    head: dict[str, object] = {"model": name, "created_at": instant(now), "response": text}
    return {**head, "done": bool(reason), **({"done_reason": reason} if reason else {})}


def _said(name: str, now: float, text: str, reason: str) -> dict[str, object]:
    message = {"role": "assistant", "content": text}
    head: dict[str, object] = {"model": name, "created_at": instant(now), "message": message}
    return {**head, "done": bool(reason), **({"done_reason": reason} if reason else {})}


def _metrics(speech: Speech, times: Times) -> dict[str, object]:
    return {
        "total_duration": nanoseconds(times.now - times.arrived_at),
        "load_duration": nanoseconds(times.loaded_at - times.arrived_at),
        "prompt_eval_count": times.prompt_tokens,
        "prompt_eval_duration": nanoseconds(speech.prompt_seconds),
        "eval_count": len(speech.tokens),
        "eval_duration": nanoseconds(speech.seconds),
    }


def _reason(ask: Ask, speech: Speech) -> str:
    """An answer that used up its limit was cut off."""
    return "length" if ask.limit is not None and len(speech.tokens) >= ask.limit else "stop"


def _part_generate(ask: Ask, token: str, answer: Answer, now: float) -> None:
    answer.line(_generated(ask.name, now, token, ""))


def _part_chat(ask: Ask, token: str, answer: Answer, now: float) -> None:
    answer.line(_said(ask.name, now, token, ""))


def _end_generate(ask: Ask, speech: Speech | None, answer: Answer, times: Times) -> None:
    if speech is None:
        answer.whole(_generated(ask.name, times.now, "", "load"))
        return
    text = "" if ask.stream else "".join(speech.tokens)
    context = [*range(times.prompt_tokens + len(speech.tokens))]
    last = _generated(ask.name, times.now, text, _reason(ask, speech))
    _send_last(ask, answer, {**last, "context": context, **_metrics(speech, times)})


def _end_chat(ask: Ask, speech: Speech | None, answer: Answer, times: Times) -> None:
    if speech is None:
        answer.whole(_said(ask.name, times.now, "", "load"))
        return
    text = "" if ask.stream else "".join(speech.tokens)
    last = _said(ask.name, times.now, text, _reason(ask, speech))
    _send_last(ask, answer, {**last, **_metrics(speech, times)})


def _send_last(ask: Ask, answer: Answer, payload: Mapping[str, object]) -> None:
    if ask.stream:
        answer.line(payload)
        answer.end()
    else:
        answer.whole(payload)
