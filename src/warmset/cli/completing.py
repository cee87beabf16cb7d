"""Model names for shell completion: from what was last seen, at once, never from the network."""

from __future__ import annotations

import os
from typing import Final

BASH: Final = r"""
%(complete_func)s() {
    # Bash ends words at colons, which models have: what no blank parts is one word again.
    local IFS=$'\n' rest="${COMP_LINE:0:COMP_POINT}" word words=()
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} -eq 0 || $rest == [[:blank:]]* ]]; then
            rest="${rest#"${rest%%%%[![:blank:]]*}"}"
            words+=("")
        fi
        [[ $rest == "$word"* ]] || word="$rest"
        words[${#words[@]}-1]+="$word"
        rest="${rest#"$word"}"
    done
    local last="${words[${#words[@]}-1]}"
    COMPREPLY=( $( env COMP_WORDS="${words[*]}" \
                   COMP_CWORD=$(( ${#words[@]} - 1 )) \
                   %(autocomplete_var)s=complete_bash "$1" ) )
    # And it puts the answer in place of what follows the last colon only.
    if [[ $last == *:* && $COMP_WORDBREAKS == *:* ]]; then
        last="${last%%"${last##*:}"}"
        COMPREPLY=( "${COMPREPLY[@]#"${last##*=}"}" )
    fi
}

complete -o default -F %(complete_func)s %(prog_name)s
"""
"""Typer's own takes the words as bash splits them, so that no name is completed beyond its colon.
Written for bash 3.2 and later. A template: `%%` is one percent sign."""


def use_own_bash_script() -> None:
    """Lets `--show-completion` and `--install-completion` give our script for bash."""
    from typer._completion_shared import _completion_scripts

    _completion_scripts["bash"] = BASH


def complete_model(incomplete: str) -> list[str]:
    """Returns the installed models that begin with what was typed."""
    from warmset.adapters.ollama.names import default_folder, recall_names

    names = recall_names(default_folder(os.environ), _server())
    return [name for name in names if name.startswith(incomplete)]


def complete_models(incomplete: str) -> list[str]:
    """Returns the same for a list with commas, as `run --with` takes it."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in complete_model(last)]


def _server() -> str:
    """The address that the environment names, in the form under which names are kept."""
    said = os.environ.get("WARMSET_HOST") or os.environ.get("OLLAMA_HOST") or ""
    if not said:
        return ""
    from warmset.adapters.ollama.address import parse_address
    from warmset.errors import WarmsetError

    try:
        return parse_address(said).url
    except WarmsetError:
        return ""
