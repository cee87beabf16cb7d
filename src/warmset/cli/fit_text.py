"""How `fit` shows what fits instead, and which change would be enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from warmset.cli.demand_text import demand_text
from warmset.cli.render import Column, table
from warmset.core.units import format_bytes

if TYPE_CHECKING:
    from warmset.shell.changes import Change
    from warmset.shell.instead import Fitting, Part

CHANGE_COLUMNS = (
    Column(key="change", title="CHANGE"),
    Column(key="of", title="OF"),
    Column(key="from", title="FROM"),
    Column(key="to", title="TO"),
    Column(key="need", title="ALL NEED AT MOST", right=True),
    Column(key="saved", title="LESS BY", right=True),
)


def print_instead(found: Fitting, *, no_color: bool) -> None:
    """Prints the maximal subsets, best first, and the changes, smallest first."""
    if found.subsets:
        print()
        print("These fit together, best first:")
        for subset in found.subsets:
            print(f"  {_named(subset)}")
        if not found.has_all_subsets:
            print("  … and more that were not looked at")
        asked = {part.name: part.demand for subset in found.subsets for part in subset}
        rates = ", ".join(f"{name} {demand_text(asked[name])}" for name in sorted(asked))
        print(f"Requests a day that they are ranked by: {rates}")
    if found.unknown_subsets:
        print()
        print("Whether these fit together is not known:")
        for subset, why in found.unknown_subsets:
            print(f"  {_named(subset)}: {why}")
    print()
    if not found.changes:
        kinds = "context, KV type, slots, quantisation or pins"
        known = "is known to make" if found.unknown_changes else "makes"
        print(f"No single change of {kinds} {known} all fit.")
        if found.unknown_changes:
            print(f"Of some it is not known: {found.unknown_changes}.")
        if not found.pairs:
            print("Nor was a pair of such changes found.")
            return
        print("Each of these pairs does, the smallest first:")
        rows = [
            {**_row(change), "change": f"and {change.kind}" if place else change.kind}
            for pair in found.pairs
            for place, change in enumerate(pair)
        ]
        table(rows, CHANGE_COLUMNS, no_color=no_color)
        return
    print("Any of these makes all fit, the smallest first:")
    table([_row(change) for change in found.changes], CHANGE_COLUMNS, no_color=no_color)
    if found.unknown_changes:
        print(f"Whether smaller ones do is not known: {found.unknown_changes}.")


def _named(subset: Sequence[Part]) -> str:
    names = ", ".join(member.name for member in subset)
    return f"{names} (up to {format_bytes(sum(member.need_bytes for member in subset))})"


def _row(change: Change) -> Mapping[str, object]:
    return {
        "change": change.kind,
        "of": ", ".join(change.models) or "the server",
        "from": change.before,
        "to": change.after,
        "need": format_bytes(change.need_bytes),
        "saved": format_bytes(change.saved_bytes),
    }


def describe_instead(found: Fitting) -> Mapping[str, object]:
    """Returns what `-o json` has of both."""
    return {
        "subsets": [
            {
                "models": [member.name for member in subset],
                "upper_bytes": sum(member.need_bytes for member in subset),
            }
            for subset in found.subsets
        ],
        "unknown_subsets": [
            {
                "models": [member.name for member in subset],
                "upper_bytes": sum(member.need_bytes for member in subset),
                "reason": why,
            }
            for subset, why in found.unknown_subsets
        ],
        "has_all_subsets": found.has_all_subsets,
        "changes": [_document(change) for change in found.changes],
        "unknown_changes": found.unknown_changes or None,
        "pairs": [[_document(change) for change in pair] for pair in found.pairs],
    }


def _document(change: Change) -> Mapping[str, object]:
    return {
        "kind": change.kind,
        "models": list(change.models),
        "before": change.before,
        "after": change.after,
        "upper_bytes": change.need_bytes,
        "saved_bytes": change.saved_bytes,
    }
