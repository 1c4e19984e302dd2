import Markdown from 'markdown-to-jsx/react'
import { Children, type ReactNode } from 'react'
import { safeHref, visible } from '../lib/text'

/** A model's card: markdown without raw HTML, links only to http and https, pictures as their description. */
export default function Card({ text }: { text: string }) {
  if (!text.trim()) return <p className="muted">The bundle holds no card.</p>
  return (
    <div className="card-text">
      <Markdown options={OPTIONS}>{visibleLines(text)}</Markdown>
    </div>
  )
}

function visibleLines(text: string): string {
  return text.split('\n').map(visible).join('\n')
}

function Anchor({ href, children }: { href?: string; children?: ReactNode }) {
  const safe = safeHref(href)
  if (!safe) return <span>{children}</span>
  return (
    <a href={safe} rel="noopener noreferrer nofollow" title={safe}>
      {children}
    </a>
  )
}

const lower = (level: 2 | 3 | 4 | 5) => {
  const Tag = `h${level + 1}` as 'h3'
  return ({ children }: { children?: ReactNode }) => <Tag>{children}</Tag>
}

/** A table of facts has no words over its columns, and then no header cells either. */
function HeadCell({ children }: { children?: ReactNode }) {
  return Children.toArray(children).length > 0 ? <th>{children}</th> : <td />
}

const OPTIONS = {
  disableParsingRawHTML: true,
  forceBlock: true,
  overrides: {
    a: Anchor,
    img: ({ alt }: { alt?: string }) => (
      <span className="muted">[picture: {alt ?? 'without description'}]</span>
    ),
    th: HeadCell,
    h1: lower(2),
    h2: lower(2),
    h3: lower(3),
    h4: lower(4),
    h5: lower(5),
    h6: lower(5),
  },
}
