import { describe, expect, it } from 'vitest'
import { ago, bytes, count, duration, NOTHING, number, percent, probability, short, utc } from './format'

describe('numbers', () => {
  it('are a dash where there is none', () => {
    for (const show of [count, number, percent, probability, bytes, duration]) {
      expect(show(null)).toBe(NOTHING)
      expect(show(Number.NaN)).toBe(NOTHING)
    }
  })

  it('keep the digits that matter', () => {
    expect(number(0.843123)).toBe('0.8431')
    expect(number(1234.5678)).toBe('1,235')
    expect(number(0.00001234)).toBe('1.23e-5')
    expect(number(12_400)).toBe('12,400')
    expect(number(0)).toBe('0')
  })

  it('never round a small share or probability down to nothing', () => {
    expect(percent(0.0000001)).toBe('< 0.1 %')
    expect(percent(0)).toBe('0.0 %')
    expect(probability(1.2e-7)).toBe('1.2e-7')
    expect(probability(0)).toBe('0.000')
  })

  it('have units', () => {
    expect(bytes(999)).toBe('999 B')
    expect(bytes(1_500_000)).toBe('1.5 MB')
    expect(duration(412.7)).toBe('6 min 53 s')
    expect(duration(1.42)).toBe('1.4 s')
  })
})

describe('times', () => {
  it('are shown in UTC whatever the machine says', () => {
    expect(utc('2026-11-22T09:38:00Z')).toBe('22 Nov 2026, 09:38 UTC')
    expect(utc('2026-11-22T09:38:00+02:00')).toBe('22 Nov 2026, 07:38 UTC')
  })

  it('say how far away they are', () => {
    const now = Date.parse('2026-11-22T12:00:00Z')
    expect(ago('2026-11-22T09:00:00Z', now)).toBe('3 hr. ago')
    expect(ago('2026-11-25T12:00:00Z', now)).toBe('in 3 days')
    expect(ago('2026-11-22T12:00:10Z', now)).toBe('just now')
  })

  it('are a dash when they are not times', () => {
    expect(utc('soon')).toBe(NOTHING)
    expect(ago(null)).toBe(NOTHING)
  })
})

describe('ids', () => {
  it('are shortened after the word that they begin with', () => {
    expect(short('case-0123456789abcdef')).toBe('case-0123456789…')
    expect(short('abc')).toBe('abc')
  })
})
