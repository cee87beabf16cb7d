"""Ollama's HTTP interface over a `TwinHost`, without sockets: requests in, exchanges out."""

from warmset.core.twin.api.exchange import Exchange
from warmset.core.twin.api.routes import Api
from warmset.core.twin.api.speech import BandwidthPace, Pace, Speech, Work

__all__ = ["Api", "BandwidthPace", "Exchange", "Pace", "Speech", "Work"]
