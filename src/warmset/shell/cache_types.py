"""Cache types that somebody asked for, checked before anything is read or looked at."""

from __future__ import annotations

from warmset.core.footprint.kvcache import parse_cache_types
from warmset.errors import ConfigError, FactsError


def check_cache_types(text: str) -> str:
    """Returns the text if it names a cache type, or one for keys and one for values.

    Raises:
        ConfigError: it names none; tells which there are.
    """
    try:
        parse_cache_types(text)
    except FactsError as error:
        raise ConfigError(error.message, hint=error.hint, context=error.context) from error
    return text


def check_server_cache_type(text: str) -> str:
    """Returns the text if it names a cache type that a server can be started with: one for both.

    Source: `OLLAMA_KV_CACHE_TYPE`, ollama-behaviour, its table of the environment.

    Raises:
        ConfigError: it names none, or two.
    """
    if "/" in text:
        raise ConfigError(
            f'"{text[:60]}" names two cache types, and a server has one for keys and values',
            hint="f16, q8_0 and q4_0 are the usual ones",
        )
    return check_cache_types(text)
