import { type ReactNode, useId } from 'react'

/** A titled part of a page. */
export function Panel({
  title,
  extra,
  children,
  className = '',
}: {
  title: ReactNode
  extra?: ReactNode
  children: ReactNode
  className?: string
}) {
  const id = useId()
  return (
    <section className={`panel ${className}`} aria-labelledby={id}>
      <div className="panel-head">
        <h2 id={id}>{title}</h2>
        {extra}
      </div>
      {children}
    </section>
  )
}

/** Names and values. */
export function Facts({ facts }: { facts: [string, ReactNode][] }) {
  return (
    <dl className="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  )
}

/** The head of a page: what it is about, its state, and the way back. */
export function PageHead({
  title,
  marks,
  crumbs,
  actions,
  children,
}: {
  title: ReactNode
  marks?: ReactNode
  crumbs?: ReactNode
  actions?: ReactNode
  children?: ReactNode
}) {
  return (
    <header className="page-head">
      {crumbs && (
        <nav aria-label="Breadcrumb" className="crumbs">
          {crumbs}
        </nav>
      )}
      <div className="page-title">
        <h1 tabIndex={-1}>{title}</h1>
        {marks && <div className="row">{marks}</div>}
        {actions && <div className="row page-actions">{actions}</div>}
      </div>
      {children}
    </header>
  )
}
