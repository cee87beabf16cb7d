"""One load-type request from its submission to the end of its exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from warmset.core.ollama.options import OptionError
from warmset.core.twin.api.answer import Answer, Refuse
from warmset.core.twin.api.speech import Pace, Speech, Work, count_tokens
from warmset.core.twin.clock import Timer
from warmset.core.twin.host import Crash, Disconnected, Grant, News, Refusal, TwinHost
from warmset.core.twin.library import InstalledModel
from warmset.core.twin.runner import Runner

PROMPT_TOO_LONG: Final = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)
NO_EMBEDDINGS: Final = "This server does not support embeddings. Start it with `--embeddings`"
_NOTICE_SECONDS: Final = 0.003
"""A client that goes away in mid-answer is noticed a moment later (transcript 17)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A load-type request after its checks.

    Attributes:
        name: as the client wrote it; answers repeat it.
        prompt: all text that the model reads; empty for a preload.
        texts: to embed, for the embedding calls.
        dimensions: of each vector that are wanted; 0 = all.
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
    dimensions: int = 0
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
        is_resident = ask.model.key in self.host.scheduler.loaded
        if not is_resident and any(layer.is_missing for layer in ask.model.layers):
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
