"""Ollama over HTTP: where it listens, what its replies mean, and the calls that steer it.

`transport` is the only module here that imports httpx; `wire`, `cache` and `catalogue` import
msgspec. Import them inside the function that talks to a server.
"""
