"""Keep-alive by caller with httpx: the calls say nothing, the client adds it."""

import os

import httpx

from warmset.client import Caller, KeepAlive, keep_alive_hook

URL = os.environ.get("OLLAMA_HOST", "http://127.0.0.1:11434")
CHAT = os.environ.get("CHAT_MODEL", "llama3.2:3b")

hook = keep_alive_hook(KeepAlive(Caller.BATCH))
with httpx.Client(base_url=URL, timeout=600, event_hooks={"request": [hook]}) as client:
    reply = client.post(
        "/api/generate", json={"model": CHAT, "prompt": "Say hello.", "stream": False}
    )
    print(reply.raise_for_status().json()["response"])
