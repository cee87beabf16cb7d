"""Recordings of a real Ollama, replayed through warmset's rules and its twin.

`decisions` compares the scheduler's functions and whole scenarios, `transcripts` the HTTP
behaviour. Both read folders of files and report misses; nothing here decides anything.
"""
