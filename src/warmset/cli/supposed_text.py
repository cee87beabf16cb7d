"""What `plan` adds for a host that is only supposed: the memory that would end all evictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmset.core.control.preview import Preview
from warmset.core.planner.extra import Extra, Remedy
from warmset.core.units import format_bytes


def print_extra(seen: Preview, extra: Remedy) -> None:
    """Prints the cheapest memory with which all models stay resident, or why none would do."""
    print()
    outside = seen.wish.plan.left_out
    if not outside and seen.wish.conflict is None:
        print("All models fit together: nobody is evicted.")
    elif extra.ways:
        print(f"The cheapest memory that would end the evictions: {_words(extra.ways[0])}.")
        for other in extra.ways[1:]:
            print(f"  or {_words(other)}")
        if extra.unknown:
            print(f"Whether less would do is not known: {extra.unknown}.")
    elif extra.unknown:
        print(f"Whether more GPU memory would end the evictions is not known: {extra.unknown}.")
    else:
        count, limit = len(seen.wish.candidates), seen.wish.host.max_count
        why = f"; the server loads at most {limit} of {count} models" if count > limit else ""
        print(f"No more GPU memory ends the evictions{why}.")
    for reason in extra.uncounted:
        print(f"  not counted: {reason}")


def _words(extra: Extra) -> str:
    size = format_bytes(extra.extra_bytes)
    return f"{size} more on {extra.gpu}" if extra.gpu else f"one more GPU of {size}"


def describe_supposed(words: Sequence[str], extra: Remedy) -> Mapping[str, object]:
    """Returns what `-o json` has of it."""
    return {
        "supposing": list(words),
        "extra_memory": [
            {"gpu": way.gpu or None, "extra_bytes": way.extra_bytes, "is_least": way.is_least}
            for way in extra.ways
        ],
        "extra_memory_unknown": extra.unknown or None,
        "extra_memory_not_counted": list(extra.uncounted),
    }
