import type { ReactNode } from 'react'
import type { Cell, ColumnPlot } from '../api/types'
import { count, number } from '../lib/format'
import { visible } from '../lib/text'
import { cellText, Text } from '../ui/text'
import { sum } from './axes'
import { type BarSeries, Bars } from './bars'
import { type Counted, Histogram, type Mark } from './histogram'

/** How a column's values are spread in the batch, in trusted rows and in the suspicious rows; the row at hand marked. */
export function ColumnView({ name, plot, value }: { name: string; plot: ColumnPlot; value?: Cell }) {
  const title: ReactNode = (
    <>
      Column <Text value={name} limit={80} />
    </>
  )
  const all: [string, Counted['tone'], number[] | null][] = [
    ['this batch', 'batch', plot.batch],
    ['trusted rows', 'trusted', plot.trusted],
    ['suspicious rows', 'suspicious', plot.suspicious],
  ]
  const known = all.filter(
    (each): each is [string, Counted['tone'], number[]] =>
      each[2] !== null && (each[1] !== 'suspicious' || sum(each[2]) > 0),
  )
  if (plot.kind === 'histogram') {
    const dates = plot.edges.some((edge) => typeof edge === 'string')
    const edges = plot.edges.map(toNumber)
    const own = plot.of === undefined || plot.of === 'histogram'
    const at = !own || value === undefined || typeof value === 'boolean' ? Number.NaN : toNumber(value)
    const marks: Mark[] = Number.isFinite(at)
      ? [{ at, name: `this row: ${visible(cellText(value)).slice(0, 30)}`, tone: 'suspicious' }]
      : []
    return (
      <>
        <Histogram
          title={title}
          edges={edges}
          label={visible(own ? plot.label || name : `${plot.of} of ${name}`).slice(0, 60)}
          share
          marks={marks}
          text={dates ? (value) => new Date(value).toISOString().slice(0, 10) : (value) => number(value, 3)}
          series={known.map(([label, tone, counts]) => ({ name: label, tone, counts }))}
        />
        <Missing nulls={plot.nulls} trusted={plot.trusted !== null} />
      </>
    )
  }
  const totals: Record<string, number> = {
    batch: sum(plot.batch) + (plot.other?.batch ?? 0),
    trusted: sum(plot.trusted ?? []) + (plot.other?.trusted ?? 0),
    suspicious: sum(plot.suspicious) + (plot.other?.suspicious ?? 0),
  }
  const series: BarSeries[] = known.map(([label, tone, counts]) => ({
    name: label,
    tone,
    counts,
    total: totals[tone] ?? sum(counts),
  }))
  return (
    <Bars
      title={title}
      label={`Column ${visible(name).slice(0, 80)}: shares`}
      head="value"
      series={series}
      marked={value === undefined ? null : cellText(value)}
      categories={plot.categories.map((each) => ({ key: each, show: <Text value={each} limit={60} /> }))}
      note={plot.other?.batch ? `Other values: ${count(plot.other.batch)} rows of the batch.` : undefined}
    />
  )
}

function Missing({
  nulls,
  trusted,
}: {
  nulls: { batch: number; trusted: number | null; suspicious: number } | undefined
  trusted: boolean
}) {
  if (!nulls || nulls.batch + (nulls.trusted ?? 0) + nulls.suspicious === 0) return null
  return (
    <p className="figure-note">
      Missing values: {count(nulls.batch)} in the batch
      {trusted ? `, ${count(nulls.trusted)} in trusted rows` : ''}, {count(nulls.suspicious)} in suspicious
      rows.
    </p>
  )
}

function toNumber(value: Cell): number {
  if (typeof value === 'number') return value
  if (typeof value !== 'string') return Number.NaN
  const parsed = Number(value)
  return value.trim() !== '' && Number.isFinite(parsed) ? parsed : Date.parse(value)
}
