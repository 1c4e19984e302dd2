/** Which key means what: a small machine for single keys and two-key sequences, free of the page. */

export interface Binding {
  /** One key (`j`, `Enter`, `ctrl+a`, `shift+ArrowDown`) or two in a row (`g c`). */
  keys: string[]
  /** What it does, in words; bindings with the same words stand together in the help. */
  does: string
  /** Headline in the help. */
  group: string
  run: () => void
}

export interface KeyPress {
  key: string
  ctrlKey: boolean
  metaKey: boolean
  altKey: boolean
  shiftKey: boolean
}

/** How a key press is written in a binding. Shift is only named with keys that have no shifted letter. */
export function chord(press: KeyPress): string {
  const key = press.key === ' ' ? 'space' : press.key
  const parts: string[] = []
  if (press.ctrlKey || press.metaKey) parts.push('ctrl')
  if (press.altKey) parts.push('alt')
  if (press.shiftKey && key.length > 1) parts.push('shift')
  parts.push(key.length === 1 && parts.length > 0 ? key.toLowerCase() : key)
  return parts.join('+')
}

export interface Step {
  /** First key of a sequence that has begun. */
  pending: string | null
  binding: Binding | null
}

/** What a key press means after `pending`. A later binding beats an earlier one: a page over the frame. */
export function step(bindings: readonly Binding[], pending: string | null, press: KeyPress): Step {
  const pressed = chord(press)
  const wanted = pending ? `${pending} ${pressed}` : pressed
  for (let i = bindings.length - 1; i >= 0; i -= 1) {
    const binding = bindings[i]
    if (binding?.keys.includes(wanted)) return { pending: null, binding }
  }
  const begins = bindings.some((binding) => binding.keys.some((keys) => keys.startsWith(`${pressed} `)))
  return { pending: begins ? pressed : null, binding: null }
}

/** Whether a key press belongs to the element it was made in, not to the page. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  if (target.isContentEditable) return true
  if (target instanceof HTMLInputElement) {
    return !['checkbox', 'radio', 'button', 'submit'].includes(target.type)
  }
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement
}

const NAMES: Record<string, string> = {
  ArrowDown: '↓',
  ArrowUp: '↑',
  ArrowLeft: '←',
  ArrowRight: '→',
  Escape: 'Esc',
  space: 'Space',
  ctrl: 'Ctrl',
  shift: 'Shift',
}

/** The keys of a chord as they are printed: `ctrl+a` -> [`Ctrl`, `a`]. */
export function printed(keys: string): string[] {
  return keys.split(/[ +]/).map((key) => NAMES[key] ?? key)
}
