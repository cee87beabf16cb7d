"""Wiring of adapters, ports and core into things that run."""
