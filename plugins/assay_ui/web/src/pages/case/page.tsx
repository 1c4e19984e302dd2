import { useCallback, useReducer, useRef, useState } from 'react'
import { Link, useNavigate, useParams } from 'react-router'
import { get } from '../../api/client'
import { useGet } from '../../api/hooks'
import type { Case, CaseLine, Decided, Page } from '../../api/types'
import { useTitle } from '../../layout'
import { count, plural, short } from '../../lib/format'
import type { Binding } from '../../lib/keys'
import { apiPath, segment } from '../../lib/place'
import { EMPTY, select } from '../../lib/select'
import { words } from '../../lib/text'
import { Answered, Empty } from '../../ui/feedback'
import { useParam } from '../../ui/filters'
import { useKeys } from '../../ui/keyboard'
import { AirflowLink, ThingLink, walkTo } from '../../ui/link'
import { announce } from '../../ui/live'
import { StateMark, Tag, When } from '../../ui/marks'
import { PageHead } from '../../ui/panel'
import { Tabs } from '../../ui/tabs'
import { LongText, Text } from '../../ui/text'
import { About, requiredAction } from './about'
import { type Ask, DecisionBar, DecisionDialog } from './decide'
import { RowView } from './detail'
import { CasePlots } from './plots'
import { RowList, useRows } from './rows'

export default function CasePage() {
  const { id = '' } = useParams()
  useTitle(`Case ${short(id)}`)
  const held = useGet<Case>(`cases/${segment(id)}`)
  return (
    <Answered page held={held} lines={12}>
      {(file) => <Shown key={file.id} file={file} reload={() => void held.refetch()} />}
    </Answered>
  )
}

function Shown({ file, reload }: { file: Case; reload: () => void }) {
  const navigate = useNavigate()
  const rows = useRows(file)
  const [selection, choose] = useReducer(select, EMPTY)
  const [current, setCurrent] = useState<number | null>(null)
  const [ask, setAsk] = useState<Ask | null>(null)
  const [tab, setTab] = useParam('tab')
  const list = useRef<HTMLDivElement>(null)
  const shown = rows.items
  const row = shown.find((each) => each.row === current) ?? shown[0] ?? null

  const move = (by: number, extend = false) => {
    const at = row ? shown.indexOf(row) : -1
    const next = shown[Math.min(shown.length - 1, Math.max(0, at + by))]
    if (!next) return
    setCurrent(next.row)
    list.current?.focus({ preventScroll: true })
    if (!extend) return
    if (selection.anchor === null && row) choose({ type: 'toggle', row: row.row })
    choose({ type: 'range', row: next.row, order: shown.map((each) => each.row) })
  }
  const chooseGroup = () => {
    const group = row?.group_ids[0]
    if (!group) return announce('This row belongs to no group')
    const members = shown.filter((each) => each.group_ids.includes(group)).map((each) => each.row)
    choose({ type: 'add', rows: members })
    announce(`${plural(members.length, 'row')} of the group chosen`)
  }
  const decide = (action: Ask['action'], whole = false) => {
    if (!file.may_decide.allowed) return announce(file.may_decide.why_not ?? 'You may not decide this case')
    const group = rows.filter.group
    const scope = whole ? 'case' : selection.chosen.size > 0 ? 'rows' : group ? 'group' : 'case'
    setAsk({ action, scope, rows: [...selection.chosen].sort((a, b) => a - b), group: group || null })
  }
  const nextCase = async () => {
    const next = await nextOpen(file)
    if (next) void navigate(`/case/${segment(next)}`)
    else announce('No other case is open')
  }
  const focusFilter = () => document.querySelector<HTMLElement>('main [data-filter]')?.focus()

  const withRows: Binding[] = [
    { keys: ['j', 'ArrowDown'], does: 'Next row', group: 'Case', run: () => move(1) },
    { keys: ['k', 'ArrowUp'], does: 'Row before', group: 'Case', run: () => move(-1) },
    { keys: ['shift+ArrowDown', 'J'], does: 'Choose downwards', group: 'Case', run: () => move(1, true) },
    { keys: ['shift+ArrowUp', 'K'], does: 'Choose upwards', group: 'Case', run: () => move(-1, true) },
    {
      keys: ['x', 'space'],
      does: 'Choose the row, or not',
      group: 'Case',
      run: () => row && choose({ type: 'toggle', row: row.row }),
    },
    { keys: ['g g'], does: 'Choose the group of the row', group: 'Case', run: chooseGroup },
    {
      keys: ['ctrl+a'],
      does: 'Choose all rows of the list',
      group: 'Case',
      run: () => choose({ type: 'add', rows: shown.map((each) => each.row) }),
    },
    { keys: ['f'], does: 'Filter the rows', group: 'Case', run: focusFilter },
  ]
  useKeys([
    ...(file.rows > 0 ? withRows : []),
    {
      keys: ['r'],
      does: 'Release what is chosen; nothing chosen: the case',
      group: 'Case',
      run: () => decide('release'),
    },
    {
      keys: ['d'],
      does: 'Reject (decline) what is chosen; nothing chosen: the case',
      group: 'Case',
      run: () => decide('reject'),
    },
    { keys: ['R'], does: 'Release the whole case', group: 'Case', run: () => decide('release', true) },
    { keys: ['D'], does: 'Reject the whole case', group: 'Case', run: () => decide('reject', true) },
    { keys: ['n'], does: 'Next open case', group: 'Case', run: () => void nextCase() },
    { keys: ['1'], does: 'Show the row', group: 'Case', run: () => setTab('') },
    { keys: ['2'], does: 'Show the plots', group: 'Case', run: () => setTab('plots') },
    { keys: ['3'], does: 'Show what is known of the case', group: 'Case', run: () => setTab('about') },
    ...(selection.chosen.size > 0
      ? [{ keys: ['Escape'], does: 'Choose nothing', group: 'Case', run: () => choose({ type: 'clear' }) }]
      : []),
  ])

  const decided = useCallback(
    (done: Decided) => {
      setAsk(null)
      choose({ type: 'clear' })
      announce(done.resumed ? `${done.message.replace(/\.$/, '')}. The DAG goes on.` : done.message)
      const rest = done.split?.rest
      if (rest) void navigate(`/case/${segment(rest)}`, { replace: true })
      requestAnimationFrame(() =>
        (list.current ?? document.getElementById('main'))?.focus({ preventScroll: true }),
      )
    },
    [navigate],
  )

  const about = { id: 'about', title: 'Case', content: () => <About file={file} /> }
  const plots = {
    id: 'plots',
    title: 'Plots',
    content: () => <CasePlots file={file} row={row} group={rows.filter.group} />,
  }
  const tabs =
    file.rows > 0
      ? [{ id: '', title: 'Row', content: () => <RowView file={file} row={row} /> }, plots, about]
      : [about, ...(plotted(file) ? [plots] : [])]

  return (
    <>
      <CaseHead file={file} next={() => void nextCase()} />
      <div className={file.rows > 0 ? 'case' : 'case case-whole'}>
        {file.rows > 0 && (
          <RowList
            file={file}
            rows={rows}
            current={row?.row ?? null}
            selection={selection}
            setCurrent={setCurrent}
            choose={choose}
            listRef={list}
          />
        )}
        <Tabs label="About the row and the case" items={tabs} active={tab} onChange={setTab} />
      </div>
      <DecisionBar
        file={file}
        chosen={selection.chosen.size}
        decide={decide}
        clear={() => choose({ type: 'clear' })}
      />
      {ask && (
        <DecisionDialog
          file={file}
          ask={ask}
          close={() => setAsk(null)}
          decided={decided}
          beaten={() => {
            reload()
            void rows.refetch()
          }}
        />
      )}
    </>
  )
}

