"""RAM as the Ollama server may use it: psutil, and the limits of the server's control groups."""

from warmset.adapters.hostmem.probe import HostMemoryProbe

__all__ = ["HostMemoryProbe"]
