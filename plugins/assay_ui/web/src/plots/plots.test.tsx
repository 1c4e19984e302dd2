import { cleanup, render } from '@testing-library/react'
import { afterEach, describe, expect, it } from 'vitest'
import { aligned } from '../pages/run'
import { extent } from './axes'
import { ColumnView } from './column'
import { within } from './histogram'

afterEach(cleanup)

describe('places in a histogram', () => {
  it('are counted in bins, whatever a bin spans', () => {
    const edges = [0, 1, 2, 1000]
    expect(within(edges, 0.5)).toBe(0.5)
    expect(within(edges, 501)).toBe(2.5)
  })

  it('beyond the edges are at the edge', () => {
    expect(within([0, 1, 2], -5)).toBe(0)
    expect(within([0, 1, 2], 99)).toBe(2)
  })
})

describe('extent', () => {
  it('is never empty', () => {
    expect(extent([])).toEqual([0, 1])
    expect(extent([null, Number.NaN])).toEqual([0, 1])
    const [low, high] = extent([3])
    expect(low).toBeLessThan(3)
    expect(high).toBeGreaterThan(3)
  })
})

describe('another curve', () => {
  it('is put at the epochs of this one', () => {
    expect(aligned([1, 2, 3], [2, 3, 4], [0.2, 0.3, 0.4])).toEqual([null, 0.2, 0.3])
    expect(aligned([1, 2], undefined, [1, 2, 3])).toEqual([1, 2])
  })
})

describe('a column', () => {
  it('is told in words to whoever does not see the picture', () => {
    const { container } = render(
      <ColumnView
        name="age"
        value={3}
        plot={{
          kind: 'histogram',
          edges: [0, 2, 4],
          batch: [10, 1],
          trusted: [5, 0],
          suspicious: [0, 4],
          label: 'age',
        }}
      />,
    )
    const told = container.querySelector('svg')?.getAttribute('aria-label') ?? ''
    expect(told).toContain('suspicious rows: 4 rows, most from 2 to 4')
    expect(told).toContain('this row: 3 at 3')
  })

  it('of dates has dates at its edges', () => {
    const { container } = render(
      <ColumnView
        name="day"
        plot={{
          kind: 'histogram',
          edges: ['2026-01-01', '2026-02-01'],
          batch: [3],
          trusted: null,
          suspicious: [1],
          label: 'day',
        }}
      />,
    )
    expect(container.querySelector('svg')?.getAttribute('aria-label')).toContain('2026-01-01 to 2026-02-01')
  })

  it('of words marks the one that the row has', () => {
    const { container } = render(
      <ColumnView
        name="sex"
        value="Male"
        plot={{
          kind: 'bars',
          categories: ['Female', 'Male'],
          batch: [1, 2],
          trusted: null,
          suspicious: [0, 1],
          other: null,
        }}
      />,
    )
    expect(container.querySelector('tr.marked')?.textContent).toContain('Male')
  })
})