function plotted(file: Case): boolean {
  const { columns, score, sources } = file.plots
  return score || sources || columns.length + file.groups.length > 0
}

/** Id of the open case that is due next after this one. */
async function nextOpen(file: Case): Promise<string | null> {
  const page = await get<Page<CaseLine>>('cases', { status: 'open', sort: 'due', limit: 100 })
  const at = page.items.findIndex((each) => each.id === file.id)
  const others = [...page.items.slice(at + 1), ...page.items.slice(0, Math.max(0, at))]
  return others.find((each) => each.id !== file.id)?.id ?? null
}

function CaseHead({ file, next }: { file: Case; next: () => void }) {
  const overdue = file.expires_at !== null && Date.parse(file.expires_at) < Date.now()
  return (
    <PageHead
      crumbs={
        <>
          <Link to="/cases">Cases</Link>
          <Link to={`/cases?${new URLSearchParams({ dataset: file.dataset })}`}>
            <Text value={file.dataset} limit={40} />
          </Link>
          <ThingLink kind="delivery" id={file.delivery_id}>
            delivery from <Text value={file.source} limit={40} />
          </ThingLink>
          {file.parent && (
            <ThingLink kind="case" id={file.parent}>
              split off from {short(file.parent, 6)}
            </ThingLink>
          )}
        </>
      }
      title={
        <>
          {TITLES[file.kind] ?? words(file.kind)}
          {file.rows > 0 && <span className="muted"> · {plural(file.rows, 'row')}</span>}
        </>
      }
      marks={
        <>
          <StateMark state={file.status} />
          {file.blocking && file.status === 'open' && <Tag tone="bad">the delivery waits for it</Tag>}
        </>
      }
      actions={
        <>
          {file.rows > 0 && (
            <a href={apiPath(`cases/${segment(file.id)}/export.csv`)} download={`${file.id}.csv`}>
              Export CSV
            </a>
          )}
          <Link to={walkTo('case', file.id)}>Provenance</Link>
          {file.waiting && <AirflowLink path={requiredAction(file.waiting)}>Required action</AirflowLink>}
          <button type="button" className="button" onClick={next}>
            Next case <kbd>n</kbd>
          </button>
        </>
      }
    >
      <p className="summary">
        <LongText value={file.summary} limit={300} />
      </p>
      {file.status === 'open' && (
        <p className="muted">
          {count(file.approved_by.length)} of {plural(file.approvals, 'approval')}
          {file.approved_by.length > 0 && <> (released by {file.approved_by.join(', ')})</>} · opened{' '}
          <When at={file.opened_at} relative />
          {file.expires_at && (
            <span className={overdue ? 'bad' : ''}>
              {' '}
              · {overdue ? 'was due' : 'due'} <When at={file.expires_at} relative />, then{' '}
              {file.on_timeout === 'reject' ? 'it is rejected' : 'it is held on'}
            </span>
          )}
        </p>
      )}
      {file.status === 'split' && <Children file={file} />}
    </PageHead>
  )
}

const TITLES: Record<string, string> = {
  screening: 'Suspicious rows',
  validation: 'Rows that break the contract',
  delivery: 'A delivery in doubt',
}

function Children({ file }: { file: Case }) {
  const ids = (file.children ?? []).map((each) => (typeof each === 'string' ? each : each.id))
  if (ids.length === 0) return <Empty title="This case was split" />
  return (
    <p>
      It was split into{' '}
      {ids.map((id, index) => (
        <span key={id}>
          {index > 0 && ' and '}
          <ThingLink kind="case" id={id}>
            {short(id)}
          </ThingLink>
        </span>
      ))}
      .
    </p>
  )
}
