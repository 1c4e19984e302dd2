import type { ReactNode } from 'react'
import { count, percent } from '../lib/format'
import { Figure } from './frame'

export interface BarSeries {
  name: string
  tone: 'batch' | 'trusted' | 'suspicious'
  /** One count per category. */
  counts: (number | null)[]
  /** What a bar is a share of; null: the counts stand for themselves. */
  total: number | null
  /** Whether the counts are shares already. */
  shares?: boolean
}

/** Counts of categories, side by side as shares of each series: a table whose cells are bars. */
export function Bars({
  title,
  head,
  categories,
  series,
  marked,
  note,
  label,
}: {
  title: ReactNode
  /** Of the box, for whoever does not see the title. */
  label: string
  head: string
  categories: { key: string; show: ReactNode }[]
  series: BarSeries[]
  /** Category that the row at hand has. */
  marked?: string | null
  note?: ReactNode
}) {
  const most = Math.max(
    0.01,
    ...series.flatMap((each) => each.counts.map((value) => scaled(each, value ?? 0))),
  )
  return (
    <Figure title={title} note={note}>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard */}
      <section className="bars-box" aria-label={label} tabIndex={0}>
        <table className="bars">
          <thead>
            <tr>
              <th scope="col">{head}</th>
              {series.map((each) => (
                <th key={each.name} scope="col">
                  <span className={`key key-fill tone-${each.tone}`} aria-hidden="true" />
                  {each.name}
                  {each.total !== null && ` (${count(each.total)})`}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {categories.map(({ key, show }, index) => (
              <tr key={key} className={marked === key ? 'marked' : ''}>
                <th scope="row">
                  {show}
                  {marked === key && <span className="tag tag-bad">this row</span>}
                </th>
                {series.map((each) => (
                  <BarCell key={each.name} series={each} value={each.counts[index] ?? null} most={most} />
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </Figure>
  )
}

/** The length of a bar: a share, or a plain count. */
function scaled(series: BarSeries, value: number): number {
  return series.shares || series.total === null ? value : value / Math.max(1, series.total)
}

function BarCell({ series, value, most }: { series: BarSeries; value: number | null; most: number }) {
  if (value === null) return <td className="muted">–</td>
  const size = scaled(series, value)
  return (
    <td>
      <span className="bar-cell">
        <span className={`bar tone-${series.tone}`} style={{ width: `${(size / most) * 100}%` }} />
        <span className="bar-text">
          {series.shares ? (
            percent(size)
          ) : series.total === null ? (
            count(value)
          ) : (
            <>
              {percent(size)} <span className="muted">({count(value)})</span>
            </>
          )}
        </span>
      </span>
    </td>
  )
}
