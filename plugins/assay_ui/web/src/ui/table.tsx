import { type ReactNode, useRef } from 'react'
import { count } from '../lib/format'
import type { Binding } from '../lib/keys'
import { ErrorPanel, Skeleton } from './feedback'
import { useKeys } from './keyboard'

export interface TableColumn<T> {
  name: string
  show: (item: T) => ReactNode
  /** Numbers stand to the right. */
  numeric?: boolean
  /** The column whose link opens the line. */
  main?: boolean
}

interface PagesHeld<T> {
  items: T[]
  total: number
  isPending: boolean
  error: Error | null
  hasNextPage: boolean
  isFetchingNextPage: boolean
  fetchNextPage: () => unknown
  refetch: () => unknown
}

/** A table that turns into cards where the page is narrow; `j` and `k` move along its links. */
export function DataTable<T>({
  label,
  columns,
  items,
  id,
}: {
  label: string
  columns: TableColumn<T>[]
  items: T[]
  id: (item: T) => string
}) {
  const body = useRef<HTMLTableSectionElement>(null)
  useKeys(lineKeys(() => [...(body.current?.querySelectorAll<HTMLAnchorElement>('.cell-main a') ?? [])]))
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
    <section className="table-box" aria-label={`${label}, table`} tabIndex={0}>
      <table className="table" role="table" aria-label={label}>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map((column) => (
              <th
                key={column.name}
                role="columnheader"
                scope="col"
                className={column.numeric ? 'numeric' : ''}
              >
                {column.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup" ref={body}>
          {items.map((item) => (
            <tr key={id(item)} role="row">
              {columns.map((column) => (
                <td
                  key={column.name}
                  role="cell"
                  data-label={column.name}
                  className={`${column.numeric ? 'numeric' : ''} ${column.main ? 'cell-main' : ''}`}
                >
                  <span className="cell">{column.show(item)}</span>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

function lineKeys(links: () => HTMLElement[]): Binding[] {
  const move = (by: number) => () => {
    const all = links()
    const at = all.indexOf(document.activeElement as HTMLElement)
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))]
    next?.focus()
    next?.scrollIntoView({ block: 'nearest' })
  }
  return [
    { keys: ['j', 'ArrowDown'], does: 'Next line', group: 'Lists', run: move(1) },
    { keys: ['k', 'ArrowUp'], does: 'Line before', group: 'Lists', run: move(-1) },
    { keys: ['Enter'], does: 'Open the line', group: 'Lists', run: () => undefined },
  ]
}

/** A list that comes page by page. */
export function PagedTable<T>({
  label,
  columns,
  held,
  id,
  empty,
}: {
  label: string
  columns: TableColumn<T>[]
  held: PagesHeld<T>
  id: (item: T) => string
  empty: ReactNode
}) {
  if (held.error && held.items.length === 0) {
    return <ErrorPanel error={held.error} retry={() => void held.refetch()} />
  }
  if (held.isPending) return <Skeleton lines={8} label={`Loading ${label}`} />
  if (held.items.length === 0) return empty
  return (
    <>
      <DataTable label={label} columns={columns} items={held.items} id={id} />
      <div className="paging">
        <span className="muted" role="status">
          {count(held.items.length)} of {count(held.total)}
        </span>
        {held.hasNextPage && (
          <button
            type="button"
            className="button"
            disabled={held.isFetchingNextPage}
            onClick={() => void held.fetchNextPage()}
          >
            {held.isFetchingNextPage ? 'Loading …' : 'Load more'}
          </button>
        )}
      </div>
      {held.error && <ErrorPanel error={held.error} retry={() => void held.fetchNextPage()} />}
    </>
  )
}
