import { scaleLinear, scaleSymlog } from 'd3-scale'
import { curveStepAfter, line } from 'd3-shape'
import type { ReactNode } from 'react'
import { compact, count, number, percent } from '../lib/format'
import { MARGIN, sum, XAxis, YAxis } from './axes'
import { Figure, useWidth } from './frame'

export interface Counted {
  name: string
  counts: number[]
  tone: 'batch' | 'trusted' | 'suspicious'
}

export interface Mark {
  at: number
  name: string
  tone: 'suspicious' | 'threshold'
}

const HEIGHT = 190

/**
 * Counts over bins of a number.
 *
 * With `share` each series is drawn as share of its own rows, so that few suspicious rows can be compared with many
 * others; else counts on a logarithmic axis.
 */
export function Histogram({
  title,
  edges,
  series,
  label,
  share,
  marks = [],
  text = (value) => number(value, 3),
}: {
  title: ReactNode
  /** Of the bins, one more than there are counts. Bins are drawn equally wide, whatever they span. */
  edges: number[]
  series: Counted[]
  label: string
  share: boolean
  marks?: Mark[]
  text?: (value: number) => string
}) {
  const [ref, width] = useWidth<HTMLDivElement>()
  const bins = Math.max(1, edges.length - 1)
  const x = scaleLinear()
    .domain([0, bins])
    .range([MARGIN.left, width - MARGIN.right])
  const heights = series.map(({ counts }) => {
    const total = share ? Math.max(1, sum(counts)) : 1
    return counts.map((value) => value / total)
  })
  const top = Math.max(...heights.flat(), share ? 0.01 : 1)
  const y = (share ? scaleLinear() : scaleSymlog().constant(1))
    .domain([0, top * (share ? 1.05 : 1.3)])
    .range([HEIGHT - MARGIN.bottom, MARGIN.top])
  const yTicks = share ? y.ticks(4) : powers(top)
  return (
    <Figure
      title={title}
      legend={[
        ...series.map(({ name, counts, tone }) => ({
          name: `${name} (${count(sum(counts))})`,
          tone,
          shape: tone === 'trusted' ? ('line' as const) : ('fill' as const),
        })),
        ...marks.map((mark) => ({ name: mark.name, tone: mark.tone, shape: 'dash' as const })),
      ]}
      table={() => ({
        head: [`${label} from`, 'to', ...series.map((each) => each.name)],
        rows: edges
          .slice(0, -1)
          .map((edge, index) => [
            text(edge),
            text(edges[index + 1] ?? edge),
            ...series.map((each) => count(each.counts[index])),
          ]),
      })}
    >
      <div ref={ref} className="plot">
        <svg width={width} height={HEIGHT} role="img" aria-label={spoken(label, edges, series, marks, text)}>
          <YAxis
            width={width}
            ticks={{ at: yTicks, place: y, text: share ? (v) => percent(v, top < 0.04 ? 1 : 0) : compact }}
          />
          {series.map(({ name, counts, tone }, index) => (
            <g key={name} className={`tone-${tone}`}>
              {tone === 'trusted' ? (
                <path className="stroke" d={steps(heights[index] ?? [], x, y)} />
              ) : (
                counts.map((value, bin) =>
                  value > 0 ? (
                    <Bar
                      // biome-ignore lint/suspicious/noArrayIndexKey: a bin is its place
                      key={bin}
                      left={x(bin)}
                      right={x(bin + 1)}
                      top={y(heights[index]?.[bin] ?? 0)}
                      bottom={y(0)}
                      narrow={tone === 'suspicious'}
                      title={`${name}: ${count(value)} rows from ${text(edges[bin] ?? 0)} to ${text(edges[bin + 1] ?? 0)}`}
                    />
                  ) : null,
                )
              )}
            </g>
          ))}
          {marks.map((mark) => (
            <line
              key={mark.name}
              className={`mark-line tone-${mark.tone}`}
              x1={x(within(edges, mark.at))}
              x2={x(within(edges, mark.at))}
              y1={MARGIN.top}
              y2={HEIGHT - MARGIN.bottom}
            />
          ))}
          <XAxis
            y={HEIGHT - MARGIN.bottom}
            width={width}
            label={label}
            ticks={{
              at: every(bins, Math.floor(width / 70)),
              place: x,
              text: (edge) => text(edges[edge] ?? 0),
            }}
          />
        </svg>
      </div>
    </Figure>
  )
}

function Bar(props: {
  left: number
  right: number
  top: number
  bottom: number
  narrow: boolean
  title: string
}) {
  const room = Math.max(1, props.right - props.left)
  const inset = props.narrow ? room * 0.28 : Math.min(0.5, room * 0.1)
  return (
    <rect
      className="fill"
      x={props.left + inset}
      width={Math.max(1, room - 2 * inset)}
      y={Math.min(props.top, props.bottom - 1.5)}
      height={Math.max(1.5, props.bottom - props.top)}
    >
      <title>{props.title}</title>
    </rect>
  )
}

function steps(heights: number[], x: (value: number) => number, y: (value: number) => number): string {
  const points: [number, number][] = [
    [0, 0],
    ...heights.map((height, bin): [number, number] => [bin, height]),
  ]
  points.push([heights.length, 0])
  return (
    line<[number, number]>()
      .curve(curveStepAfter)
      .x((point) => x(point[0]))
      .y((point) => y(point[1]))(points) ?? ''
  )
}

/** Where a value lies, in bins from the left; values beyond the edges stand at the edge. */
export function within(edges: readonly number[], value: number): number {
  for (let bin = 0; bin < edges.length - 1; bin += 1) {
    const [low, high] = [edges[bin] ?? 0, edges[bin + 1] ?? 0]
    if (value < low) return bin
    if (value <= high) return high > low ? bin + (value - low) / (high - low) : bin + 0.5
  }
  return Math.max(0, edges.length - 1)
}

/** Numbers of the edges that get a label. */
function every(bins: number, room: number): number[] {
  const gap = Math.max(1, Math.ceil(bins / Math.max(1, room)))
  return Array.from({ length: Math.floor(bins / gap) + 1 }, (_, index) => index * gap)
}

function powers(top: number): number[] {
  const out = [0, 1]
  for (let power = 10; power <= top * 1.3; power *= 10) out.push(power)
  return out.length > 6 ? out.filter((_, index) => index < 2 || index % 2 === 0) : out
}

function spoken(
  label: string,
  edges: number[],
  series: Counted[],
  marks: Mark[],
  text: (value: number) => string,
): string {
  const most = series.map(({ name, counts }) => {
    const bin = counts.indexOf(Math.max(...counts))
    return `${name}: ${count(sum(counts))} rows, most from ${text(edges[bin] ?? 0)} to ${text(edges[bin + 1] ?? 0)}`
  })
  return `Histogram of ${label}. ${[...most, ...marks.map((mark) => `${mark.name} at ${text(mark.at)}`)].join('. ')}`
}
