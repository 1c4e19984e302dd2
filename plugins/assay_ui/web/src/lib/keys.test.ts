import { describe, expect, it } from 'vitest'
import { type Binding, chord, isTyping, type KeyPress, printed, step } from './keys'

const press = (key: string, more: Partial<KeyPress> = {}): KeyPress => ({
  key,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  shiftKey: false,
  ...more,
})

const binding = (...keys: string[]): Binding => ({
  keys,
  does: keys.join(),
  group: 'x',
  run: () => undefined,
})

describe('chord', () => {
  it('writes a key with what is held beside it', () => {
    expect(chord(press('j'))).toBe('j')
    expect(chord(press(' '))).toBe('space')
    expect(chord(press('a', { ctrlKey: true }))).toBe('ctrl+a')
    expect(chord(press('a', { metaKey: true }))).toBe('ctrl+a')
    expect(chord(press('ArrowDown', { shiftKey: true }))).toBe('shift+ArrowDown')
  })

  it('lets the letter itself say that shift was held', () => {
    expect(chord(press('R', { shiftKey: true }))).toBe('R')
    expect(chord(press('?', { shiftKey: true }))).toBe('?')
  })
})

describe('step', () => {
  const bindings = [binding('r'), binding('g c'), binding('g g'), binding('g r')]

  it('finds a single key', () => {
    expect(step(bindings, null, press('r')).binding).toBe(bindings[0])
  })

  it('waits for the second key of a sequence', () => {
    const begun = step(bindings, null, press('g'))
    expect(begun).toEqual({ pending: 'g', binding: null })
    expect(step(bindings, begun.pending, press('c'))).toEqual({ pending: null, binding: bindings[1] })
  })

  it('prefers the sequence to the single key when one has begun', () => {
    expect(step(bindings, 'g', press('r')).binding).toBe(bindings[3])
  })

  it('forgets a sequence that comes to nothing', () => {
    expect(step(bindings, 'g', press('z'))).toEqual({ pending: null, binding: null })
  })

  it('lets a page override the frame', () => {
    const page = binding('Escape')
    expect(step([binding('Escape'), page], null, press('Escape')).binding).toBe(page)
  })

  it('does not take a browser shortcut for a letter', () => {
    expect(step(bindings, null, press('r', { ctrlKey: true })).binding).toBeNull()
  })
})

describe('typing', () => {
  it('keeps keys in fields that take text', () => {
    const input = document.createElement('input')
    const box = document.createElement('input')
    box.type = 'checkbox'
    expect(isTyping(input)).toBe(true)
    expect(isTyping(document.createElement('textarea'))).toBe(true)
    expect(isTyping(document.createElement('select'))).toBe(true)
    expect(isTyping(box)).toBe(false)
    expect(isTyping(document.createElement('a'))).toBe(false)
    expect(isTyping(null)).toBe(false)
  })
})

describe('printed', () => {
  it('writes keys as they stand on the keyboard', () => {
    expect(printed('ctrl+a')).toEqual(['Ctrl', 'a'])
    expect(printed('g c')).toEqual(['g', 'c'])
    expect(printed('ArrowDown')).toEqual(['↓'])
  })
})
