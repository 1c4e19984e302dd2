import { afterEach, describe, expect, it, vi } from 'vitest'
import { ApiError, errorOf, get, post } from './client'

afterEach(() => vi.unstubAllGlobals())

function answering(status: number, body: string) {
  const fetched = vi.fn(async (_path: string, _init: RequestInit) => new Response(body, { status }))
  vi.stubGlobal('fetch', fetched)
  return fetched
}

const failure = async (promise: Promise<unknown>): Promise<ApiError> => {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ApiError)
  return error as ApiError
}

describe('errors', () => {
  it('speak in the words of the server', () => {
    const error = errorOf(409, {
      error: { kind: 'already_decided', message: 'already decided by olga', by: 'olga', action: 'reject' },
    })
    expect(error.message).toBe('already decided by olga')
    expect(error.facts).toMatchObject({ kind: 'already_decided', by: 'olga', action: 'reject' })
  })

  it('have words of their own where a proxy answered', async () => {
    answering(502, '<html>bad gateway</html>')
    const error = await failure(get('overview'))
    expect(error.facts.message).toContain('502')
    expect(error.passing).toBe(true)
  })

  it('ignore parts that are not text', () => {
    const error = errorOf(400, { error: { kind: 7, message: 'no', expected: { a: 1 } } })
    expect(error.facts).toEqual({ kind: 'server', message: 'no' })
  })

  it('say that nobody answered', async () => {
    vi.stubGlobal('fetch', async () => {
      throw new TypeError('network')
    })
    const error = await failure(get('overview'))
    expect(error.facts.kind).toBe('unreachable')
    expect(error.passing).toBe(true)
  })

  it('say that an answer is not JSON', async () => {
    answering(200, '<!doctype html>')
    expect((await failure(get('overview'))).facts.kind).toBe('not_json')
  })

  it('are not asked for again when asking again cannot help', () => {
    expect(errorOf(403, null).passing).toBe(false)
    expect(errorOf(409, null).passing).toBe(false)
  })
})

describe('calls', () => {
  it('leave empty filters out of the address', async () => {
    const fetched = answering(200, '{}')
    await get('cases', { dataset: 'a&b', status: '', cursor: null, limit: 5 })
    expect(fetched.mock.calls[0]?.[0]).toMatch(/api\/cases\?dataset=a%26b&limit=5$/)
  })

  it('that change something carry the header and the type that the server demands', async () => {
    const fetched = answering(200, '{}')
    await post('cases/x/decision', { action: 'release' })
    const init = fetched.mock.calls[0]?.[1]
    expect(init?.method).toBe('POST')
    expect(init?.credentials).toBe('same-origin')
    expect(init?.headers).toMatchObject({ 'X-Assay': '1', 'Content-Type': 'application/json' })
  })
})
