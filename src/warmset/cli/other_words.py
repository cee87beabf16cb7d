"""Verbs of the programs beside us, for people who have those in their fingers.

None of them is an alias: a word that means something a little different there should not do
something here. Source: the verbs of Ollama 0.33, kubectl 1.31, terraform 1.9, docker 27, systemctl.
"""

from __future__ import annotations

from typing import Final

_HERE: Final = {
    "`warmset status` for what is resident; `ollama list` for what is installed": (
        "ls",
        "list",
        "get",
        "models",
        "loaded",
        "gpu",
        "gpus",
        "smi",
    ),
    "`warmset top`, or `warmset status --watch 5`": ("watch", "monitor", "dashboard"),
    "`warmset explain MODEL`": ("describe", "why", "inspect"),
    "`warmset footprint MODEL`": ("show", "estimate", "size"),
    "`warmset plan`; with `--detailed-exitcode` 7 says that it differs": ("diff", "preview"),
    "`warmset check`": ("validate", "lint", "verify"),
    "`warmset evict MODEL`": ("stop", "unload", "rm", "delete", "remove", "kill"),
    "`warmset warm MODEL`": ("load", "preload", "pull-in"),
    "`warmset add MODEL --dry-run`, and then `ollama pull MODEL`": ("pull", "create", "install"),
    "`warmset serve`": ("start", "daemon", "up", "keep"),
    "`warmset history`": ("log", "logs", "events", "journal"),
    "`warmset assets write systemd`": ("service", "enable"),
}

OTHER_WORDS: Final = {word: here for here, words in _HERE.items() for word in words}
"""What does here what each of these words does elsewhere."""
