import { useSearchParams } from 'react-router'
import { useDatasets, usePages } from '../api/hooks'
import type { RunLine } from '../api/types'
import { useTitle } from '../layout'
import { number, short } from '../lib/format'
import { visible } from '../lib/text'
import { Commands } from '../ui/copy'
import { Empty } from '../ui/feedback'
import { SelectFilter } from '../ui/filters'
import { ThingLink } from '../ui/link'
import { OutcomeMark, StateMark, When } from '../ui/marks'
import { PageHead } from '../ui/panel'
import { PagedTable, type TableColumn } from '../ui/table'
import { Text } from '../ui/text'

const COLUMNS: TableColumn<RunLine>[] = [
  {
    name: 'Run',
    main: true,
    show: (each) => (
      <ThingLink kind="run" id={each.id}>
        {visible(short(each.id))}
      </ThingLink>
    ),
  },
  { name: 'Data set', show: (each) => <Text value={each.dataset} limit={40} /> },
  { name: 'Status', show: (each) => <StateMark state={each.live ? 'live' : each.status} /> },
  {
    name: 'Curve',
    show: (each) =>
      each.live && each.curve_outcome === null ? (
        <span className="muted">in training</span>
      ) : (
        <OutcomeMark outcome={each.curve_outcome} />
      ),
  },
  { name: 'Validation loss', numeric: true, show: (each) => number(each.final_validation_loss) },
  {
    name: 'Backend',
    show: (each) => (
      <>
        {visible(each.backend)} <span className="muted">{each.device && visible(each.device)}</span>
      </>
    ),
  },
  { name: 'Finished', show: (each) => <When at={each.finished_at} /> },
]

export default function Runs() {
  useTitle('Runs')
  const [params] = useSearchParams()
  const dataset = params.get('dataset')
  const held = usePages<RunLine>('runs', { dataset })
  return (
    <>
      <PageHead title="Training runs" />
      <search className="filters">
        <SelectFilter name="dataset" label="Data set" options={useDatasets()} />
      </search>
      <PagedTable
        label="Training runs"
        columns={COLUMNS}
        held={held}
        id={(each) => each.id}
        empty={
          <Empty title="No run yet">
            <p>The training DAG of a data set starts when its intake admits a snapshot.</p>
            <Commands
              commands={[{ title: 'Train by hand', command: 'airflow dags trigger DATASET__training' }]}
            />
          </Empty>
        }
      />
    </>
  )
}
