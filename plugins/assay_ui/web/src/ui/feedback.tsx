import { AlertOctagon, Inbox } from 'lucide-react'
import type { ReactNode } from 'react'
import { ApiError, type ErrorFacts } from '../api/client'
import { AIRFLOW } from '../lib/place'
import { visible, words } from '../lib/text'
import { AirflowLink } from './link'
import { Text } from './text'

const FACTS = [
  ['expected', 'Expected'],
  ['found', 'Found'],
  ['state', 'State'],
  ['next_step', 'Next step'],
] as const

/** What happened, in the server's words. */
export function ErrorPanel({
  error,
  retry,
  page = false,
}: {
  error: Error
  retry?: () => void
  /** Whether it stands for a whole page. */
  page?: boolean
}) {
  const Title = page ? 'h1' : 'h2'
  const facts: ErrorFacts = error instanceof ApiError ? error.facts : { kind: 'page', message: error.message }
  return (
    <section className="panel panel-error" role="alert">
      <Title className="error-title">
        <AlertOctagon aria-hidden="true" />
        {headline(error)}
      </Title>
      <p>
        <Text value={facts.message} limit={2000} />
      </p>
      <dl className="facts">
        {FACTS.map(([name, label]) => {
          const value = facts[name]
          return value ? (
            <div key={name}>
              <dt>{label}</dt>
              <dd>
                <Text value={value} limit={2000} />
              </dd>
            </div>
          ) : null
        })}
        <div>
          <dt>Kind</dt>
          <dd>
            <code>{visible(facts.kind)}</code>
            {facts.id && <span className="muted"> id {visible(facts.id)}, as in the log</span>}
          </dd>
        </div>
      </dl>
      <div className="row">
        {retry && (
          <button type="button" className="button" onClick={retry}>
            Try again
          </button>
        )}
        {error instanceof ApiError && error.status === 401 && (
          <AirflowLink path={error.facts.login_url ?? `${AIRFLOW}auth/login`}>Log in to Airflow</AirflowLink>
        )}
      </div>
    </section>
  )
}

function headline(error: Error): string {
  if (!(error instanceof ApiError)) return 'This page could not be drawn'
  if (error.status === 404) return 'Not found'
  if (error.status === 401) return 'Please log in'
  if (error.status === 403) return 'Not allowed'
  if (error.status === 0) return 'No answer'
  return `Something went wrong: ${words(error.facts.kind)}`
}

/** Nothing here yet, and what to do about it. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <Inbox aria-hidden="true" />
      <p className="empty-title">{title}</p>
      {children}
    </div>
  )
}

/** Grey lines where something is about to stand. */
export function Skeleton({ lines = 4, label = 'Loading' }: { lines?: number; label?: string }) {
  return (
    <div className="skeleton" role="status" aria-busy="true">
      <span className="offscreen">{label} …</span>
      {Array.from({ length: lines }, (_, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines that are all alike
        <span key={index} className="bone" aria-hidden="true" />
      ))}
    </div>
  )
}

interface Held<T> {
  data: T | undefined
  error: Error | null
  refetch: () => unknown
}

/** The answer of a question, or why there is none yet. */
export function Answered<T>({
  held,
  lines,
  page = false,
  children,
}: {
  held: Held<T>
  page?: boolean
  lines?: number
  children: (data: T) => ReactNode
}) {
  if (held.data !== undefined) return <>{children(held.data)}</>
  if (held.error) return <ErrorPanel error={held.error} retry={() => void held.refetch()} page={page} />
  return <Skeleton lines={lines ?? 6} />
}
