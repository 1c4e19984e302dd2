import { lazy, Suspense, useState } from 'react'
import { Link, useParams } from 'react-router'
import { useGet } from '../api/hooks'
import type { Gate, Model } from '../api/types'
import { useTitle } from '../layout'
import { count, number, percent, short } from '../lib/format'
import { segment } from '../lib/place'
import { visible, words } from '../lib/text'
import { Commands, Digest } from '../ui/copy'
import { FactView } from '../ui/fact'
import { Answered, Skeleton } from '../ui/feedback'
import { Statements } from '../ui/findings'
import { AirflowLink, ThingLink, walkTo } from '../ui/link'
import { OutcomeMark, StateMark, When } from '../ui/marks'
import { Facts, PageHead, Panel } from '../ui/panel'
import { DataTable, type TableColumn } from '../ui/table'
import { LongText, Text } from '../ui/text'
import { Files } from './delivery'
import { type Change, ChangeDialog } from './model-change'

const Card = lazy(() => import('./model-card'))

export default function ModelPage() {
  const { id = '' } = useParams()
  useTitle(`Model ${short(id)}`)
  const held = useGet<Model>(`models/${segment(id)}`)
  return (
    <Answered page held={held} lines={10}>
      {(model) => <Shown model={model} />}
    </Answered>
  )
}

function Shown({ model }: { model: Model }) {
  const [change, setChange] = useState<Change | null>(null)
  return (
    <>
      <PageHead
        crumbs={
          <>
            <Link to="/models">Models</Link>
            <Link to={`/models?${new URLSearchParams({ dataset: model.dataset })}`}>
              <Text value={model.dataset} limit={40} />
            </Link>
          </>
        }
        title={<>Model {visible(short(model.id, 8))}</>}
        marks={<StateMark state={model.state} />}
        actions={
          <>
            {model.run_id && (
              <ThingLink kind="run" id={model.run_id}>
                Its run
              </ThingLink>
            )}
            <Link to={walkTo('model', model.id)}>Provenance</Link>
          </>
        }
      />
      <Changes model={model} ask={setChange} />
      <div className="columns">
        <div className="wide">
          <Panel title={`Gates (${count(model.gates.length)})`}>
            <Gates model={model} />
          </Panel>
          <Panel title="Signature, structure, bundle">
            {model.checks.length === 0 ? (
              <p className="muted">No check has answered for this model.</p>
            ) : (
              <ul className="lines lines-wide">
                {model.checks.map((each) => (
                  <li key={each.name}>
                    <OutcomeMark outcome={each.outcome} />
                    <b>{visible(words(each.name))}</b>
                    <LongText value={each.message} />
                  </li>
                ))}
              </ul>
            )}
          </Panel>
          <Panel title={`Slices (${count(model.slices.length)})`}>
            <Slices model={model} />
          </Panel>
          <Panel title="Card">
            <Suspense fallback={<Skeleton lines={4} />}>
              <Card text={model.card} />
            </Suspense>
          </Panel>
        </div>
        <div className="side">
          <Panel title="Model">
            <Facts
              facts={[
                ['Id', <Digest key="id" value={model.id} what="the model's id" />],
                ['Made', <When key="made" at={model.made_at} />],
                [
                  'Snapshot',
                  model.snapshot_id ? (
                    <ThingLink key="snapshot" kind="snapshot" id={model.snapshot_id}>
                      {visible(short(model.snapshot_id))}
                    </ThingLink>
                  ) : (
                    'not known'
                  ),
                ],
                ...Object.entries(model.metrics)
                  .filter(([, value]) => value !== null)
                  .map(([name, value]): [string, React.ReactNode] => [
                    visible(words(name)),
                    <FactView key={name} value={value} />,
                  ]),
              ]}
            />
          </Panel>
          <Panel title="Bundle">
            {model.bundle ? (
              <>
                <p>
                  <LongText value={model.bundle.uri} limit={100} />
                </p>
                <Files files={model.bundle.files} />
              </>
            ) : (
              <p className="muted">There is no bundle: the model was not written, or its files are gone.</p>
            )}
          </Panel>
          <Panel title="History">
            <History model={model} />
          </Panel>
          <Panel title="Reproduce on the command line">
            <Commands commands={model.reproduce} />
          </Panel>
          <Panel title="In the ledger">
            <Statements statements={model.statements} />
          </Panel>
        </div>
      </div>
      {change && <ChangeDialog model={model} change={change} close={() => setChange(null)} />}
    </>
  )
}

