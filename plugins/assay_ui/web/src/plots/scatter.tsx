import { scaleLinear } from 'd3-scale'
import type { ReactNode } from 'react'
import { count, number } from '../lib/format'
import { extent, MARGIN, XAxis, YAxis } from './axes'
import { Figure, useWidth } from './frame'

const HEIGHT = 260

/** Rows of a group among the other rows, in two columns. */
export function Scatter({
  title,
  x: xName,
  y: yName,
  inside,
  outside,
}: {
  title: ReactNode
  x: string
  y: string
  inside: [number, number][]
  outside: [number, number][]
}) {
  const [ref, width] = useWidth<HTMLDivElement>()
  const all = [...inside, ...outside]
  const x = scaleLinear()
    .domain(extent(all.map((point) => point[0])))
    .range([MARGIN.left, width - MARGIN.right])
    .nice(5)
  const y = scaleLinear()
    .domain(extent(all.map((point) => point[1])))
    .range([HEIGHT - MARGIN.bottom, MARGIN.top + 18])
    .nice(5)
  const text = (value: number) => number(value, 3)
  return (
    <Figure
      title={title}
      legend={[
        { name: `the group (${count(inside.length)} shown)`, tone: 'suspicious', shape: 'dot' },
        { name: `other rows (${count(outside.length)} shown)`, tone: 'batch', shape: 'dot' },
      ]}
      table={() => ({
        head: ['rows', xName, `${yName} (y)`],
        rows: [
          ...inside.map((point) => ['the group', text(point[0]), text(point[1])]),
          ...outside.map((point) => ['other rows', text(point[0]), text(point[1])]),
        ],
      })}
    >
      <div ref={ref} className="plot">
        <svg
          width={width}
          height={HEIGHT}
          role="img"
          aria-label={`Scatter plot of ${yName} over ${xName}: ${count(inside.length)} rows of the group among ${count(outside.length)} other rows`}
        >
          <YAxis width={width} label={yName} ticks={{ at: y.ticks(5), place: y, text }} />
          <g className="tone-batch">
            {outside.map((point, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: points have no other name
              <circle key={index} className="dot" cx={x(point[0])} cy={y(point[1])} r={1.8} />
            ))}
          </g>
          <g className="tone-suspicious">
            {inside.map((point, index) => (
              <path
                // biome-ignore lint/suspicious/noArrayIndexKey: points have no other name
                key={index}
                className="cross"
                d={`M${x(point[0]) - 3},${y(point[1]) - 3}l6,6m0,-6l-6,6`}
              />
            ))}
          </g>
          <XAxis
            y={HEIGHT - MARGIN.bottom}
            width={width}
            label={xName}
            ticks={{ at: x.ticks(Math.max(2, Math.floor(width / 90))), place: x, text }}
          />
        </svg>
      </div>
    </Figure>
  )
}
