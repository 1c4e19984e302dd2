/**
 * Text that came from data, made safe to look at.
 *
 * React already keeps markup from being markup. What is left are characters that one cannot see or that move
 * other characters: they are split off, so that the page shows a name for each of them.
 */

export interface Piece {
  text: string
  /** Set for a character that would be invisible or would reorder the text: what it is, in words. */
  control?: string
}

const NAMED: Record<number, [string, string]> = {
  9: ['⇥', 'tab'],
  10: ['↵', 'line feed'],
  13: ['⟨CR⟩', 'carriage return'],
  127: ['⟨DEL⟩', 'delete'],
  160: ['⟨NBSP⟩', 'no-break space'],
  173: ['⟨SHY⟩', 'soft hyphen'],
  1564: ['⟨ALM⟩', 'Arabic letter mark'],
  8203: ['⟨ZWSP⟩', 'zero-width space'],
  8206: ['⟨LRM⟩', 'left-to-right mark'],
  8207: ['⟨RLM⟩', 'right-to-left mark'],
  8232: ['⟨LS⟩', 'line separator'],
  8233: ['⟨PS⟩', 'paragraph separator'],
  8234: ['⟨LRE⟩', 'left-to-right embedding'],
  8235: ['⟨RLE⟩', 'right-to-left embedding'],
  8236: ['⟨PDF⟩', 'pop directional formatting'],
  8237: ['⟨LRO⟩', 'left-to-right override'],
  8238: ['⟨RLO⟩', 'right-to-left override'],
  8288: ['⟨WJ⟩', 'word joiner'],
  8294: ['⟨LRI⟩', 'left-to-right isolate'],
  8295: ['⟨RLI⟩', 'right-to-left isolate'],
  8296: ['⟨FSI⟩', 'first strong isolate'],
  8297: ['⟨PDI⟩', 'pop directional isolate'],
  65279: ['⟨BOM⟩', 'zero-width no-break space'],
}

const ASCII =
  'NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US'.split(
    ' ',
  )

const SUSPECT =
  /[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|[\ud800-\udfff]/gu

function named(code: number): [string, string] {
  const known = NAMED[code]
  if (known) return known
  const hex = code.toString(16).toUpperCase().padStart(4, '0')
  const ascii = ASCII[code]
  if (ascii) return [`⟨${ascii}⟩`, `control character U+${hex}`]
  return [`⟨${hex}⟩`, `invisible character U+${hex}`]
}

/** The text in pieces; runs of the same control character stay one piece each. */
export function pieces(text: string): Piece[] {
  const out: Piece[] = []
  let at = 0
  for (const match of text.matchAll(SUSPECT)) {
    if (match.index > at) out.push({ text: text.slice(at, match.index) })
    const [symbol, name] = named(match[0].codePointAt(0) ?? 0)
    out.push({ text: symbol, control: name })
    at = match.index + match[0].length
  }
  if (at < text.length) out.push({ text: text.slice(at) })
  return out
}

/** The text with symbols in place of control characters, for places that take only plain text (titles, labels). */
export function visible(text: string): string {
  return pieces(text)
    .map((piece) => piece.text)
    .join('')
}

/** The beginning of a text, never cutting a surrogate pair in two. */
export function clip(text: string, limit: number): string {
  if (text.length <= limit) return text
  const last = text.charCodeAt(limit - 1)
  return `${text.slice(0, last >= 0xd800 && last <= 0xdbff ? limit - 1 : limit)}…`
}

/** A link that we are willing to make out of data: only http and https, nothing that runs. */
export function safeHref(href: string | undefined): string | null {
  if (!href || !/^https?:\/\//i.test(href)) return null
  try {
    const url = new URL(href)
    return url.protocol === 'http:' || url.protocol === 'https:' ? url.href : null
  } catch {
    return null
  }
}

/** A name out of our own vocabulary, as words: `not_checked` -> `not checked`. */
export function words(name: string): string {
  return name.replaceAll('_', ' ')
}