/** What can be done with the model now, and if not, why not. */
function Changes({ model, ask }: { model: Model; ask: (change: Change) => void }) {
  const { may_promote, may_rollback, may_refuse, waiting } = model
  const why = model.state === 'champion' ? may_rollback.why_not : may_promote.why_not
  return (
    <section className="bar-top" aria-label="Promotion">
      <span className="bar-what">
        {model.state === 'champion' ? (
          'This model answers now.'
        ) : model.champion_id ? (
          <>
            Champion:{' '}
            <ThingLink kind="model" id={model.champion_id}>
              {visible(short(model.champion_id, 8))}
            </ThingLink>
          </>
        ) : (
          'There is no champion yet.'
        )}{' '}
        {waiting && model.state === 'challenger' && (
          <AirflowLink
            path={
              waiting.url ??
              `dags/${[waiting.dag_id, 'runs', waiting.run_id, 'tasks', waiting.task_id].map(encodeURIComponent).join('/')}`
            }
          >
            Airflow waits for the decision
          </AirflowLink>
        )}
        {why && (
          <span className="warn-text">
            <Text value={why} limit={300} />
          </span>
        )}
      </span>
      <span className="row">
        {(model.state === 'challenger' || may_promote.allowed) && (
          <button
            type="button"
            className="button button-good"
            disabled={!may_promote.allowed}
            onClick={() => ask('promote')}
          >
            Promote
          </button>
        )}
        {may_refuse && model.state === 'challenger' && (
          <button
            type="button"
            className="button button-bad"
            disabled={!may_refuse.allowed}
            onClick={() => ask('refuse')}
          >
            Refuse
          </button>
        )}
        {(model.state !== 'challenger' || may_rollback.allowed) && (
          <button
            type="button"
            className="button button-bad"
            disabled={!may_rollback.allowed}
            onClick={() => ask('rollback')}
          >
            Roll back
          </button>
        )}
      </span>
    </section>
  )
}

function Gates({ model }: { model: Model }) {
  const champion = new Map((model.champion?.gates ?? []).map((gate) => [gate.name, gate]))
  const columns: TableColumn<Gate>[] = [
    { name: 'Gate', show: (gate) => <b>{visible(words(gate.name))}</b> },
    { name: 'Outcome', show: (gate) => <OutcomeMark outcome={gate.outcome} /> },
    { name: 'Value', numeric: true, show: (gate) => number(gate.value) },
    { name: 'Limit', numeric: true, show: (gate) => number(gate.limit) },
    ...(champion.size > 0
      ? [{ name: 'Champion', numeric: true, show: (gate: Gate) => number(champion.get(gate.name)?.value) }]
      : []),
    { name: 'What was found', show: (gate) => <LongText value={gate.message} /> },
  ]
  if (model.gates.length === 0)
    return <p className="muted">No gate has answered: the model was not judged yet.</p>
  return <DataTable label="Gates" columns={columns} items={model.gates} id={(gate) => gate.name} />
}

function Slices({ model }: { model: Model }) {
  if (model.slices.length === 0) {
    return <p className="muted">No slice was measured: the contract's gates name none.</p>
  }
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
    <section className="bars-box" aria-label="Slices" tabIndex={0}>
      <table className="bars">
        <thead>
          <tr>
            <th scope="col">column</th>
            <th scope="col">value</th>
            <th scope="col" className="numeric">
              rows
            </th>
            <th scope="col">accuracy</th>
          </tr>
        </thead>
        <tbody>
          {model.slices.map((slice) => (
            <tr key={`${slice.column}\n${slice.value}`}>
              <th scope="row">
                <Text value={slice.column} limit={40} />
              </th>
              <td>
                <Text value={String(slice.value)} limit={60} />
              </td>
              <td className="numeric">{count(slice.rows)}</td>
              <td>
                {slice.accuracy === null ? (
                  <OutcomeMark outcome="not_checked" />
                ) : (
                  <span className="bar-cell">
                    <span className="bar tone-batch" style={{ width: `${slice.accuracy * 100}%` }} />
                    <span className="bar-text">{percent(slice.accuracy)}</span>
                  </span>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

function History({ model }: { model: Model }) {
  if (model.history.length === 0) return <p className="muted">It was neither promoted nor refused.</p>
  return (
    <ul className="decisions">
      {model.history.map((each) => (
        <li key={`${each.at} ${each.action} ${each.model_id}`}>
          <b>{visible(words(each.action))}</b>
          <span>
            by <Text value={each.by} limit={60} />{' '}
            <span className="muted">
              <When at={each.at} />
            </span>
            {each.previous_id && (
              <>
                {' '}
                · before it{' '}
                <ThingLink kind="model" id={each.previous_id}>
                  {visible(short(each.previous_id, 6))}
                </ThingLink>
              </>
            )}
            <br />
            <LongText value={each.reason} limit={300} />
          </span>
        </li>
      ))}
    </ul>
  )
}
