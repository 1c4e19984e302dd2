import { useMutation, useQueryClient } from '@tanstack/react-query'
import { type FormEvent, useId, useState } from 'react'
import { post } from '../api/client'
import type { Model } from '../api/types'
import { short } from '../lib/format'
import { segment } from '../lib/place'
import { visible } from '../lib/text'
import { Dialog } from '../ui/dialog'
import { ErrorPanel } from '../ui/feedback'
import { Keys } from '../ui/keyboard'
import { announce } from '../ui/live'

export type Change = 'promote' | 'refuse' | 'rollback'

interface Changed {
  message: string
}

const MIN_REASON = 3
const MAX_REASON = 2000

const WORDS: Record<Change, { verb: string; after: string }> = {
  promote: {
    verb: 'Promote',
    after: 'It becomes the champion and answers from then on; the champion of now can be brought back.',
  },
  refuse: { verb: 'Refuse', after: 'It stays kept with its evidence, and never answers.' },
  rollback: {
    verb: 'Roll back',
    after: 'The chosen model becomes the champion again and answers from then on.',
  },
}

/** Promote or refuse this model, or roll back, with a reason. */
export function ChangeDialog({ model, change, close }: { model: Model; change: Change; close: () => void }) {
  const [reason, setReason] = useState('')
  const [asked, setAsked] = useState(false)
  const client = useQueryClient()
  const id = useId()
  const back = rollbackTarget(model)
  const send = useMutation<Changed, Error, void>({
    mutationFn: () =>
      change !== 'rollback'
        ? post<Changed>(`models/${segment(model.id)}/${change}`, { reason: reason.trim() })
        : post<Changed>(`datasets/${segment(model.dataset)}/rollback`, {
            reason: reason.trim(),
            ...(back ? { to: back } : {}),
          }),
    onSuccess: (done) => {
      void client.invalidateQueries()
      announce(done.message)
      close()
    },
    onError: (error) => announce(error.message),
  })
  const { verb, after } = WORDS[change]
  const title =
    change === 'rollback'
      ? `Roll back to ${back ? visible(short(back, 8)) : 'the model before'}?`
      : `${verb} this model?`
  const few = reason.trim().length < MIN_REASON
  const submit = (event: FormEvent) => {
    event.preventDefault()
    setAsked(true)
    if (!few && !send.isPending) send.mutate()
  }
  return (
    <Dialog title={title} close={close}>
      <form className="decision" onSubmit={submit}>
        <p className="muted">{after}</p>
        {send.error && <ErrorPanel error={send.error} />}
        <label htmlFor={id}>Reason (required; it stands in the signed statement)</label>
        <textarea
          id={id}
          data-first=""
          rows={3}
          maxLength={MAX_REASON}
          value={reason}
          aria-invalid={asked && few}
          aria-describedby={`${id}-hint`}
          onChange={(event) => setReason(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing) submit(event)
          }}
        />
        <p id={`${id}-hint`} className={asked && few ? 'bad' : 'muted'}>
          {asked && few ? 'Write at least three characters: say why. ' : ''}
          <Keys of="Enter" /> {verb.toLowerCase()}, <Keys of="Escape" /> back
        </p>
        <div className="row dialog-foot">
          <button type="button" className="button" onClick={close}>
            Back
          </button>
          <button
            type="submit"
            className={change === 'promote' ? 'button button-good' : 'button button-bad'}
            aria-disabled={few || send.isPending}
          >
            {send.isPending ? 'Signing …' : verb}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

/** Of a champion: the model before it. Of an earlier champion: itself. */
export function rollbackTarget(model: Model): string | null {
  if (model.state !== 'champion') return model.id
  return model.history.find((each) => each.model_id === model.id && each.previous_id)?.previous_id ?? null
}
