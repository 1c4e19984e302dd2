import { createContext, type ReactNode, useContext, useEffect, useMemo, useRef, useState } from 'react'
import { type Binding, isTyping, printed, step } from '../lib/keys'
import { Dialog } from './dialog'

const SEQUENCE_MS = 1200
const STORED = 'assay.single-keys'

interface Keyboard {
  add: (bindings: () => readonly Binding[]) => () => void
  help: () => void
}

const Context = createContext<Keyboard>({ add: () => () => undefined, help: () => undefined })

/** Keys of the frame around all pages, and the machine that hands key presses to whoever wants them. */
export function KeyboardProvider({
  bindings,
  children,
}: {
  bindings: readonly Binding[]
  children: ReactNode
}) {
  const sets = useRef(new Set<() => readonly Binding[]>())
  const pending = useRef<{ key: string; at: number } | null>(null)
  const [helping, setHelping] = useState(false)
  const [single, setSingle] = useState(() => stored() !== 'off')
  const frame = useRef(bindings)
  frame.current = bindings
  const all = useRef<() => Binding[]>(() => [])
  all.current = () => [
    ...frame.current,
    { keys: ['?'], does: 'Show these keys', group: 'Everywhere', run: () => setHelping(true) },
    ...[...sets.current].flatMap((give) => give()),
  ]

  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if (event.defaultPrevented || document.querySelector('dialog[open]')) return
      if (isTyping(event.target)) {
        if (event.key !== 'Escape') return
        event.preventDefault()
        return leaveField()
      }
      if (!single && event.key.length === 1 && !event.ctrlKey && event.key !== '?') return
      const now = Date.now()
      const begun = pending.current && now - pending.current.at < SEQUENCE_MS ? pending.current.key : null
      const next = step(all.current(), begun, event)
      pending.current = next.pending ? { key: next.pending, at: now } : null
      if (!next.binding || ownsKey(event)) return
      event.preventDefault()
      next.binding.run()
    }
    document.addEventListener('keydown', listen)
    return () => document.removeEventListener('keydown', listen)
  }, [single])

  const value = useMemo<Keyboard>(
    () => ({
      add: (give) => {
        sets.current.add(give)
        return () => {
          sets.current.delete(give)
        }
      },
      help: () => setHelping(true),
    }),
    [],
  )
  return (
    <Context.Provider value={value}>
      {children}
      {helping && (
        <Dialog title="Keys" close={() => setHelping(false)} wide>
          <KeyList bindings={all.current()} />
          <label className="check">
            <input
              type="checkbox"
              checked={single}
              onChange={(event) => {
                setSingle(event.target.checked)
                keep(event.target.checked ? 'on' : 'off')
              }}
            />
            Use single letters as keys
          </label>
        </Dialog>
      )}
    </Context.Provider>
  )
}

/** From a field back to what it filters, or to the page: the focus is never lost. */
function leaveField(): void {
  const place =
    document.querySelector<HTMLElement>('main [role="listbox"]') ?? document.getElementById('main')
  place?.focus({ preventScroll: true })
}

/** Enter and Space belong to the link or button that has the focus. */
function ownsKey(event: KeyboardEvent): boolean {
  if (event.key !== 'Enter' && event.key !== ' ') return false
  return event.target instanceof Element && event.target.closest('a, button, summary, input') !== null
}

function stored(): string | null {
  try {
    return localStorage.getItem(STORED)
  } catch {
    return null
  }
}

function keep(value: string): void {
  try {
    localStorage.setItem(STORED, value)
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

/** Keys of a page or a part of it, as long as it is shown. */
export function useKeys(bindings: readonly Binding[]): void {
  const { add } = useContext(Context)
  const latest = useRef(bindings)
  latest.current = bindings
  useEffect(() => add(() => latest.current), [add])
}

export function useHelp(): () => void {
  return useContext(Context).help
}

export function Keys({ of }: { of: string }) {
  return (
    <span className="keys">
      {printed(of).map((key) => (
        <kbd key={key}>{key}</kbd>
      ))}
    </span>
  )
}

function KeyList({ bindings }: { bindings: readonly Binding[] }) {
  const groups = new Map<string, Binding[]>()
  for (const binding of bindings) groups.set(binding.group, [...(groups.get(binding.group) ?? []), binding])
  return (
    <div className="key-groups">
      {[...groups].map(([group, members]) => (
        <section key={group}>
          <h3>{group}</h3>
          <dl className="key-list">
            {members.map((binding) => (
              <div key={binding.does}>
                <dt>
                  {binding.keys.map((keys, index) => (
                    <span key={keys}>
                      {index > 0 && <span className="muted"> or </span>}
                      <Keys of={keys} />
                    </span>
                  ))}
                </dt>
                <dd>{binding.does}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </div>
  )
}
