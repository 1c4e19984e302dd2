import { type ReactNode, useEffect, useRef, useState } from 'react'

/** Width of an element in pixels, as it changes. */
export function useWidth<E extends Element>(initial = 480) {
  const ref = useRef<E>(null)
  const [width, setWidth] = useState(initial)
  useEffect(() => {
    const element = ref.current
    if (!element) return
    const measure = () => setWidth(Math.max(160, Math.floor(element.getBoundingClientRect().width)))
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(element)
    return () => observer.disconnect()
  }, [])
  return [ref, width] as const
}

export interface LegendItem {
  name: ReactNode
  tone: string
  shape: 'fill' | 'line' | 'dash' | 'dot' | 'band'
}

export interface DataTableRows {
  head: string[]
  rows: ReactNode[][]
}

/** A plot with its title, legend, and the same numbers as a table for whoever does not see the picture. */
export function Figure({
  title,
  legend,
  note,
  table,
  children,
}: {
  title: ReactNode
  legend?: LegendItem[]
  note?: ReactNode
  table?: () => DataTableRows
  children: ReactNode
}) {
  return (
    <figure className="figure">
      <figcaption>{title}</figcaption>
      {legend && legend.length > 1 && (
        <ul className="legend">
          {legend.map((item, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: names of a legend may repeat
            <li key={index}>
              <span className={`key key-${item.shape} tone-${item.tone}`} aria-hidden="true" />
              {item.name}
            </li>
          ))}
        </ul>
      )}
      {children}
      {note && <p className="figure-note">{note}</p>}
      {table && <Numbers table={table} />}
    </figure>
  )
}

const SHOWN = 200

function Numbers({ table }: { table: () => DataTableRows }) {
  const [open, setOpen] = useState(false)
  return (
    <details className="numbers" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Numbers</summary>
      {open && <NumberTable {...table()} />}
    </details>
  )
}

function NumberTable({ head, rows }: DataTableRows) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
    <section className="table-box numbers-box" aria-label="The plot's numbers" tabIndex={0}>
      <table className="table table-tight">
        <thead>
          <tr>
            {head.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, SHOWN).map((row, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: rows of a plot have no other name
            <tr key={index}>
              {row.map((value, column) => (
                <td key={head[column]}>{value}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > SHOWN && (
        <p className="muted">
          The first {SHOWN} of {rows.length} lines.
        </p>
      )}
    </section>
  )
}
