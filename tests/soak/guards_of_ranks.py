"""Guards of ranks as leases, each with a story that was made to show what it is for."""

from __future__ import annotations

from typing import Final

from loop_hosts import CODER, EMBED, MEDIUM

from soak.taking_out import Mutant, shown

RANKS: Final[tuple[Mutant, ...]] = (
    shown(
        "wanted: pins and priorities have no say in ranks",
        "wanted:_ranked",
        "(candidate.pin, candidate.priority, worth, candidate.key)",
        instead="(worth, candidate.key)",
        wanted=(EMBED,),
    ),
    shown(
        "ranking: worth comes before pins and priorities",
        "ranking:rank_by_worth",
        "(row.pin, row.priority)",
        instead="None",
        wanted=(EMBED,),
    ),
    shown(
        "renewing: a rank that changed is not written",
        "renewing:_why",
        "abs(held - lease) > SAME_SECONDS",
        (100.0, "order_pin", EMBED, True),
        pins=(CODER,),
        wanted=(MEDIUM, EMBED),
    ),
    shown(
        "renewing: a pin that is fought over is lost at the end",
        "renewing:_renewal",
        "left > LAST_MOMENT_SECONDS",
        (300.0, "nag", CODER, 100.0, 18),
        instead="True",
    ),
    shown(
        "overruled: our own lease that was forgotten is a client's",
        "overruled:_own_lease",
        "known.lease is not None or known.is_overruled or known.slot is None",
        (64.5, "crash", 90.0),
        (128.5, "use", CODER, 150.0, None, None),
        instead="True",
    ),
)
