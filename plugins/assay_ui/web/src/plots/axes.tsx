/** Axes of SVG plots, drawn from any d3 scale. */

export const MARGIN = { top: 8, right: 22, bottom: 34, left: 48 }

/** Least distance of two labels, in pixels. */
const LINE = 15

export interface Ticks {
  at: number[]
  text: (value: number) => string
  place: (value: number) => number
}

export function XAxis({ ticks, y, width, label }: { ticks: Ticks; y: number; width: number; label: string }) {
  const room = 56
  const kept: number[] = []
  for (const value of ticks.at) {
    const last = kept.at(-1)
    if (last === undefined || ticks.place(value) - ticks.place(last) >= room) kept.push(value)
  }
  return (
    <g className="axis" aria-hidden="true">
      <line x1={MARGIN.left} x2={width - MARGIN.right} y1={y} y2={y} className="axis-line" />
      {kept.map((value) => (
        <g key={value} transform={`translate(${ticks.place(value)},${y})`}>
          <line y2={4} className="axis-line" />
          <text y={15} textAnchor="middle">
            {ticks.text(value)}
          </text>
        </g>
      ))}
      <text x={width - MARGIN.right} y={y + 29} textAnchor="end" className="axis-label">
        {label}
      </text>
    </g>
  )
}

export function YAxis({ ticks, width, label }: { ticks: Ticks; width: number; label?: string }) {
  const kept: number[] = []
  for (const value of ticks.at) {
    const last = kept.at(-1)
    if (last === undefined || Math.abs(ticks.place(value) - ticks.place(last)) >= LINE) kept.push(value)
  }
  return (
    <g className="axis" aria-hidden="true">
      {kept.map((value) => (
        <g key={value} transform={`translate(0,${ticks.place(value)})`}>
          <line x1={MARGIN.left} x2={width - MARGIN.right} className="grid" />
          <text x={MARGIN.left - 6} dy="0.32em" textAnchor="end">
            {ticks.text(value)}
          </text>
        </g>
      ))}
      {label && (
        <text x={4} y={12} className="axis-label">
          {label}
        </text>
      )}
    </g>
  )
}

/** Lowest and highest finite number, widened where they are one. */
export function extent(values: Iterable<number | null | undefined>): [number, number] {
  let low = Infinity
  let high = -Infinity
  for (const value of values) {
    if (value === null || value === undefined || !Number.isFinite(value)) continue
    if (value < low) low = value
    if (value > high) high = value
  }
  if (low > high) return [0, 1]
  if (low === high) {
    const room = low === 0 ? 0.5 : Math.abs(low) * 0.1
    return [low - room, high + room]
  }
  return [low, high]
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
