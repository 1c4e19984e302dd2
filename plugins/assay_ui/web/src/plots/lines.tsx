import { scaleLinear, scaleLog } from 'd3-scale'
import { area, line } from 'd3-shape'
import { type PointerEvent, type ReactNode, useState } from 'react'
import type { Series } from '../api/types'
import { number } from '../lib/format'
import { extent, MARGIN, XAxis, YAxis } from './axes'
import { Figure, type LegendItem, useWidth } from './frame'

export interface Line {
  name: string
  tone: string
  values: Series
  dash?: boolean
  faint?: boolean
}

export interface Band {
  name: string
  low: Series
  median: Series
  high: Series
}

export interface Moment {
  at: number
  name: string
}

/** Values over epochs, with the band in which earlier runs lay, and moments that were odd. */
export function Lines({
  title,
  epochs,
  lines,
  band,
  moments = [],
  log = false,
  height = 240,
  label = 'epoch',
  legend = true,
  note,
  domain,
  point,
}: {
  title: ReactNode
  epochs: number[]
  lines: Line[]
  band?: Band | null
  moments?: Moment[]
  log?: boolean
  height?: number
  label?: string
  legend?: boolean
  note?: ReactNode
  domain?: [number, number]
  /** Name of the line that is drawn over the others. */
  point?: string
}) {
  const [ref, width] = useWidth<HTMLDivElement>()
  const [at, setAt] = useState<number | null>(null)
  const all = [...lines.flatMap((each) => each.values), ...(band ? [...band.low, ...band.high] : [])]
  const positive = all.every((value) => value === null || value > 0)
  const x = scaleLinear()
    .domain(extent(epochs))
    .range([MARGIN.left, width - MARGIN.right])
  const range = [height - MARGIN.bottom, MARGIN.top]
  const given = domain ?? extent(all)
  const y =
    log && positive
      ? scaleLog().domain(given).range(range).nice()
      : scaleLinear().domain(given).range(range).nice(5)
  const place = (values: Series) =>
    line<number | null>()
      .defined((value) => value !== null && Number.isFinite(value))
      .x((_, index) => x(epochs[index] ?? 0))
      .y((value) => y(value ?? 0))(values.slice(0, epochs.length)) ?? ''
  const move = (event: PointerEvent<SVGSVGElement>) => {
    const box = event.currentTarget.getBoundingClientRect()
    setAt(nearest(epochs, x.invert(event.clientX - box.left)))
  }
  const index = at === null ? -1 : epochs.indexOf(at)
  const ticks: number[] = log && positive ? y.ticks(4).filter(leading) : y.ticks(5)
  const items: LegendItem[] = [
    ...lines
      .filter((each) => !each.faint)
      .map((each) => ({
        name: each.name,
        tone: each.tone,
        shape: each.dash ? ('dash' as const) : ('line' as const),
      })),
    ...(band ? [{ name: band.name, tone: 'band', shape: 'band' as const }] : []),
    ...(moments.length ? [{ name: 'anomaly', tone: 'suspicious', shape: 'dot' as const }] : []),
  ]
  return (
    <Figure
      title={title}
      legend={legend ? items : []}
      note={note}
      table={() => ({
        head: [label, ...lines.map((each) => each.name), ...(band ? ['band low', 'median', 'high'] : [])],
        rows: epochs.map((epoch, i) => [
          String(epoch),
          ...lines.map((each) => number(each.values[i])),
          ...(band ? [number(band.low[i]), number(band.median[i]), number(band.high[i])] : []),
        ]),
      })}
    >
      <div ref={ref} className="plot">
        <svg
          width={width}
          height={height}
          role="img"
          aria-label={spoken(label, epochs, lines, moments)}
          onPointerMove={move}
          onPointerLeave={() => setAt(null)}
        >
          <YAxis width={width} ticks={{ at: ticks, place: y, text: (value) => number(value, 3) }} />
          {band && <path className="band tone-band" d={bandPath(epochs, band, x, y)} />}
          {band && <path className="stroke stroke-thin stroke-dash tone-band-line" d={place(band.median)} />}
          {lines.map((each) => (
            <path
              key={each.name}
              className={`stroke tone-${each.tone} ${each.dash ? 'stroke-dash' : ''} ${each.faint ? 'stroke-faint' : ''} ${each.name === point ? 'stroke-thick' : ''}`}
              d={place(each.values)}
            />
          ))}
          {moments.map((moment) => (
            <g key={`${moment.at} ${moment.name}`} className="tone-suspicious">
              <line
                className="mark-line"
                x1={x(moment.at)}
                x2={x(moment.at)}
                y1={MARGIN.top}
                y2={height - MARGIN.bottom}
              />
              <path className="fill" d={`M${x(moment.at) - 5},${MARGIN.top - 6}h10l-5,8z`} />
              <title>{moment.name}</title>
            </g>
          ))}
          {at !== null && (
            <line className="cursor-line" x1={x(at)} x2={x(at)} y1={MARGIN.top} y2={height - MARGIN.bottom} />
          )}
          <XAxis
            y={height - MARGIN.bottom}
            width={width}
            label={label}
            ticks={{
              at: x.ticks(Math.max(2, Math.floor(width / 70))).filter(Number.isInteger),
              place: x,
              text: String,
            }}
          />
        </svg>
        {index >= 0 && (
          <div className="readout" aria-hidden="true">
            <b>
              {label} {at}
            </b>
            {lines
              .filter((each) => !each.faint || each.name === point)
              .slice(0, 8)
              .map((each) => (
                <span key={each.name}>
                  {each.name} <b>{number(each.values[index])}</b>
                </span>
              ))}
            {moments
              .filter((moment) => moment.at === at)
              .map((moment) => (
                <span key={moment.name} className="bad">
                  {moment.name}
                </span>
              ))}
          </div>
        )}
      </div>
    </Figure>
  )
}

/** Whether a label of a logarithmic axis begins with 1, 2 or 5. */
function leading(value: number): boolean {
  return /^[125]/.test(value.toExponential())
}

function nearest(epochs: number[], value: number): number | null {
  let best: number | null = null
  for (const epoch of epochs) {
    if (best === null || Math.abs(epoch - value) < Math.abs(best - value)) best = epoch
  }
  return best
}

function bandPath(
  epochs: number[],
  band: Band,
  x: (value: number) => number,
  y: (value: number) => number,
): string {
  const points = epochs.map((epoch, index) => ({ epoch, low: band.low[index], high: band.high[index] }))
  return (
    area<(typeof points)[number]>()
      .defined(
        (each) =>
          each.low !== null && each.low !== undefined && each.high !== null && each.high !== undefined,
      )
      .x((each) => x(each.epoch))
      .y0((each) => y(each.low ?? 0))
      .y1((each) => y(each.high ?? 0))(points) ?? ''
  )
}

function spoken(label: string, epochs: number[], lines: Line[], moments: Moment[]): string {
  const ends = lines.slice(0, 6).map((each) => {
    const known = each.values.filter((value) => value !== null)
    return `${each.name} from ${number(known[0])} to ${number(known.at(-1))}`
  })
  const odd = moments.map((moment) => `anomaly at ${label} ${moment.at}: ${moment.name}`)
  return `Curves over ${epochs.length} ${label}s. ${[...ends, ...odd].join('. ')}`
}
