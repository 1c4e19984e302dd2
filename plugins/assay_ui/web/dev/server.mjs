// Plays the API with made-up data and serves the built pages, for work on them without an Airflow.
// node dev/server.mjs [port]
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { answer } from './answers.mjs'

const STATIC = join(import.meta.dirname, '..', '..', 'static')
const PORT = Number(process.argv[2] ?? 5180)
const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }
const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'self'",
  'X-Content-Type-Options': 'nosniff',
}

async function bodyOf(request) {
  let text = ''
  for await (const chunk of request) text += chunk
  return text ? JSON.parse(text) : {}
}

function send(response, status, type, body) {
  response.writeHead(status, { ...HEADERS, 'Content-Type': type })
  response.end(body)
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://localhost')
  if (url.pathname.startsWith('/assay/api/')) {
    const path = url.pathname.slice('/assay/api/'.length)
    if (path.endsWith('export.csv')) return send(response, 200, 'text/csv', 'row,reason\n')
    if (path === 'provenance/proof') return send(response, 200, 'application/json', '{}')
    const { status, body } = answer(request.method, path, url.searchParams, await bodyOf(request))
    return send(response, status, 'application/json', JSON.stringify(body))
  }
  if (url.pathname.startsWith('/assay/static/')) {
    const path = normalize(url.pathname.slice('/assay/static/'.length))
    try {
      return send(response, 200, TYPES[extname(path)] ?? 'text/plain', readFileSync(join(STATIC, path)))
    } catch {
      return send(response, 404, 'text/plain', 'not found')
    }
  }
  const html = readFileSync(join(STATIC, 'index.html'), 'utf8')
  send(response, 200, 'text/html', html.replace('<head>', '<head><base href="/assay/">'))
})

server.listen(PORT, '127.0.0.1', () => console.log(`http://127.0.0.1:${PORT}/assay/`))
