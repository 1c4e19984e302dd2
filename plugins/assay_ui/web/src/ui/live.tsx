import { useEffect, useState } from 'react'

type Listener = (text: string) => void
const listeners = new Set<Listener>()

/** Say something to whoever listens to the page: results that came without a change of focus. */
export function announce(text: string): void {
  for (const listener of listeners) listener(text)
}

/** The place where announcements are read from; also shown for some seconds. */
export function LiveRegion() {
  const [said, setSaid] = useState({ text: '', times: 0 })
  useEffect(() => {
    const listener: Listener = (text) => setSaid((before) => ({ text, times: before.times + 1 }))
    listeners.add(listener)
    return () => {
      listeners.delete(listener)
    }
  }, [])
  useEffect(() => {
    if (!said.text) return
    const timer = setTimeout(() => setSaid((now) => (now === said ? { ...now, text: '' } : now)), 6000)
    return () => clearTimeout(timer)
  }, [said])
  return (
    <div className="toast" data-shown={said.text !== ''} role="status" aria-live="polite" aria-atomic="true">
      {said.text}
    </div>
  )
}
