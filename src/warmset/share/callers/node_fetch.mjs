// Keep-alive by caller with Node's own fetch: one function adds it to what does not say any.
const url = process.env.OLLAMA_HOST ?? 'http://127.0.0.1:11434'
const chat = process.env.CHAT_MODEL ?? 'llama3.2:3b'

const KEEP = { interactive: '1h', batch: '1m', embedding: '24h' }

async function ask(path, body, caller) {
  const kept = path === '/api/embed' ? KEEP.embedding : KEEP[caller]
  const reply = await fetch(url + path, {
    method: 'POST',
    body: JSON.stringify({ keep_alive: kept, stream: false, ...body }),
  })
  if (!reply.ok) throw new Error(`${reply.status}: ${await reply.text()}`)
  return reply.json()
}

const { response } = await ask('/api/generate', { model: chat, prompt: 'Say hello.' }, 'batch')
console.log(response)
