import { Check, Copy } from 'lucide-react'
import { useEffect, useState } from 'react'
import type { Command } from '../api/types'
import { short } from '../lib/format'
import { visible } from '../lib/text'
import { announce } from './live'

async function write(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return copied(text)
  }
}

/** Without a secure context or the frame's permission there is only the old way. */
function copied(text: string): boolean {
  const area = document.createElement('textarea')
  const focused = document.activeElement
  area.value = text
  area.className = 'offscreen'
  document.body.append(area)
  area.select()
  const done = document.execCommand('copy')
  area.remove()
  if (focused instanceof HTMLElement) focused.focus()
  return done
}

export function CopyButton({ text, what }: { text: string; what: string }) {
  const [done, setDone] = useState(false)
  useEffect(() => {
    if (!done) return
    const timer = setTimeout(() => setDone(false), 1500)
    return () => clearTimeout(timer)
  }, [done])
  const copy = async () => {
    const ok = await write(text)
    setDone(ok)
    announce(ok ? `Copied ${what}` : `${what} could not be copied: select it and copy it by hand`)
  }
  return (
    <button
      type="button"
      className="icon-button"
      onClick={copy}
      aria-label={`Copy ${what}`}
      title={`Copy ${what}`}
    >
      {done ? <Check aria-hidden="true" className="good" /> : <Copy aria-hidden="true" />}
    </button>
  )
}

/** A digest or id: its beginning, the whole in the title and on the clipboard. */
export function Digest({
  value,
  what = 'digest',
  keep = 12,
}: {
  value: string | null
  what?: string
  keep?: number
}) {
  if (!value) return <span className="missing">none</span>
  return (
    <span className="digest">
      <code title={visible(value)}>{visible(short(value, keep))}</code>
      <CopyButton text={value} what={what} />
    </span>
  )
}

/** Commands that run as they stand on the store's machine. */
export function Commands({ commands }: { commands: Command[] }) {
  if (commands.length === 0) return <p className="muted">There is no command for this.</p>
  return (
    <ul className="commands">
      {commands.map((each) => (
        <li key={`${each.title}\n${each.command}`}>
          <span className="command-title">{visible(each.title)}</span>
          <span className="command">
            {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard */}
            <code tabIndex={0}>{visible(each.command)}</code>
            <CopyButton text={each.command} what={`the command: ${visible(each.title)}`} />
          </span>
        </li>
      ))}
    </ul>
  )
}
