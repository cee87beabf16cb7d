#!/bin/sh
# Keep-alive by caller with curl: a person's question, a job's, an embedding.
set -eu
url=${OLLAMA_HOST:-http://127.0.0.1:11434}
chat=${CHAT_MODEL:-llama3.2:3b}
embed=${EMBED_MODEL:-nomic-embed-text}

ask() { curl --fail --silent --show-error "$url$1" -d "$2"; echo; }

# A person: an hour.
ask /api/chat "{\"model\": \"$chat\", \"keep_alive\": \"1h\", \"stream\": false,
  \"messages\": [{\"role\": \"user\", \"content\": \"Say hello.\"}]}"

# A search index: a day.
ask /api/embed "{\"model\": \"$embed\", \"keep_alive\": \"24h\", \"input\": \"hello\"}"

# A job: a minute between requests. Its last request may let the model go: "keep_alive": 0.
ask /api/generate "{\"model\": \"$chat\", \"keep_alive\": \"1m\", \"stream\": false,
  \"prompt\": \"Say hello.\"}"
