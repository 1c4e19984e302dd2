import { useMutation, useQueryClient } from '@tanstack/react-query'
import { post } from '../api/client'
import type { Model } from '../api/types'
import { short } from '../lib/format'
import { segment } from '../lib/place'
import { visible } from '../lib/text'
import { Dialog } from '../ui/dialog'
import { ErrorPanel } from '../ui/feedback'
import { announce } from '../ui/live'
import { ReasonForm } from '../ui/reason'

export type Change = 'promote' | 'refuse' | 'rollback'

interface Changed {
  message: string
}

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
  const client = useQueryClient()
  const back = rollbackTarget(model)
  const send = useMutation<Changed, Error, string>({
    mutationFn: (reason) =>
      change !== 'rollback'
        ? post<Changed>(`models/${segment(model.id)}/${change}`, { reason })
        : post<Changed>(`datasets/${segment(model.dataset)}/rollback`, {
            reason,
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
  return (
    <Dialog title={title} close={close}>
      <ReasonForm
        verb={verb}
        good={change === 'promote'}
        sending={send.isPending}
        send={(reason) => send.mutate(reason)}
        close={close}
      >
        <p className="muted">{after}</p>
        {send.error && <ErrorPanel error={send.error} />}
      </ReasonForm>
    </Dialog>
  )
}

/** Of a champion: the model before it. Of an earlier champion: itself. */
export function rollbackTarget(model: Model): string | null {
  if (model.state !== 'champion') return model.id
  return model.history.find((each) => each.model_id === model.id && each.previous_id)?.previous_id ?? null
}
