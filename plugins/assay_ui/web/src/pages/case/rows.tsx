import { useVirtualizer } from '@tanstack/react-virtual'
import { Check } from 'lucide-react'
import { type MouseEvent, type RefObject, useEffect, useState } from 'react'
import { usePages } from '../../api/hooks'
import type { Case, CaseRow } from '../../api/types'
import { count, number, plural, probability } from '../../lib/format'
import { segment } from '../../lib/place'
import type { SelectAction, Selection } from '../../lib/select'
import { clip, visible, words } from '../../lib/text'
import { Empty, ErrorPanel, Skeleton } from '../../ui/feedback'
import { TextFilter, useParam } from '../../ui/filters'
import { StateMark } from '../../ui/marks'
import { cellText } from '../../ui/text'

const LINE = 62

/** The rows of a case as far as they were asked for, in the order and with the filters of the page's address. */
export function useRows(file: Case) {
  const [q] = useParam('q')
  const [reason, setReason] = useParam('reason')
  const [group, setGroup] = useParam('group')
  const [sort, setSort] = useParam('sort')
  const [order, setOrder] = useParam('order')
  const query = { q, reason, group, sort, order, limit: 100 }
  const held = usePages<CaseRow>(`cases/${segment(file.id)}/rows`, query, file.rows > 0)
  return {
    ...held,
    filter: { q, reason, group, sort, order },
    setReason,
    setGroup,
    setSort,
    setOrder,
  }
}

type Rows = ReturnType<typeof useRows>

export function RowList({
  file,
  rows,
  current,
  selection,
  setCurrent,
  choose,
  listRef,
}: {
  file: Case
  rows: Rows
  current: number | null
  selection: Selection
  setCurrent: (row: number) => void
  choose: (action: SelectAction) => void
  listRef: RefObject<HTMLDivElement | null>
}) {
  return (
    <section className="rows" aria-label="Rows of the case">
      <Filters file={file} rows={rows} />
      {rows.error && rows.items.length === 0 ? (
        <ErrorPanel error={rows.error} retry={() => void rows.refetch()} />
      ) : rows.isPending ? (
        <Skeleton lines={8} label="Loading rows" />
      ) : rows.items.length === 0 ? (
        <Empty title="No row is like that">
          <p>Take a filter away to see more.</p>
        </Empty>
      ) : (
        <Lines
          file={file}
          rows={rows}
          current={current}
          selection={selection}
          setCurrent={setCurrent}
          choose={choose}
          listRef={listRef}
        />
      )}
      <p className="rows-keys" aria-hidden="true">
        <kbd>j</kbd> <kbd>k</kbd> move · <kbd>x</kbd> choose · <kbd>g</kbd> <kbd>g</kbd> group · <kbd>f</kbd>{' '}
        filter · <kbd>?</kbd> all keys
      </p>
      <div className="rows-foot">
        <span role="status">
          {selection.chosen.size > 0 && <b>{plural(selection.chosen.size, 'row')} chosen · </b>}
          {count(rows.items.length)} of {plural(rows.total, 'row')} listed
        </span>
        {rows.hasNextPage && (
          <button
            type="button"
            className="more"
            disabled={rows.isFetchingNextPage}
            onClick={() => void rows.fetchNextPage()}
          >
            {rows.isFetchingNextPage ? 'loading …' : 'load more'}
          </button>
        )}
      </div>
    </section>
  )
}

function Lines({
  file,
  rows,
  current,
  selection,
  setCurrent,
  choose,
  listRef,
}: Parameters<typeof RowList>[0]) {
  const items = rows.items
  const titles = file.columns.filter((each) => each.role === 'key' || each.role === 'label').slice(0, 3)
  const virtual = useVirtualizer({
    count: items.length,
    getScrollElement: () => listRef.current,
    estimateSize: () => LINE,
    overscan: 12,
  })
  const at = items.findIndex((each) => each.row === current)
  // biome-ignore lint/correctness/useExhaustiveDependencies: only a move of the current row scrolls
  useEffect(() => {
    if (at >= 0) virtual.scrollToIndex(at, { align: 'auto' })
  }, [at])
  const last = virtual.getVirtualItems().at(-1)?.index ?? 0
  const { hasNextPage, isFetchingNextPage, fetchNextPage, error } = rows
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage && !error && last >= items.length - 20) void fetchNextPage()
  }, [last, items.length, hasNextPage, isFetchingNextPage, fetchNextPage, error])
  const click = (event: MouseEvent, item: CaseRow) => {
    setCurrent(item.row)
    const box = event.target instanceof Element && event.target.closest('.tick') !== null
    if (event.shiftKey) choose({ type: 'range', row: item.row, order: items.map((each) => each.row) })
    else if (box || event.ctrlKey || event.metaKey) choose({ type: 'toggle', row: item.row })
  }
  return (
    <div
      ref={listRef}
      className="row-list"
      role="listbox"
      tabIndex={0}
      aria-multiselectable="true"
      aria-label="Rows; arrows move, Space chooses"
      aria-activedescendant={at >= 0 ? `row-${current}` : undefined}
    >
      <div role="presentation" style={{ height: virtual.getTotalSize() }} className="row-space">
        {virtual.getVirtualItems().map((place) => {
          const item = items[place.index]
          if (!item) return null
          const chosen = selection.chosen.has(item.row)
          return (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the list itself has the keys
            // biome-ignore lint/a11y/useFocusableInteractive: the list has the focus, this is its active descendant
            <div
              key={item.row}
              id={`row-${item.row}`}
              role="option"
              aria-selected={chosen}
              aria-posinset={place.index + 1}
              aria-setsize={rows.total}
              data-current={item.row === current}
              className="row-line"
              style={{ transform: `translateY(${place.start}px)`, height: LINE }}
              onClick={(event) => click(event, item)}
            >
              <span className="tick" aria-hidden="true">
                {chosen && <Check />}
              </span>
              <RowLine item={item} titles={titles.map((each) => each.name)} />
            </div>
          )
        })}
      </div>
    </div>
  )
}

