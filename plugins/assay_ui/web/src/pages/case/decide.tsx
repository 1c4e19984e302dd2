import { useMutation, useQueryClient } from '@tanstack/react-query'
import { Ban, Check } from 'lucide-react'
import { useEffect, useRef, useState } from 'react'
import { ApiError, post } from '../../api/client'
import type { Action, Case, Decided } from '../../api/types'
import { plural } from '../../lib/format'
import { segment } from '../../lib/place'
import { clip, visible, words } from '../../lib/text'
import { Dialog } from '../../ui/dialog'
import { ErrorPanel } from '../../ui/feedback'
import { Keys } from '../../ui/keyboard'
import { announce } from '../../ui/live'
import { StateMark, When } from '../../ui/marks'
import { ReasonForm } from '../../ui/reason'
import { LongText, Text } from '../../ui/text'

type Scope = 'rows' | 'group' | 'case'

export interface Ask {
  action: Action
  scope: Scope
  rows: number[]
  group: string | null
}

/** What can be decided now, always in sight. */
export function DecisionBar({
  file,
  chosen,
  decide,
  clear,
}: {
  file: Case
  chosen: number
  decide: (action: Action) => void
  clear: () => void
}) {
  if (file.status !== 'open') return <DecidedBar file={file} />
  const what = chosen > 0 ? plural(chosen, 'chosen row') : file.rows > 0 ? 'the whole case' : 'the delivery'
  const refused = !file.may_decide.allowed
  return (
    <section className="bar-bottom" aria-label="Decision">
      <span className="bar-what">
        {refused ? (
          <span className="warn-text">
            <Text value={file.may_decide.why_not ?? 'You may not decide this case.'} limit={300} />
          </span>
        ) : (
          <>
            Decide on <b>{what}</b>
            {chosen > 0 && (
              <button type="button" className="more" onClick={clear}>
                choose nothing
              </button>
            )}
            {file.approvals > 1 && (
              <span className="muted">
                {' '}
                · {file.approved_by.length} of {file.approvals} approvals
              </span>
            )}
          </>
        )}
      </span>
      <span className="row">
        <button
          type="button"
          className="button button-good"
          disabled={refused}
          onClick={() => decide('release')}
        >
          <Check aria-hidden="true" />
          Release <Keys of="r" />
        </button>
        <button
          type="button"
          className="button button-bad"
          disabled={refused}
          onClick={() => decide('reject')}
        >
          <Ban aria-hidden="true" />
          Reject <Keys of="d" />
        </button>
      </span>
    </section>
  )
}

function DecidedBar({ file }: { file: Case }) {
  const last = file.decisions.at(-1)
  return (
    <section className="bar-bottom" aria-label="Decision">
      <span className="bar-what">
        <StateMark state={file.status} />
        {last && (
          <span>
            by <Text value={last.reviewer} limit={60} /> · <When at={last.decided_at} /> ·{' '}
            <LongText value={last.reason} limit={120} />
          </span>
        )}
      </span>
    </section>
  )
}

const WORDS: Record<Action, { verb: string; after: string }> = {
  release: {
    verb: 'Release',
    after: 'They are admitted into the next snapshot, and models will learn from them.',
  },
  reject: {
    verb: 'Reject',
    after: 'They stay sealed in the store and no model learns from them.',
  },
}

/** Asks what is decided and for the reason, or says who was faster. */
export function DecisionDialog({
  file,
  ask,
  close,
  decided,
  beaten,
}: {
  file: Case
  ask: Ask
  close: () => void
  decided: (done: Decided) => void
  beaten: () => void
}) {
  const [scope, setScope] = useState(ask.scope)
  const client = useQueryClient()
  const send = useMutation<Decided, Error, string>({
    mutationFn: (reason) =>
      post<Decided>(`cases/${segment(file.id)}/decision`, {
        action: ask.action,
        reason,
        ...(scope === 'rows' ? { rows: ask.rows } : scope === 'group' ? { group: ask.group } : {}),
      }),
    onSuccess: (done) => {
      void client.invalidateQueries()
      decided(done)
    },
    onError: (error) => {
      announce(error.message)
      if (error instanceof ApiError && error.status === 409) beaten()
    },
  })
  const { verb, after } = WORDS[ask.action]
  const late = send.error instanceof ApiError && send.error.status === 409 ? send.error : null
  return (
    <Dialog title={`${verb} ${said(scope, ask, file)}?`} close={close}>
      {late ? (
        <div className="decision">
          <Late error={late} />
          <div className="row dialog-foot">
            <button type="button" className="button" onClick={close}>
              Close
            </button>
          </div>
        </div>
      ) : (
        <ReasonForm
          verb={verb}
          good={ask.action === 'release'}
          newLine
          sending={send.isPending}
          send={(reason) => send.mutate(reason)}
          close={close}
        >
          {send.error && <ErrorPanel error={send.error} />}
          <ScopeChoice ask={ask} file={file} scope={scope} setScope={setScope} />
          <p className="muted">{file.rows > 0 ? after : verdict(ask.action)}</p>
          {file.approvals > 1 && ask.action === 'release' && (
            <p className="muted">
              This is approval {file.approved_by.length + 1} of {file.approvals}.
            </p>
          )}
        </ReasonForm>
      )}
    </Dialog>
  )
}

function said(scope: Scope, ask: Ask, file: Case): string {
  if (scope === 'rows') return plural(ask.rows.length, 'chosen row')
  if (scope === 'group') return `the group ${groupTitle(file, ask.group)}`
  return file.rows > 0 ? `the whole case (${plural(file.rows, 'row')})` : 'the delivery'
}

function verdict(action: Action): string {
  return action === 'release'
    ? 'The delivery may go on; rows that wait in cases of their own keep waiting.'
    : 'The delivery is rejected. Its bytes are kept, sealed.'
}

function groupTitle(file: Case, id: string | null): string {
  const group = file.groups.find((each) => each.id === id)
  return group ? `${visible(clip(group.title, 60))} (${plural(group.rows, 'row')})` : visible(id ?? '')
}

function ScopeChoice({
  ask,
  file,
  scope,
  setScope,
}: {
  ask: Ask
  file: Case
  scope: Scope
  setScope: (scope: Scope) => void
}) {
  const open: Scope[] = []
  if (ask.rows.length > 0) open.push('rows')
  if (ask.group) open.push('group')
  open.push('case')
  if (open.length === 1) return null
  return (
    <fieldset className="scope">
      <legend>What</legend>
      {open.map((each) => (
        <label key={each} className="check">
          <input type="radio" name="scope" checked={scope === each} onChange={() => setScope(each)} />
          {said(each, ask, file)}
        </label>
      ))}
    </fieldset>
  )
}

const DONE: Record<string, string> = { release: 'Released', reject: 'Rejected', split: 'Split' }

/** Somebody was faster: who, what and when. */
function Late({ error }: { error: ApiError }) {
  const { by, action, at } = error.facts
  const panel = useRef<HTMLDivElement>(null)
  useEffect(() => panel.current?.focus(), [])
  return (
    <div className="panel panel-warn" role="alert" tabIndex={-1} ref={panel}>
      <p>
        <b>
          <Text value={error.facts.message} limit={500} />
        </b>
      </p>
      <p>
        {by && (
          <>
            {action ? (DONE[action] ?? words(action)) : 'Decided'} by <Text value={by} limit={80} />
          </>
        )}
        {at && (
          <>
            {' '}
            at <When at={at} />
          </>
        )}
        . Nothing of yours was recorded.
      </p>
    </div>
  )
}
