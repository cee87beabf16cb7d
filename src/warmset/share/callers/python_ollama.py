"""Keep-alive by caller with the `ollama` package: embeddings get theirs whoever asks."""

import os

import ollama

from warmset.client import Caller, KeepAlive, KeepAliveTransport

URL = os.environ.get("OLLAMA_HOST", "http://127.0.0.1:11434")
CHAT = os.environ.get("CHAT_MODEL", "llama3.2:3b")
EMBED = os.environ.get("EMBED_MODEL", "nomic-embed-text")

transport = KeepAliveTransport(KeepAlive(Caller.INTERACTIVE))
client = ollama.Client(URL, transport=transport)
for part in client.chat(CHAT, messages=[{"role": "user", "content": "Say hello."}], stream=True):
    print(part.message.content, end="", flush=True)
print()
print(len(client.embed(EMBED, input="hello").embeddings[0]), "numbers")
transport.close()
