import { useSearchParams } from 'react-router'
import { useDatasets, usePages } from '../api/hooks'
import type { CaseLine } from '../api/types'
import { useTitle } from '../layout'
import { count, short } from '../lib/format'
import { visible, words } from '../lib/text'
import { Empty } from '../ui/feedback'
import { SelectFilter, TextFilter, useParam } from '../ui/filters'
import { ThingLink } from '../ui/link'
import { StateMark, Tag, When } from '../ui/marks'
import { PageHead } from '../ui/panel'
import { PagedTable, type TableColumn } from '../ui/table'
import { LongText, Text } from '../ui/text'

const COLUMNS: TableColumn<CaseLine>[] = [
  {
    name: 'Case',
    main: true,
    show: (each) => (
      <span className="stack">
        <ThingLink kind="case" id={each.id}>
          {words(each.kind)} {visible(short(each.id, 8))}
        </ThingLink>
        <span className="muted">
          <Text value={each.dataset} limit={30} /> · <Text value={each.source} limit={30} />
        </span>
      </span>
    ),
  },
  {
    name: 'Status',
    show: (each) => (
      <span className="row">
        <StateMark state={each.status} />
        {each.blocking && each.status === 'open' && <Tag tone="bad">blocking</Tag>}
      </span>
    ),
  },
  { name: 'Rows', numeric: true, show: (each) => count(each.rows) },
  { name: 'What', show: (each) => <LongText value={each.summary} limit={160} /> },
  { name: 'Approvals', show: (each) => `${each.approved_by.length} of ${each.approvals}` },
  { name: 'Opened', show: (each) => <When at={each.opened_at} relative /> },
  {
    name: 'Due',
    show: (each) =>
      each.expires_at ? (
        <span className="stack">
          <When at={each.expires_at} relative />
          <span className="muted">then {each.on_timeout === 'reject' ? 'rejected' : 'held on'}</span>
        </span>
      ) : (
        <span className="muted">never</span>
      ),
  },
]

const NAMES = ['dataset', 'status', 'kind', 'source', 'delivery', 'q', 'sort'] as const

export default function Cases() {
  useTitle('Cases')
  const [params] = useSearchParams()
  const query: Record<string, string | null> = Object.fromEntries(
    NAMES.map((name) => [name, params.get(name)]),
  )
  query.status ??= 'open'
  if (query.status === 'any') query.status = null
  const held = usePages<CaseLine>('cases', query)
  const [, setStatus] = useParam('status')
  return (
    <>
      <PageHead title="Cases" />
      <search className="filters">
        <TextFilter name="q" label="Search" hint="case id, delivery id or source" />
        <SelectFilter name="dataset" label="Data set" options={useDatasets()} />
        <SelectFilter
          name="status"
          label="Status"
          options={['released', 'rejected', 'split', 'any']}
          any="open"
        />
        <SelectFilter name="kind" label="Kind" options={['screening', 'validation', 'delivery']} />
        <SelectFilter name="sort" label="Sort" options={['due', 'rows']} any="newest" />
      </search>
      <PagedTable
        label="Cases"
        columns={COLUMNS}
        held={held}
        id={(each) => each.id}
        empty={
          <Empty title={query.status === 'open' ? 'No open case' : 'No case is like that'}>
            <p>
              {query.status === 'open'
                ? 'Nothing of this kind waits for a decision.'
                : 'Take a filter away to see more.'}
            </p>
            {query.status === 'open' && (
              <button type="button" className="button" onClick={() => setStatus('any')}>
                Show decided cases too
              </button>
            )}
          </Empty>
        }
      />
    </>
  )
}
