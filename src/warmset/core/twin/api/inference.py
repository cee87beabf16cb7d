"""`/api/generate` and `/api/chat`: preload, unload, and text that comes at its pace.

Source: Ollama v0.33 `server/routes.go: GenerateHandler, ChatHandler, scheduleRunner,
handleScheduleError`; the order of the checks is the order there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from warmset.core.ollama.options import OptionError
from warmset.core.twin.api.answer import Answer, Refuse
from warmset.core.twin.api.gojson import Fields, instant, nanoseconds
from warmset.core.twin.api.speech import Pace, Speech, Work, count_tokens
from warmset.core.twin.clock import Timer
from warmset.core.twin.host import Crash, Disconnected, Grant, News, Refusal, TwinHost
from warmset.core.twin.library import COMPLETION, InstalledModel
from warmset.core.twin.names import is_cloud_name, parse_name
from warmset.core.twin.runner import Runner

PROMPT_TOO_LONG: Final = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)
NO_EMBEDDINGS: Final = "This server does not support embeddings. Start it with `--embeddings`"
CLOUD_DISABLED: Final = "ollama cloud is disabled: remote inference is unavailable"
_NOTICE_SECONDS: Final = 0.003
"""A client that goes away in mid-answer is noticed a moment later (transcript 17)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A load-type request after its checks.

    Attributes:
        name: as the client wrote it; answers repeat it.
        prompt: all text that the model reads; empty for a preload.
        texts: to embed, for the embedding calls.
    """

    path: str
    body: object
    name: str
    model: InstalledModel
    keep_alive: float | None
    options: Mapping[str, object]
    shift: bool | None = None
    stream: bool = True
    truncate: bool = True
    prompt: str = ""
    is_preload: bool = False
    texts: tuple[str, ...] | None = None
    limit: int | None = None
    arrived_at: float = 0.0


Finish = Callable[[Ask, Speech | None, Answer, "Times"], None]
"""Writes the end of an answer; without speech the request was a preload."""

Part = Callable[[Ask, str, Answer, float], None]
"""Writes one streamed token, at an instant."""


@dataclass(slots=True, kw_only=True)
class Times:
    """When a request came and got its runner. Units: Unix seconds."""

    arrived_at: float
    loaded_at: float
    now: float
    prompt_tokens: int = 0


@dataclass(slots=True, kw_only=True)
class Session:
    """One request from its submission to the end of its exchange."""

    host: TwinHost
    pace: Pace
    ask: Ask
    answer: Answer
    finish: Finish
    part: Part | None = None
    number: int = 0
    loaded_at: float = 0.0
    timers: list[Timer] = field(default_factory=list)
    is_over: bool = False

    def begin(self) -> None:
        """Asks the scheduler for a runner."""
        ask = self.ask
        self.answer.exchange.on_abandon = self._abandon
        if any(layer.is_missing for layer in ask.model.layers):
            text = f'model "{ask.name}" not found, try pulling it first'
            raise Refuse(404, text)
        try:
            self.number = self.host.submit(
                ask.model,
                self._hear,
                keep_alive=ask.keep_alive,
                options=ask.options,
                shift=ask.shift,
            )
        except OptionError as problem:
            raise Refuse(500, str(problem)) from None

    def _hear(self, news: News) -> None:
        if isinstance(news, Grant):
            self.loaded_at = self.host.timeline.now
            self._serve(news.runner)
        elif isinstance(news, Refusal):
            self.is_over = True
            self.answer.fail(news.status, news.error)
        elif isinstance(news, Crash):
            self._fail(500, news.error)
        elif isinstance(news, Disconnected):
            self._stop_timers()
            self.is_over = True
            self.answer.exchange.drop()

    def _serve(self, runner: Runner) -> None:
        ask = self.ask
        if ask.is_preload:
            self._end(None)
            return
        tokens = sum(map(count_tokens, (ask.prompt,) if ask.texts is None else ask.texts))
        if ask.texts is not None and not ask.model.as_loaded().embeds:
            self._fail(501, NO_EMBEDDINGS)
            return
        room = runner.shape.options.num_ctx - 1
        if ask.texts is None and tokens > room > 0 and ask.truncate:
            if not runner.shape.context_shift:
                self._fail(400, PROMPT_TOO_LONG)
                return
            tokens = room
        work = Work(
            path=ask.path,
            body=ask.body,
            model=ask.model,
            runner=runner,
            prompt_tokens=tokens,
            limit=0 if ask.texts is not None else ask.limit,
            started_at=ask.arrived_at,
        )
        self._speak(self.pace.serve(work), tokens)

    def _speak(self, speech: Speech, prompt_tokens: int) -> None:
        """Plans the tokens of a streamed answer, and the end of every answer."""
        end = speech.prompt_seconds + speech.seconds
        if speech.error:
            self._after(end, lambda: self._fail(speech.status, speech.error))
            return
        if self.part is not None and self.ask.stream:
            step = speech.seconds / max(len(speech.tokens), 1)
            for index, token in enumerate(speech.tokens):
                due = speech.prompt_seconds + index * step
                self._after(due, partial(self._say, token))
        self._after(end, lambda: self._end(speech, prompt_tokens))

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self.timers.append(self.host.timeline.after(seconds, action))

    def _say(self, token: str) -> None:
        assert self.part is not None
        self.part(self.ask, token, self.answer, self.host.timeline.now)

    def _end(self, speech: Speech | None, prompt_tokens: int = 0) -> None:
        times = Times(
            arrived_at=self.ask.arrived_at,
            loaded_at=self.loaded_at,
            now=self.host.timeline.now,
            prompt_tokens=prompt_tokens,
        )
        self._over()
        self.finish(self.ask, speech, self.answer, times)

    def _fail(self, status: int, error: str) -> None:
        self._over()
        self.answer.fail(status, error)

    def _over(self) -> None:
        self._stop_timers()
        self.is_over = True
        self.host.finish(self.number)

    def _abandon(self) -> None:
        self._stop_timers()
        if self.loaded_at:
            self.host.timeline.after(_NOTICE_SECONDS, self._give_up)
        else:
            self._give_up()

    def _give_up(self) -> None:
        if not self.is_over:
            self.is_over = True
            self.host.cancel(self.number)

    def _stop_timers(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


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
