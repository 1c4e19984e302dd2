// Builds the pages twice into scratch folders and compares both with ../static, byte for byte.
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'vite'

const STATIC = join(import.meta.dirname, '..', '..', 'static')
const BUDGET = 120_000

function digests(folder) {
  const out = new Map()
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    out.set(relative(folder, path), createHash('sha256').update(readFileSync(path)).digest('hex'))
  }
  return out
}

function differences(a, b) {
  return [...new Set([...a.keys(), ...b.keys()])].filter((name) => a.get(name) !== b.get(name)).sort()
}

/** Bytes of script that the page loads before anything else, gzipped. */
function initialScript(folder) {
  const html = readFileSync(join(folder, 'index.html'), 'utf8')
  const names = [...html.matchAll(/(?:src|href)="static\/(assets\/[^"]+\.js)"/g)].map((match) => match[1])
  if (names.length === 0) throw new Error('index.html loads no script')
  return names.reduce((sum, name) => sum + gzipSync(readFileSync(join(folder, name)), { level: 9 }).length, 0)
}

const folders = [mkdtempSync(join(tmpdir(), 'assay-web-')), mkdtempSync(join(tmpdir(), 'assay-web-'))]
try {
  for (const outDir of folders) await build({ logLevel: 'error', build: { outDir, emptyOutDir: true } })
  const [first, second] = folders.map(digests)
  const unstable = differences(first, second)
  if (unstable.length) throw new Error(`two builds differ: ${unstable.join(', ')}`)
  const stale = differences(first, digests(STATIC))
  if (stale.length)
    throw new Error(`static/ is not what the sources give; run "npm run build": ${stale.join(', ')}`)
  const bytes = initialScript(folders[0])
  if (bytes > BUDGET) throw new Error(`the first script is ${bytes} bytes gzipped, more than ${BUDGET}`)
  console.log(`static/ matches the sources: ${first.size} files, first script ${bytes} bytes gzipped`)
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
}
