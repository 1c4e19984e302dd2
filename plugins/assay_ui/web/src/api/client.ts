/** Calls of the API: errors become `ApiError`, with the server's own words. */

import { apiPath } from '../lib/place'

export interface ErrorFacts {
  kind: string
  message: string
  expected?: string
  found?: string
  state?: string
  next_step?: string
  by?: string
  action?: string
  at?: string
  login_url?: string
  id?: string
}

/** What went wrong, in the server's words where it had any. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly facts: ErrorFacts,
  ) {
    super(facts.message)
    this.name = 'ApiError'
  }

  /** Whether asking again may help: the server was not there, or said that it will be back. */
  get passing(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504
  }
}

const BY_STATUS: Record<number, ErrorFacts> = {
  401: {
    kind: 'not_logged_in',
    message: 'You are not logged in any more.',
    next_step: 'Log in to Airflow again.',
  },
  403: {
    kind: 'forbidden',
    message: 'Your role does not allow this.',
    next_step: 'Ask an administrator of this Airflow.',
  },
  404: {
    kind: 'not_found',
    message: 'There is nothing under this address.',
    next_step: 'Search for it on the Provenance page.',
  },
  413: { kind: 'too_large', message: 'That is more than the server takes.', next_step: 'Send less.' },
}

const TEXTS = ['expected', 'found', 'state', 'next_step', 'by', 'action', 'at', 'login_url', 'id'] as const

/** The error of an answer, whatever its body is: a proxy may have answered in the server's place. */
export function errorOf(status: number, body: unknown): ApiError {
  const fallback = BY_STATUS[status] ?? {
    kind: 'server',
    message: `The server answered with status ${status}.`,
    next_step: 'Try again; the api-server log of Airflow says more.',
  }
  const given = isRecord(body) && isRecord(body.error) ? body.error : null
  if (!given || typeof given.message !== 'string') return new ApiError(status, fallback)
  const facts: ErrorFacts = {
    kind: typeof given.kind === 'string' ? given.kind : fallback.kind,
    message: given.message,
  }
  for (const name of TEXTS) {
    const value = given[name]
    if (typeof value === 'string' && value) facts[name] = value
  }
  return new ApiError(status, facts)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

async function call<T>(path: string, init: RequestInit): Promise<T> {
  let answer: Response
  try {
    answer = await fetch(path, { credentials: 'same-origin', ...init })
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new ApiError(0, {
      kind: 'unreachable',
      message: 'The server cannot be reached.',
      next_step: 'Check the network, or whether the api-server of Airflow still runs.',
    })
  }
  const text = await answer.text()
  let body: unknown = null
  try {
    body = text ? JSON.parse(text) : null
  } catch {
    body = null
  }
  if (!answer.ok) throw errorOf(answer.status, body)
  if (body === null) {
    throw new ApiError(answer.status, {
      kind: 'not_json',
      message: 'The answer is not what this page understands.',
      expected: 'JSON',
      found: answer.headers.get('content-type') ?? 'nothing',
      next_step: 'Reload the page: the server may be of another version.',
    })
  }
  return body as T
}

export type Query = Record<string, string | number | undefined | null>

export function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return call<T>(apiPath(path, query), { headers: { Accept: 'application/json' }, signal: signal ?? null })
}

export function post<T>(path: string, body: unknown): Promise<T> {
  return call<T>(apiPath(path), {
    method: 'POST',
    headers: { Accept: 'application/json', 'Content-Type': 'application/json', 'X-Assay': '1' },
    body: JSON.stringify(body),
  })
}
