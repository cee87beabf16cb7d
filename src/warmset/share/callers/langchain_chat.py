"""Keep-alive by caller with langchain-ollama: an argument of chat model and embeddings."""

import os

from langchain_ollama import ChatOllama, OllamaEmbeddings

URL = os.environ.get("OLLAMA_HOST", "http://127.0.0.1:11434")
CHAT = os.environ.get("CHAT_MODEL", "llama3.2:3b")
EMBED = os.environ.get("EMBED_MODEL", "nomic-embed-text")

chat = ChatOllama(model=CHAT, base_url=URL, keep_alive="1h")
print(chat.invoke("Say hello.").content)

embeddings = OllamaEmbeddings(model=EMBED, base_url=URL, keep_alive=86400)  # whole seconds here
print(len(embeddings.embed_query("hello")), "numbers")
