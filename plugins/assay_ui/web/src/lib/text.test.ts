import { describe, expect, it } from 'vitest'
import { clip, pieces, safeHref, visible } from './text'

describe('text from data', () => {
  it('leaves plain text, markup included, as it is', () => {
    const text = `<script>alert("x")</script> & 'quotes' Ünï 漢字 🙂`
    expect(pieces(text)).toEqual([{ text }])
  })

  it('names every character that reorders or hides', () => {
    const shown = visible('a\u0000b\u202ec\u200bd\u001b[31m\u2066\ufeff\u00a0')
    expect(shown).toBe('a⟨NUL⟩b⟨RLO⟩c⟨ZWSP⟩d⟨ESC⟩[31m⟨LRI⟩⟨BOM⟩⟨NBSP⟩')
  })

  it('shows a lone surrogate by its number and keeps a whole pair', () => {
    expect(visible('\ud800')).toBe('⟨D800⟩')
    expect(visible('🙂')).toBe('🙂')
  })

  it('shows characters of the tag block, which can smuggle whole sentences', () => {
    expect(visible('a\u{e0041}b')).toBe('a⟨E0041⟩b')
  })

  it('keeps right-to-left words readable', () => {
    expect(visible('אבג العربية')).toBe('אבג العربية')
  })

  it('says in words what a symbol stands for', () => {
    expect(pieces('\u202e')).toEqual([{ text: '⟨RLO⟩', control: 'right-to-left override' }])
  })

  it('goes through a megabyte of control characters', () => {
    expect(pieces('\u0000'.repeat(100_000))).toHaveLength(100_000)
  })
})

describe('clip', () => {
  it('leaves short text alone and marks a cut', () => {
    expect(clip('abc', 3)).toBe('abc')
    expect(clip('abcd', 3)).toBe('abc…')
  })

  it('never cuts a surrogate pair in two', () => {
    expect(clip('ab🙂cd', 3)).toBe('ab…')
  })
})

describe('links out of data', () => {
  it('takes http and https only', () => {
    expect(safeHref('https://example.org/a')).toBe('https://example.org/a')
    for (const bad of [
      'javascript:alert(1)',
      ' javascript:alert(1)',
      'JaVaScRiPt:alert(1)',
      'data:text/html,x',
      '//evil.example',
      '/local',
      '',
      undefined,
    ]) {
      expect(safeHref(bad)).toBeNull()
    }
  })
})
