"""What the host's drivers and process table say, and what follows from it, as pure functions.

Adapters fill the values of `readings` and `processes`; the rest of the room judges them: is a
number plausible, what may be promised from it, which runner is in which phase, whose bytes are
on a GPU, which model is in use. It imports `core.model`, `core.units` and `errors` only.
"""
