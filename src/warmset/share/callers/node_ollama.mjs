// Keep-alive by caller with the npm package `ollama`, whose calls take `keep_alive`.
import { Ollama } from 'ollama'

const ollama = new Ollama({ host: process.env.OLLAMA_HOST ?? 'http://127.0.0.1:11434' })
const chat = process.env.CHAT_MODEL ?? 'llama3.2:3b'
const embed = process.env.EMBED_MODEL ?? 'nomic-embed-text'

const reply = await ollama.chat({
  model: chat,
  messages: [{ role: 'user', content: 'Say hello.' }],
  keep_alive: '1h',
})
console.log(reply.message.content)
const { embeddings } = await ollama.embed({ model: embed, input: 'hello', keep_alive: '24h' })
console.log(embeddings[0].length, 'numbers')