function RowLine({ item, titles }: { item: CaseRow; titles: string[] }) {
  const signals = [...new Set(item.reasons.map((each) => each.signal))]
  return (
    <span className="row-text">
      <span className="row-top">
        <span className="row-name">
          <b>row {item.row}</b>
          <bdi className="muted" title={titles.map((name) => visible(clip(name, 40))).join(', ')}>
            {titles.map((name) => ` ${visible(clip(cellText(item.values[name]), 24))}`).join(' ·')}
          </bdi>
        </span>
        {item.decided && <StateMark state={item.decided} />}
        {(item.p_value !== null || item.score !== null) && (
          <span
            className="row-score num"
            title={`score ${number(item.score)}, p ${probability(item.p_value)}`}
          >
            {item.p_value === null ? number(item.score, 3) : `p ${probability(item.p_value)}`}
          </span>
        )}
      </span>
      <span className="row-signals">
        {signals.slice(0, 4).map((signal) => (
          <span key={signal} className="tag tag-quiet">
            {visible(words(signal)).slice(0, 40)}
          </span>
        ))}
        {signals.length > 4 && <span className="muted">+{signals.length - 4}</span>}
      </span>
    </span>
  )
}

function Filters({ file, rows }: { file: Case; rows: Rows }) {
  const [known, setKnown] = useState<string[]>([])
  const seen = [...new Set(rows.items.flatMap((each) => each.reasons.map((reason) => reason.signal)))]
  const fresh = seen.filter((signal) => !known.includes(signal))
  if (fresh.length > 0) setKnown([...known, ...fresh].sort())
  const { filter, setReason, setGroup, setSort, setOrder } = rows
  const falling = filter.order !== 'asc'
  return (
    <div className="row-filters">
      <div className="filters filters-tight" data-filter-box="">
        <TextFilter name="q" label="Filter" hint="text in any value" filter />
        <span className="filter">
          <label htmlFor="sort">Sort</label>
          <span className="row">
            <select id="sort" value={filter.sort} onChange={(event) => setSort(event.target.value)}>
              <option value="">score</option>
              <option value="row">row number</option>
              {file.columns.slice(0, 200).map((column) => (
                <option key={column.name} value={column.name}>
                  {visible(clip(column.name, 40))}
                </option>
              ))}
            </select>
            <button
              type="button"
              className="button"
              aria-label={falling ? 'Falling; sort rising' : 'Rising; sort falling'}
              title={falling ? 'falling' : 'rising'}
              onClick={() => setOrder(falling ? 'asc' : '')}
            >
              {falling ? '↓' : '↑'}
            </button>
          </span>
        </span>
      </div>
      {file.groups.length > 0 && (
        <Chips
          legend="Groups"
          items={file.groups.map((each) => [each.id, each.title, each.rows, each.message])}
          active={filter.group}
          set={setGroup}
        />
      )}
      {known.length > 1 && (
        <Chips
          legend="Reasons"
          items={known.map((each) => [each, words(each), null, words(each)])}
          active={filter.reason}
          set={setReason}
        />
      )}
    </div>
  )
}

const CHIPS = 8

function Chips({
  legend,
  items,
  active,
  set,
}: {
  legend: string
  items: [id: string, title: string, rows: number | null, message: string][]
  active: string
  set: (id: string) => void
}) {
  const [all, setAll] = useState(false)
  const shown = all ? items : items.filter((each, index) => index < CHIPS || each[0] === active)
  return (
    <fieldset className="chips">
      <legend>{legend}</legend>
      {shown.map(([id, title, rows, message]) => (
        <button
          key={id}
          type="button"
          className="chip"
          aria-pressed={active === id}
          title={visible(clip(message || title, 400))}
          onClick={() => set(active === id ? '' : id)}
        >
          <bdi className="chip-text">{visible(clip(title, 48))}</bdi>
          {rows !== null && <span className="muted">{count(rows)}</span>}
        </button>
      ))}
      {items.length > CHIPS && (
        <button type="button" className="more" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? 'fewer' : `all ${items.length}`}
        </button>
      )}
    </fieldset>
  )
}
