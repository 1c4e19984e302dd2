import { useSearchParams } from 'react-router'
import { useDatasets, usePages } from '../api/hooks'
import type { DeliveryLine } from '../api/types'
import { useTitle } from '../layout'
import { count, short } from '../lib/format'
import { visible } from '../lib/text'
import { Commands } from '../ui/copy'
import { Empty } from '../ui/feedback'
import { SelectFilter, TextFilter } from '../ui/filters'
import { ThingLink } from '../ui/link'
import { StateMark, When } from '../ui/marks'
import { PageHead } from '../ui/panel'
import { PagedTable, type TableColumn } from '../ui/table'
import { Text } from '../ui/text'

const STATES = ['landed', 'verified', 'validated', 'screened', 'held', 'admitted', 'rejected']
const VERDICTS = ['accept', 'hold', 'reject']

const COLUMNS: TableColumn<DeliveryLine>[] = [
  {
    name: 'Delivery',
    main: true,
    show: (each) => (
      <ThingLink kind="delivery" id={each.id}>
        {visible(short(each.id))}
      </ThingLink>
    ),
  },
  { name: 'Data set', show: (each) => <Text value={each.dataset} limit={40} /> },
  {
    name: 'Source',
    show: (each) => (
      <span className="stack">
        <Text value={each.source} limit={40} />
        <span className="muted">
          <Text value={each.publisher} limit={40} />
        </span>
      </span>
    ),
  },
  { name: 'Verdict', show: (each) => <StateMark state={each.verdict} /> },
  { name: 'State', show: (each) => <StateMark state={each.state} /> },
  { name: 'Rows', numeric: true, show: (each) => count(each.rows) },
  { name: 'Open cases', numeric: true, show: (each) => count(each.open_cases) },
  { name: 'First seen', show: (each) => <When at={each.first_seen} /> },
]

export default function Deliveries() {
  useTitle('Deliveries')
  const [params] = useSearchParams()
  const query = Object.fromEntries(
    ['dataset', 'source', 'state', 'verdict'].map((name) => [name, params.get(name)]),
  )
  const held = usePages<DeliveryLine>('deliveries', query)
  const narrowed = Object.values(query).some(Boolean)
  return (
    <>
      <PageHead title="Deliveries" />
      <search className="filters">
        <SelectFilter name="dataset" label="Data set" options={useDatasets()} />
        <TextFilter name="source" label="Source" hint="name of a source" />
        <SelectFilter name="verdict" label="Verdict" options={VERDICTS} />
        <SelectFilter name="state" label="State" options={STATES} />
      </search>
      <PagedTable
        label="Deliveries"
        columns={COLUMNS}
        held={held}
        id={(each) => each.id}
        empty={
          <Empty title={narrowed ? 'No delivery is like that' : 'No delivery has come yet'}>
            {narrowed ? (
              <p>Take a filter away to see more.</p>
            ) : (
              <>
                <p>
                  The intake DAG of a data set lands what its sources deliver, on its schedule or when
                  triggered.
                </p>
                <Commands
                  commands={[{ title: 'Trigger an intake', command: 'airflow dags trigger DATASET__intake' }]}
                />
              </>
            )}
          </Empty>
        }
      />
    </>
  )
}
