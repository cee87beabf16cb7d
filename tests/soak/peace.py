"""Convergence: twenty minutes after the last fault all is as wanted, or cannot be.

What is missing then is tried on the host itself, after everybody has left who may be unloaded for
it: if it comes, and nobody who has to stay goes for it, nothing was in its way.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from soak.judge import Judge
from warmset.core.control.actions import Decision, Wait
from warmset.core.control.state import Remembered, State
from warmset.core.model import FOREVER, DeviceId, ModelKey
from warmset.core.ollama.belief import RunnerView
from warmset.core.ollama.types import Gpu
from warmset.core.planner import Candidate
from warmset.core.twin.runner import Runner

TRIAL_SECONDS = 120.0
"""So long a model that is tried may take: no load of these hosts takes a minute."""
MOVING_SECONDS = 60.0
"""So long after a load or an unload the next step may be waited for: the calm of the loop."""
DOUBT_SHARE = 0.05
"""Of each card: so much less than its upper bound a model may take."""
ONE_CARD_SHARE = 0.5
"""Weights of so much of a card are to come whole on one of several."""
GUESSED_BYTES = 2**26
"""What was remembered may differ by so much from what Ollama's runner found, in whole MiB."""
DOUBT_BYTES = 2**30
"""Of each card: a model that is still to come is charged with an upper bound."""
LED_OFF = "Ollama would put it on"
HELD_BACK = ("pins_conflict", "lever_broken", "gpus_changed")
"""Alarms of which nothing is loaded, or not all: what stands is known, and its end too."""


