"""budgets.toml, the environment and the flags, as one `Settings`.

A value comes from the first of: flag, `WARMSET_*` variable, file, default. One file counts, the
first found; files are not merged. Whatever is wrong is reported at once, with file, line, key,
value and the nearest thing that would have been right. Nothing is ever ignored.
"""

from warmset.adapters.config.document import dotted
from warmset.adapters.config.listen import parse_listen
from warmset.adapters.config.load import can_be_named, load_settings
from warmset.adapters.config.locate import find_aside, find_file, search_path
from warmset.adapters.config.sizes import parse_size
from warmset.adapters.config.zones import find_zone

__all__ = [
    "can_be_named",
    "dotted",
    "find_aside",
    "find_file",
    "find_zone",
    "load_settings",
    "parse_listen",
    "parse_size",
    "search_path",
]
