import { useSearchParams } from 'react-router'
import { useDatasets, usePages } from '../api/hooks'
import type { ModelLine } from '../api/types'
import { useTitle } from '../layout'
import { number, short } from '../lib/format'
import { visible, words } from '../lib/text'
import { Empty } from '../ui/feedback'
import { SelectFilter } from '../ui/filters'
import { ThingLink } from '../ui/link'
import { StateMark, When } from '../ui/marks'
import { PageHead } from '../ui/panel'
import { PagedTable, type TableColumn } from '../ui/table'
import { Text } from '../ui/text'

const COLUMNS: TableColumn<ModelLine>[] = [
  {
    name: 'Model',
    main: true,
    show: (each) => (
      <ThingLink kind="model" id={each.id}>
        {visible(short(each.id))}
      </ThingLink>
    ),
  },
  { name: 'Data set', show: (each) => <Text value={each.dataset} limit={40} /> },
  { name: 'State', show: (each) => <StateMark state={each.state} /> },
  { name: 'Metrics', show: (each) => <Metrics metrics={each.metrics} /> },
  { name: 'Made', show: (each) => <When at={each.made_at} /> },
  {
    name: 'Run',
    show: (each) =>
      each.run_id ? (
        <ThingLink kind="run" id={each.run_id}>
          {visible(short(each.run_id, 8))}
        </ThingLink>
      ) : (
        <span className="missing">none</span>
      ),
  },
]

function Metrics({ metrics }: { metrics: ModelLine['metrics'] }) {
  const known = Object.entries(metrics)
    .flatMap(([name, value]) => (typeof value === 'number' ? [{ name, value }] : []))
    .slice(0, 4)
  if (known.length === 0) return <span className="missing">none</span>
  return (
    <span className="row">
      {known.map(({ name, value }) => (
        <span key={name}>
          <span className="muted">{visible(words(name))}</span> {number(value, 3)}
        </span>
      ))}
    </span>
  )
}

export default function Models() {
  useTitle('Models')
  const [params] = useSearchParams()
  const held = usePages<ModelLine>('models', { dataset: params.get('dataset') })
  return (
    <>
      <PageHead title="Models" />
      <search className="filters">
        <SelectFilter name="dataset" label="Data set" options={useDatasets()} />
      </search>
      <PagedTable
        label="Models"
        columns={COLUMNS}
        held={held}
        id={(each) => each.id}
        empty={
          <Empty title="No model yet">
            <p>A model is made by the training DAG when an intake has admitted a snapshot.</p>
          </Empty>
        }
      />
    </>
  )
}
