"""Why something is moved: nobody goes for nothing, for a moment's need, or against its own load.

And the other way round: where more is held than may be, somebody goes or the operator hears of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from soak.claims import SURE_SHARE, pays_seconds
from soak.judge import Judge
from warmset.core.control.actions import Decision, Wait
from warmset.core.control.orders import (
    Command,
    Done,
    Event,
    SendPing,
    SendPreload,
    SendUnload,
    Started,
)
from warmset.core.control.question import GPU_GRAINS
from warmset.core.control.restarts import GAP_TICKS
from warmset.core.control.retention import SERVER_KEEP_ALIVE_SECONDS
from warmset.core.control.state import State
from warmset.core.control.turns import PINS_WAIT_SECONDS
from warmset.core.host.draining import PATIENCE_SECONDS
from warmset.core.model import ModelKey, Observation, normalise_name
from warmset.core.planner import ActionKind
from warmset.core.twin.events import Granted, LoadEnded, LoadStarted, Unloaded
from warmset.core.twin.runner import Runner

if TYPE_CHECKING:
    from soak.life import Life

USED_SECONDS = 120.0
"""Room is used so long after its model has left: memory takes some seconds, and who serves somebody
unseen leaves late."""
OVER_SECONDS = 180.0
"""By then somebody has gone, or an alarm stands: two minutes, and some looks in between that tell
nothing."""
SLACK_SHARE = 0.02
"""Of a card: less is not seen. A plan is kept while no amount moves by more than a grain."""


class Motives(Judge):
    """Judges unloads by what becomes of the room, and room that is not there."""

    def __init__(self, life: Life, tell: Callable[[str], None]) -> None:
        super().__init__(life, tell)
        self._moved_at = -math.inf  # somebody else did something
        self._blind_at = -math.inf  # the driver told nothing
        self._asked_at = -math.inf  # when the look began that is decided on
        self._begun_at = -math.inf
        self._room: tuple[float, str] | None = None  # made by whom, and not used yet
        self._busy_then: set[str] = set()  # when that one was sent away
        self._unloading = ""
        self._over_since: float | None = None
        self._overfull: set[str] = set()
        self._was_tight = False
        self._settled_at = -math.inf
        self._took_at = -math.inf
        self._left_at = -math.inf  # when the last one was unloaded
        self._came_at: dict[str, float] = {}
        self._listed: set[str | None] = set()  # at the last look
        self._busy_at: dict[str, float] = {}
        self._loads: dict[str, float] = {}  # ours: when the look began that they were sent on
        self._waited: dict[str, float] = {}  # and for how long a pin had been away then
        self._beside_a_pin: set[str] = set()  # whom we loaded while another pin was away
        self._sent_away: dict[str, tuple[float, frozenset[str]]] = {}  # when, and for whom
        self._open: Command | None = None
        self._pinging: Command | None = None
        self._booted_ahead = 0.0
        self._looked_at = -math.inf
        self._is_first = True  # nothing to compare with: there was no look before, or long ago

    # -- what it is told --------------------------------------------------------------------------

    def boots(self, *, is_fresh: bool) -> None:
        if is_fresh:
            self._looked_at = -math.inf
        self._room = self._open = self._pinging = None
        self._loads.clear()
        self._sent_away.clear()
        self._busy_at.clear()
        if self.life.clock_ahead != self._booted_ahead:
            self._came_at.clear()  # by the new clock all that is remembered is long ago or to come
        self._booted_ahead = self.life.clock_ahead
        self._over_since = None
        self._moved_at = self.now

    def breaks_off(self, *, is_server: bool = False) -> None:
        self._moved_at = self.now
        self._busy_at.clear()

    def says(self) -> None:
        self._moved_at = self.now  # a window that opens, too

    def look_begins(self) -> None:
        self._begun_at = self.now
        self._overfull, self._was_tight = self._overfull_cards(), bool(self._overfull_cards(0.0))
        cards = self.life.host.cards
        is_late = any(cards.draining(gpu.device) for gpu in cards.gpus)
        if is_late and self.now - self._left_at > PATIENCE_SECONDS:
            self._moved_at = self.now  # it looks as if another program held it, and gives it back
        for key, runner in self.life.host.scheduler.loaded.items():
            if runner.refs > 0:
                self._busy_at[key] = self.now

    def looked(self, observation: Observation) -> None:
        self._listed = {row.key for row in observation.residents or ()}
        self._asked_at = self._begun_at
        last, self._looked_at = self._looked_at, self.now
        self._is_first = self.now - last > (GAP_TICKS + 1) * self.loop.tick
        if self._is_first and not self.life.story.sees_processes:
            # They may have come at any moment since.
            self._came_at |= dict.fromkeys(self.life.host.scheduler.loaded, self.now)
        room = self._room
        if room is not None and self._disturbed_since(room[0]):
            self._room = None
        elif room is not None and self.now - room[0] > USED_SECONDS:
            if self._unloading not in self.life.host.scheduler.loaded:
                self.tell(f"{room[1]} was sent away, and nothing was made of its room")
            self._room = None

    def decided(self, before: State, decision: Decision) -> None:
        del before
        if decision.is_converged:
            self._settled_at = self.now
        self._judge_budget(decision)
        busy = {key for key, at in self._busy_at.items() if at == self._asked_at}
        waits = {action.key for action in decision.actions if isinstance(action, Wait)}
        if self._room is not None and waits & (busy - self._busy_then):
            self._room = (self.now, self._room[1])  # another one is to go, once it is idle again

    def takes(self) -> None:
        """Another program takes memory on the card."""
        self._took_at = self.now

    def hears(self, event: object) -> None:
        is_own = isinstance(event, Unloaded) and event.key == self._unloading
        is_own |= isinstance(event, LoadStarted | LoadEnded) and self._is_ours(event)
        if isinstance(event, Granted):
            opened = None if self.life.warmset is None else self.life.warmset._open
            is_own = opened is not None and opened[1] == event.request_id
        if not is_own:
            self._moved_at = self.now
        if isinstance(event, LoadEnded) and not event.error:
            key = event.order.model.key
            # Where processes are hidden, who was there before looks as if it had been used; but a
            # ping that takes a while has loaded it.
            is_ping = isinstance(self._pinging, SendPing) and self._pinging.key == key
            if self.life.story.sees_processes or key not in self._listed or is_ping:
                self._came_at[key] = self.now
        elif isinstance(event, Unloaded):
            self._left_at = self.now
            if self._room is not None and event.key == self._unloading:
                self._room = (self.now, self._room[1])
            self._loads.pop(event.key, None)
            self._busy_at.pop(event.key, None)
            if event.is_evicted and isinstance(self._open, SendPreload):
                self._loads.pop(self._open.key, None)  # a surprise, which has a law of its own

    def ends(self, event: Event) -> None:
        if not isinstance(event, Started):
            self._pinging = None
        opened = self._open
        if opened is None or isinstance(event, Started) or event.number != opened.number:  # type: ignore[union-attr]
            return
        self._open = None
        if not isinstance(event, Done):
            self._moved_at = self.now

    def carries_out(self, command: Command) -> None:
        self._pinging = command
        if isinstance(command, SendPreload | SendUnload):
            self._open = command
        if isinstance(command, SendPreload):
            self._room = None
            self._loads[command.key] = self._asked_at
            self._waited[command.key] = self._missing_for(command.key)
            away = {n for n in self.life.story.pins if not self._is_loaded(n)} - {command.name}
            self._beside_a_pin.discard(command.key)
            if away:
                self._beside_a_pin.add(command.key)
            self._judge_return(command)
        elif isinstance(command, SendUnload):
            self._unloading = command.key
            self._note_plan(command)
            if not self.is_stuck:
                self._judge_unload(command)
            is_dismissed = self._is_dismissed(command)
            if is_dismissed:
                self._moved_at = self.now
            runner = self.life.host.scheduler.loaded.get(command.key)
            is_dead = runner is not None and not runner.is_alive  # nobody loses anything
            if not (self._was_tight or self.is_stuck or is_dismissed or is_dead):
                self._room = (self.now, command.name)
                self._busy_then = {k for k, at in self._busy_at.items() if at == self._asked_at}

    def _is_loaded(self, name: str) -> bool:
        model = self.life.host.library.find(name)
        return model is not None and model.key in self.life.host.scheduler.loaded

    def _missing_for(self, key: str) -> float:
        """Returns for how long warmset has known that a pin is away."""
        assert self.life.warmset is not None
        since = self.life.warmset.loop.state.of(ModelKey(key)).missing_since
        return 0.0 if since is None else self.life.warmset.now - since

    # -- the rules --------------------------------------------------------------------------------

    def _note_plan(self, command: SendUnload) -> None:
        """Keeps for whom, not there yet, a model goes that has no place in the plan.

        What a client had loaded with another context may have one in its own shape.
        """
        decision = None if self.life.warmset is None else self.life.warmset.loop.decision
        if decision is None:
            return
        members = frozenset(member.key for member in decision.members)
        leaves = {change.key for change in decision.changes if change.kind is ActionKind.UNLOAD}
        if command.key in (leaves - members) & self._loads.keys():
            self._sent_away[command.key] = (self._asked_at, members - self._listed)

    def _judge_return(self, command: SendPreload) -> None:
        """Who had no place in a plan has none afterwards, if nothing happened.

        Unless all of that plan that were missing have come: then it is known what they take, which
        may be less. Who was there already has told nothing new, whether it stayed or not.
        """
        at, missing = self._sent_away.pop(command.key, (-math.inf, frozenset()))
        have_come = bool(missing) and missing <= self.life.host.scheduler.loaded.keys()
        if not self._disturbed_since(at) and not have_come:
            self.tell(f"{command.name} was sent away and fetched, and nothing happened in between")

    def _judge_unload(self, command: SendUnload) -> None:
        key, name = command.key, command.name
        if self._is_first:
            self.tell(f"{name} was unloaded at a first look: nobody knew that it was idle")
        stayed = self.now - self._came_at.get(key, -math.inf)
        is_seen = self._came_at.get(key, -math.inf) <= self._asked_at  # or the look shows another
        if stayed < self.loop.min_residency and is_seen:
            self.tell(f"{name} was unloaded {stayed:.0f} s after it came")
        idle = self.now - self._busy_at.get(key, -math.inf)
        if idle < self.loop.idle_after and self.life.story.sees_processes:
            self.tell(f"{name} was unloaded {idle:.0f} s after it was seen in use")
        sent = self._loads.get(key)
        # A pin waits so long for the room of two, and is then loaded anew if it may be.
        is_patient = self.is_pin(name) and self._waited.get(key, 0.0) >= PINS_WAIT_SECONDS
        # And it is known only then what it takes itself, beside another pin that was away, too.
        is_patient |= self.is_pin(name) and key in self._beside_a_pin
        is_moved = self._disturbed_since(sent or -math.inf) or self._is_dismissed(command)
        if sent is not None and not is_moved and not is_patient:
            self.tell(f"{name} was loaded and unloaded, and nothing happened in between")
        held = self.now - self._took_at
        is_settled = self._settled_at >= self._took_at - self.loop.tick
        is_alone = max(self._moved_at, self.life.witness.disturbed_at) <= self._took_at
        is_hidden = not self.life.story.sees_processes  # then a long request looks like none
        unused = stayed if is_hidden else min(idle, stayed)
        kept = self.life.said.settings.policy_for((name,)).keep_alive
        runner = self.life.host.scheduler.loaded.get(key)
        pays = math.inf if runner is None else pays_seconds(self.life, runner, beside_others=False)
        kept = min(SERVER_KEEP_ALIVE_SECONDS, SURE_SHARE * pays, math.inf if kept is None else kept)
        is_due = self._is_dismissed(command) and unused >= kept
        if held < self.loop.pressure and is_settled and is_alone and not is_due:
            self.tell(f"{name} had to go {held:.0f} s after another program took memory")

    def _is_dismissed(self, command: SendUnload) -> bool:
        """Whether nobody configures it any more: once its time is up it goes, whatever else comes.

        So it does when Ollama's own timer ends it.
        """
        is_known = normalise_name(command.name) in self.life.ever_named
        if is_known and not self.life.is_managed(command.name):
            return True
        wish = None if self.life.warmset is None else self.life.warmset.loop.wish
        return wish is not None and bool(wish.candidate(command.key).dismissed)

    def _judge_budget(self, decision: Decision) -> None:
        """What is held is within the budget, or somebody is about to go, or an alarm says so."""
        if not self._overfull or decision.trouble:  # while nothing is known nothing can be done
            self._over_since = None
            return
        if self.life.faults.driver != "well":
            self._blind_at = self.now
        if self.now - self._blind_at < 2 * self.loop.tick:
            return  # what is held is not told
        if decision.is_provisional:
            return  # nothing is weighed while a load may be pending: what is seen may not stay
        if self._over_since is None:
            self._over_since = self.now
            return
        is_told = "over_budget" in decision.standing or self._open is not None
        over = self.now - self._over_since
        if over > OVER_SECONDS and not is_told and self.life.story.sees_processes:
            self.tell(f"more is held than may be, for {over:.0f} s, and no alarm stands")
        spare = self._who_is_spare(decision)
        if over > OVER_SECONDS and spare and self._open is None:
            self.tell(f"more is held than may be, for {over:.0f} s, and {spare} may stay")

    def _who_is_spare(self, decision: Decision) -> str:
        """Returns a managed model that nobody has needed for so long, if nothing else happened.

        It holds some of what is held too much of: who lies elsewhere makes no room.
        """
        since = self.now - OVER_SECONDS
        held_back = ("lever_broken unload", "loads_stuck", "pins_conflict")
        if self._disturbed_since(since) or not self.life.story.sees_processes:
            return ""
        if self.life.story.is_read_only or any(c.startswith(held_back) for c in decision.standing):
            return ""
        for key, runner in self.life.host.scheduler.loaded.items():
            name = normalise_name(runner.model.name)
            held = self.life.host.cards.held_by(runner.pid)
            if not any(held.get(card) for card in self._overfull):
                continue
            used_at = max(self._busy_at.get(key, -math.inf), self._came_at.get(key, -math.inf))
            if (
                self.life.is_managed(name)
                and not self.is_pin(name)
                and runner.refs == 0
                and used_at < since
            ):
                return name
        return ""

    def _overfull_cards(self, slack: float = SLACK_SHARE) -> set[str]:
        """Returns the cards of which models hold more than budget and other programs leave them.

        `slack` is a share of that card. Runners whose name means other weights now are nobody's to
        unload, and do not grow; without slack they count as programs that may where there are
        several cards, since nobody knows on which they lie. What Ollama's word of a model leaves
        out, where the driver does not say whose it is, counts as others'. So does then what is
        less than a whole grain of what they leave: plans count it in grains, rounded down.
        """
        return {
            gpu.device
            for index, gpu in enumerate(self.life.host.spec.gpus)
            if self._is_overfull(index, gpu.device, gpu.total_bytes, slack)
        }

    def _is_overfull(self, index: int, card: str, total: int, slack: float) -> bool:
        host, budgets = self.life.host, self.life.said.settings.budget
        known = {model.digest for model in host.library.models()}
        held, others, nameless = 0, host.cards.foreign(card), 0
        for runner in host.scheduler.loaded.values():
            count = host.cards.held_by(runner.pid).get(card, 0)
            ours = count if self.life.story.sees_processes else self._listed_on(runner, count)
            others += count - ours
            if runner.model.digest in known:
                held += ours
            elif self.life.story.cards == 1 or slack:
                nameless += ours
            else:
                others += ours
        if not slack:
            others += (total - others - nameless) % (total // GPU_GRAINS)
        budget = budgets.budget_bytes(card, index, total)
        reserve = budgets.of(card, index=index).vram_reserve_bytes
        # Where others hold all of the card nothing is left, and who lies in RAM holds no more.
        room = max(0, total - others - nameless - min(reserve, max(0, others - reserve)))
        return held > min(budget, room) + slack * total

    def _listed_on(self, runner: Runner, count: int) -> int:
        """Returns what Ollama's word of a runner says of its bytes on one card."""
        together = sum(self.life.host.cards.held_by(runner.pid).values())
        return min(count, runner.vram_bytes * count // together) if together else 0

    def _disturbed_since(self, moment: float) -> bool:
        return max(self._moved_at, self.life.witness.disturbed_at) > moment

    def _is_ours(self, event: LoadStarted | LoadEnded) -> bool:
        opened = self._open
        return isinstance(opened, SendPreload) and opened.key == event.order.model.key
