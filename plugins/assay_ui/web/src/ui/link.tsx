import { ExternalLink } from 'lucide-react'
import { type MouseEvent, type ReactNode, useState } from 'react'
import { Link } from 'react-router'
import { airflowPath, framed, openInAirflow } from '../lib/airflow'
import { short } from '../lib/format'
import { segment } from '../lib/place'
import { visible, words } from '../lib/text'
import { CopyButton } from './copy'

/** What has a page of its own, and its address. */
const PAGES: Record<string, string> = {
  delivery: 'delivery',
  case: 'case',
  run: 'run',
  model: 'model',
  challenger: 'model',
  curve: 'run',
}

export function pageOf(kind: string, id: string): string | null {
  const page = PAGES[kind]
  return page ? `/${page}/${segment(id)}` : null
}

/** What a thing is called: its kind, and its title where that does not say the kind already. */
export function named(thing: { kind: string; title: string }): string {
  const { kind, title } = thing
  if (title.startsWith(`${kind}-`)) return `${words(kind)} ${short(title.slice(kind.length + 1), 16)}`
  return title.startsWith(kind) ? title : `${words(kind)} ${title}`
}

/** Where the provenance page shows a thing. */
export function walkTo(kind: string, id: string): string {
  return `/provenance?${new URLSearchParams({ kind, id })}`
}

/** A link to the page of something, or to its place in the provenance graph. */
export function ThingLink({ kind, id, children }: { kind: string; id: string; children?: ReactNode }) {
  return (
    <Link to={pageOf(kind, id) ?? walkTo(kind, id)} className="thing">
      <bdi>{children ?? visible(id)}</bdi>
    </Link>
  )
}

/** A link into the Airflow around us; where the frame forbids it, the address to copy. */
export function AirflowLink({ path, children }: { path: string; children: ReactNode }) {
  const [refused, setRefused] = useState(false)
  const href = airflowPath(path)
  if (!href) return <span>{children}</span>
  const follow = (event: MouseEvent) => {
    if (!framed() || event.metaKey || event.ctrlKey) return
    event.preventDefault()
    if (!openInAirflow(href)) setRefused(true)
  }
  return (
    <span className="airflow-link">
      <a href={href} onClick={follow}>
        {children}
        <ExternalLink aria-hidden="true" />
      </a>
      {refused && (
        <span className="digest">
          <code>{href}</code>
          <CopyButton text={new URL(href, window.location.origin).href} what="the address" />
        </span>
      )}
    </span>
  )
}
