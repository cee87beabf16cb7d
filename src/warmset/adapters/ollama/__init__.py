"""Ollama over HTTP: where it listens, what its replies mean, and the calls that steer it.

`client` is the only module here that imports httpx, `wire` and `cache` the only ones that import
pydantic. Import them inside the function that talks to a server.
"""
