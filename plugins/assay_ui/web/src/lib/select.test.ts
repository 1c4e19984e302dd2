import { describe, expect, it } from 'vitest'
import { EMPTY, MAX_CHOSEN, select } from './select'

const order = [50, 10, 40, 20, 30]

describe('selection', () => {
  it('toggles one row', () => {
    const one = select(EMPTY, { type: 'toggle', row: 10 })
    expect([...one.chosen]).toEqual([10])
    expect(select(one, { type: 'toggle', row: 10 }).chosen.size).toBe(0)
  })

  it('takes a range in the order of the list, in either direction', () => {
    const anchored = select(EMPTY, { type: 'toggle', row: 20 })
    const range = select(anchored, { type: 'range', row: 10, order })
    expect([...range.chosen].sort()).toEqual([10, 20, 40])
    expect(range.anchor).toBe(20)
  })

  it('takes a single row where the range has no beginning in the list', () => {
    expect([...select(EMPTY, { type: 'range', row: 40, order }).chosen]).toEqual([40])
    const elsewhere = { chosen: new Set([99]), anchor: 99 }
    expect([...select(elsewhere, { type: 'range', row: 40, order }).chosen].sort()).toEqual([40, 99])
  })

  it('keeps what is chosen when a filter hides it', () => {
    const one = select(EMPTY, { type: 'toggle', row: 10 })
    expect([...select(one, { type: 'add', rows: [20, 30] }).chosen]).toEqual([10, 20, 30])
  })

  it('forgets all', () => {
    expect(select({ chosen: new Set([1]), anchor: 1 }, { type: 'clear' })).toEqual(EMPTY)
  })

  it('never grows beyond what one decision may name', () => {
    const rows = Array.from({ length: MAX_CHOSEN + 100 }, (_, index) => index)
    expect(select(EMPTY, { type: 'add', rows }).chosen.size).toBe(MAX_CHOSEN)
  })
})
