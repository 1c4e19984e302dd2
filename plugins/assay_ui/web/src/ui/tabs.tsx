import { type KeyboardEvent, type ReactNode, useId } from 'react'

export interface TabItem {
  id: string
  title: ReactNode
  content: () => ReactNode
}

/** Tabs after the WAI-ARIA pattern: arrows move between them, the panel follows. */
export function Tabs({
  label,
  items,
  active,
  onChange,
}: {
  label: string
  items: TabItem[]
  active: string
  onChange: (id: string) => void
}) {
  const base = useId()
  const current = items.find((item) => item.id === active) ?? items[0]
  if (!current) return null
  const move = (event: KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    const at = items.indexOf(current)
    const next =
      event.key === 'Home'
        ? 0
        : event.key === 'End'
          ? items.length - 1
          : by
            ? (at + by + items.length) % items.length
            : -1
    const item = items[next]
    if (!item) return
    event.preventDefault()
    onChange(item.id)
    document.getElementById(`${base}-${item.id}`)?.focus()
  }
  return (
    <div className="tabs">
      <div role="tablist" aria-label={label} className="tablist">
        {items.map((item) => (
          <button
            key={item.id}
            type="button"
            role="tab"
            id={`${base}-${item.id}`}
            aria-selected={item === current}
            aria-controls={`${base}-panel`}
            tabIndex={item === current ? 0 : -1}
            onClick={() => onChange(item.id)}
            onKeyDown={move}
          >
            {item.title}
          </button>
        ))}
      </div>
      <div
        role="tabpanel"
        id={`${base}-panel`}
        aria-labelledby={`${base}-${current.id}`}
        className="tabpanel"
      >
        {current.content()}
      </div>
    </div>
  )
}
