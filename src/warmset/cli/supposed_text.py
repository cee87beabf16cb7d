"""What `plan` adds for a host that is only supposed: the memory that would end all evictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmset.core.control.preview import Preview
from warmset.core.planner.extra import Extra
from warmset.core.units import format_bytes


def print_extra(seen: Preview, extra: Sequence[Extra]) -> None:
    """Prints the cheapest memory with which all models stay resident, or why none would do."""
    print()
    outside = seen.wish.plan.left_out
    if not outside and seen.wish.conflict is None:
        print("All models fit together: nobody is evicted.")
    elif extra:
        print(f"The cheapest memory that would end the evictions: {_words(extra[0])}.")
        for other in extra[1:]:
            print(f"  or {_words(other)}")
    else:
        count, limit = len(seen.wish.candidates), seen.wish.host.max_count
        why = f"; the server loads at most {limit} of {count} models" if count > limit else ""
        print(f"No more GPU memory ends the evictions{why}.")


def _words(extra: Extra) -> str:
    size = format_bytes(extra.extra_bytes)
    return f"{size} more on {extra.gpu}" if extra.gpu else f"one more GPU of {size}"


def describe_supposed(words: Sequence[str], extra: Sequence[Extra]) -> Mapping[str, object]:
    """Returns what `-o json` has of it."""
    return {
        "supposing": list(words),
        "extra_memory": [{"gpu": one.gpu or None, "extra_bytes": one.extra_bytes} for one in extra],
    }
