import { describe, expect, it } from 'vitest'
import { chosen } from './theme'

describe('theme', () => {
  it('is that of the frame where there is one', () => {
    expect(chosen('dark chakra', 'light', false)).toBe('dark')
    expect(chosen('light', 'dark', true)).toBe('light')
  })

  it('is the stored choice without a frame', () => {
    expect(chosen(null, 'dark', false)).toBe('dark')
  })

  it('is that of the system where the choice is left to it', () => {
    expect(chosen(null, 'system', true)).toBe('dark')
    expect(chosen('', null, false)).toBe('light')
    expect(chosen('darkish', null, false)).toBe('light')
  })
})
