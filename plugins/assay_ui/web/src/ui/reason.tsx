import { type FormEvent, type KeyboardEvent, type ReactNode, useId, useState } from 'react'
import { Keys } from './keyboard'

const MIN_REASON = 3
const MAX_REASON = 2000

/** Asks for the reason of a decision, under what `children` say of it; Enter decides, Escape goes back. */
export function ReasonForm({
  verb,
  good,
  newLine = false,
  sending,
  send,
  close,
  children,
}: {
  verb: string
  good: boolean
  newLine?: boolean
  sending: boolean
  send: (reason: string) => void
  close: () => void
  children: ReactNode
}) {
  const [reason, setReason] = useState('')
  const [asked, setAsked] = useState(false)
  const id = useId()
  const short = reason.trim().length < MIN_REASON
  const submit = (event: FormEvent | KeyboardEvent) => {
    event.preventDefault()
    setAsked(true)
    if (!short && !sending) send(reason.trim())
  }
  const enter = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing) submit(event)
  }
  return (
    <form onSubmit={submit} className="decision">
      {children}
      <label htmlFor={id}>Reason (required; it stands in the signed statement)</label>
      <textarea
        id={id}
        data-first=""
        rows={3}
        maxLength={MAX_REASON}
        value={reason}
        aria-invalid={asked && short}
        aria-describedby={`${id}-hint`}
        onChange={(event) => setReason(event.target.value)}
        onKeyDown={enter}
      />
      <p id={`${id}-hint`} className={asked && short ? 'bad' : 'muted'}>
        {asked && short ? 'Write at least three characters: say why. ' : ''}
        <Keys of="Enter" /> {verb.toLowerCase()},{' '}
        {newLine && (
          <>
            <Keys of="shift+Enter" /> new line,{' '}
          </>
        )}
        <Keys of="Escape" /> back
      </p>
      <div className="row dialog-foot">
        <button type="button" className="button" onClick={close}>
          Back
        </button>
        <button
          type="submit"
          className={good ? 'button button-good' : 'button button-bad'}
          aria-disabled={short || sending}
        >
          {sending ? 'Signing …' : verb}
        </button>
      </div>
    </form>
  )
}