class Peace(Judge):
    """Judges the end of a life; the trial ends it."""

    def closes(self) -> None:
        """Asks whether what is missing could come; nothing may be asked of the host afterwards."""
        warmset = self.life.warmset
        decision = None if warmset is None else warmset.loop.decision
        if warmset is None or decision is None or self.life.story.is_read_only:
            return
        if decision.is_converged or self._is_held_back(decision):
            return
        if decision.is_provisional or self._is_moving(warmset.loop.state):
            return  # on its way: whether it may move still, the law of stillness asks
        missing = self._missing(decision)
        if missing:
            warmset.kill()
            self.life.is_over = True
            self._try_all(missing)

    def _is_moving(self, state: State) -> bool:
        """Whether somebody came, left or was used just now: what follows from that is not over."""
        runners = self.life.host.scheduler.loaded.values()
        ago = [self.life.timeline.now - runner.started_at for runner in runners]
        used = [state.of(ModelKey(runner.model.key)).used_at for runner in runners]
        ago += [self.life.loop_now - at for at in (state.freed_at, *used) if at is not None]
        return min(ago, default=math.inf) < MOVING_SECONDS

    def _is_held_back(self, decision: Decision) -> bool:
        """Whether the host itself stands still, or an alarm says until when nothing is loaded."""
        if any(code.startswith(HELD_BACK) for code in decision.standing):
            return True
        scheduler = self.life.host.scheduler
        return scheduler._head is not None and scheduler.loading is None

    def _missing(self, decision: Decision) -> list[Candidate]:
        """Returns who is wanted and not there: all pins, else whoever ranks highest."""
        assert self.life.warmset is not None
        wish = self.life.warmset.loop.wish
        if wish is None:
            self.tell(f"nothing is planned after a long peace: {decision.trouble}")
            return []
        members = {member.key for member in decision.members}
        absent = [
            c
            for c in wish.candidates
            if not c.is_resident
            and (c.pin or c.key in members)
            and f"paused {c.key}" not in decision.standing
        ]
        if self.life.story.cards > 1:  # by a belief that it may have, Ollama takes another card
            led_off = {
                w.key for w in decision.actions if isinstance(w, Wait) and LED_OFF in w.reason
            }
            least = min((c.rank for c in absent if c.key in led_off), default=None)
            absent = [c for c in absent if c.key not in led_off]
            absent = [c for c in absent if least is None or c.rank > least]  # or waits for it
        absent.sort(key=lambda c: c.rank, reverse=True)
        return [c for c in absent if c.pin] or absent[:1]

    def _try_all(self, missing: list[Candidate]) -> None:
        host = self.life.host
        before = list(host.scheduler.loaded.values())
        gone = [runner for runner in before if self._may_go(runner, missing[0])]
        stays = {runner.model.key for runner in before if runner not in gone}
        if any(self._is_guessed(key) for key in stays):
            return  # Ollama may remember less, and let somebody go who has to stay
        for runner in gone:
            host.unload(runner.model)
        self._pass(60.0)
        self._doubts()
        pins = [r.model.name for r in gone if self.is_pin(r.model.name)]
        pins.sort(key=self._size, reverse=True)
        for candidate in missing:
            names = (candidate.name, *pins)
            if all(self._comes(name, stays) for name in names):
                self.tell(
                    f"{candidate.name} is missing after a long peace, and nothing is in its way"
                )
                return

    def _doubts(self) -> None:
        """Lets the host believe that as little is free as warmset has to expect of it.

        It may ask any of its runners, under the names that it looks up or the right ones; one that
        found too little and holds nothing may have been started with any GPU.
        """
        host = self.life.host
        nothing = {gpu.device: 0 for gpu in host.cards.gpus}
        discovery = host.scheduler._discovery
        refresh = discovery.refresh

        def doubt(runners: Sequence[RunnerView]) -> tuple[Gpu, ...]:
            free = {gpu.device: gpu.free_bytes for gpu in refresh(runners)}
            for runner in host.scheduler.loaded.values():
                by_card = host.cards.held_by(runner.pid)
                for card, held in (by_card if any(by_card.values()) else nothing).items():
                    found = self._found_on(runner.model.key, card)
                    free[card] = min(free[card], found - held)
            return tuple(g.with_free(max(0, free[g.device] - DOUBT_BYTES)) for g in host.cards.gpus)

        discovery.refresh = doubt  # type: ignore[method-assign]

    def _found_on(self, key: str, card: str) -> int:
        """Returns what a runner found free on a card, where that is known."""
        return self._remembered(key).free_low.get(DeviceId(card), sys.maxsize)

    def _remembered(self, key: str) -> Remembered:
        assert self.life.warmset is not None
        return self.life.warmset.loop.state.of(ModelKey(key))

    def _may_go(self, runner: Runner, candidate: Candidate) -> bool:
        """Whether a resident may be unloaded for one that is missing."""
        name = runner.model.name
        policy = self.life.said.settings.policy_for((name,))
        key = runner.model.key
        if runner.refs > 0 or self._is_nameless(runner) or self._is_somewhere(key):
            return False
        if self._remembered(key).unmoved is not None:
            return False  # a ping met a request: it counts as in use until it is seen to be none
        if self.is_pin(name):
            return candidate.pin and self.loop.may_reload_pins
        if not self.life.is_managed(name):
            return self.loop.may_evict_unconfigured
        return candidate.pin or policy.priority < candidate.priority

    def _is_nameless(self, runner: Runner) -> bool:
        """Whether its name means other weights by now: then no unload reaches it."""
        named = self.life.host.library.find(runner.model.name)
        return named is None or named.key != runner.model.key

    def _is_somewhere(self, key: str) -> bool:
        """Whether warmset does not know on which card a resident lies."""
        wish = None if self.life.warmset is None else self.life.warmset.loop.wish
        return wish is not None and key in wish.guessed

    def _is_guessed(self, key: str) -> bool:
        """Whether warmset does not know, or not rightly, what a resident found free, and where."""
        if self._is_somewhere(key):
            return True
        known = self._remembered(key)
        found = self.life.host.scheduler.loaded[key].view.free_at_load
        return known.free_low != known.free_high or any(
            abs(known.free_low.get(DeviceId(gpu), -math.inf) - count) > GUESSED_BYTES
            for gpu, count in found.items()
        )

    def _comes(self, name: str, stays: set[str]) -> bool:
        """Whether a model can be loaded whole beside those who stay and who came before it."""
        host = self.life.host
        before = stays | host.scheduler.loaded.keys()
        host.use(name, 0.0, keep_alive=FOREVER)
        self._pass(TRIAL_SECONDS)
        model = host.library.find(name)
        runner = None if model is None else host.scheduler.loaded.get(model.key)
        if model is None or runner is None:
            return False
        cards = host.cards.gpus
        is_for_one = model.size_bytes < ONE_CARD_SHARE * min(card.total_bytes for card in cards)
        if is_for_one and len(host.cards.held_by(runner.pid)) > 1:
            return False  # it would have spilled, had Ollama counted a little otherwise
        is_whole = runner.vram_bytes == runner.total_bytes
        is_within = not self.life.motives._overfull_cards(-DOUBT_SHARE)
        return is_whole and is_within and before <= host.scheduler.loaded.keys()

    def _size(self, name: str) -> int:
        model = self.life.host.library.find(name)
        return 0 if model is None else model.size_bytes

    def _pass(self, seconds: float) -> None:
        self.life.timeline.advance(self.life.timeline.now + seconds)
