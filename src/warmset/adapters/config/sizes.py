"""Byte sizes on the command line, as budgets.toml writes them."""

from __future__ import annotations

from warmset.errors import ConfigError


def parse_size(text: str, option: str) -> int:
    """Returns the bytes that `24GB`, `16GiB` or `512MiB` mean.

    Raises:
        ConfigError: it is no such size, or zero.
    """
    from pydantic import TypeAdapter, ValidationError

    from warmset.adapters.config.schema import Size

    try:
        count = int(TypeAdapter(Size).validate_python(text))
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{option} {text!r}: {said}", hint=f"{option} 24GB") from error
    if count <= 0:
        raise ConfigError(f"{option} {text!r}: must be above zero", hint=f"{option} 24GB")
    return count
