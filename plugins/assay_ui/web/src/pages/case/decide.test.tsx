import { QueryClientProvider } from '@tanstack/react-query'
import { cleanup, fireEvent, render, screen, waitFor } from '@testing-library/react'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { makeClient } from '../../api/hooks'
import type { Case } from '../../api/types'
import { type Ask, DecisionDialog } from './decide'

const FILE = {
  id: 'case-1',
  rows: 47,
  approvals: 1,
  approved_by: [],
  groups: [{ id: 'g', title: 'a trigger', rows: 31 }],
} as unknown as Case

beforeEach(() => {
  // The DOM of these tests has dialogs, but not what opens them.
  HTMLDialogElement.prototype.showModal ??= function show(this: HTMLDialogElement) {
    this.open = true
  }
})

afterEach(() => {
  cleanup()
  vi.unstubAllGlobals()
})

function open(ask: Partial<Ask>, answer: () => Response) {
  const fetched = vi.fn(async (_path: string, _init: RequestInit) => answer())
  vi.stubGlobal('fetch', fetched)
  const decided = vi.fn()
  const beaten = vi.fn()
  render(
    <QueryClientProvider client={makeClient()}>
      <DecisionDialog
        file={FILE}
        ask={{ action: 'reject', scope: 'case', rows: [], group: null, ...ask }}
        close={() => undefined}
        decided={decided}
        beaten={beaten}
      />
    </QueryClientProvider>,
  )
  return { fetched, decided, beaten, reason: screen.getByRole('textbox', { hidden: true }) }
}

const sent = (fetched: { mock: { calls: [string, RequestInit][] } }) =>
  JSON.parse(String(fetched.mock.calls[0]?.[1].body)) as unknown

const done = () => new Response(JSON.stringify({ message: 'Rejected.' }))

describe('the decision dialog', () => {
  it('sends nothing without a reason and says what is missing', () => {
    const { fetched, reason } = open({}, done)
    fireEvent.change(reason, { target: { value: '  x ' } })
    fireEvent.keyDown(reason, { key: 'Enter' })
    expect(fetched).not.toHaveBeenCalled()
    expect(reason.getAttribute('aria-invalid')).toBe('true')
  })

  it('decides the whole case with Enter', async () => {
    const { fetched, decided, reason } = open({}, done)
    fireEvent.change(reason, { target: { value: 'planted' } })
    fireEvent.keyDown(reason, { key: 'Enter' })
    await waitFor(() => expect(decided).toHaveBeenCalled())
    expect(sent(fetched)).toEqual({ action: 'reject', reason: 'planted' })
  })

  it('does not decide with shift and Enter, nor while a word is being composed', () => {
    const { fetched, reason } = open({}, done)
    fireEvent.change(reason, { target: { value: 'planted' } })
    fireEvent.keyDown(reason, { key: 'Enter', shiftKey: true })
    fireEvent.keyDown(reason, { key: 'Enter', isComposing: true })
    expect(fetched).not.toHaveBeenCalled()
  })

  it('names the chosen rows, and only them', async () => {
    const { fetched, decided, reason } = open(
      { scope: 'rows', rows: [3, 5], group: 'g', action: 'release' },
      done,
    )
    fireEvent.change(reason, { target: { value: 'they are fine' } })
    fireEvent.keyDown(reason, { key: 'Enter' })
    await waitFor(() => expect(decided).toHaveBeenCalled())
    expect(sent(fetched)).toEqual({ action: 'release', reason: 'they are fine', rows: [3, 5] })
  })

  it('names the group where the group is what is decided', async () => {
    const { fetched, decided, reason } = open({ scope: 'group', group: 'g' }, done)
    fireEvent.change(reason, { target: { value: 'a trigger' } })
    fireEvent.keyDown(reason, { key: 'Enter' })
    await waitFor(() => expect(decided).toHaveBeenCalled())
    expect(sent(fetched)).toEqual({ action: 'reject', reason: 'a trigger', group: 'g' })
  })

  it('says who was faster', async () => {
    const error = {
      kind: 'already_decided',
      message: 'already decided by olga',
      by: 'olga',
      action: 'reject',
    }
    const { beaten, decided, reason } = open(
      {},
      () => new Response(JSON.stringify({ error }), { status: 409 }),
    )
    fireEvent.change(reason, { target: { value: 'planted' } })
    fireEvent.keyDown(reason, { key: 'Enter' })
    await waitFor(() => expect(beaten).toHaveBeenCalled())
    expect(document.body.textContent).toContain('already decided by olga')
    expect(document.body.textContent).toContain('Nothing of yours was recorded')
    expect(decided).not.toHaveBeenCalled()
  })
})
