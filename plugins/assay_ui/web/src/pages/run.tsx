import { Link, useParams } from 'react-router'
import { useGet } from '../api/hooks'
import type { Curve, Run, Series } from '../api/types'
import { useTitle } from '../layout'
import { count, duration, number, plural, probability, short } from '../lib/format'
import { segment } from '../lib/place'
import { visible, words } from '../lib/text'
import { extent } from '../plots/axes'
import { type Line, Lines } from '../plots/lines'
import { Commands, Digest } from '../ui/copy'
import { FactView } from '../ui/fact'
import { Answered } from '../ui/feedback'
import { SelectFilter, useParam } from '../ui/filters'
import { Findings, Statements } from '../ui/findings'
import { ThingLink, walkTo } from '../ui/link'
import { OutcomeMark, StateMark, Tag, When } from '../ui/marks'
import { Facts, PageHead, Panel } from '../ui/panel'
import { JsonView, LongText, Text } from '../ui/text'

const LIVE_MS = 2000

export default function RunPage() {
  const { id = '' } = useParams()
  useTitle(`Run ${short(id)}`)
  const held = useGet<Run>(`runs/${segment(id)}`, {}, { every: (run) => (run?.live ? LIVE_MS : false) })
  return (
    <Answered page held={held} lines={10}>
      {(run) => <Shown run={run} />}
    </Answered>
  )
}

function Shown({ run }: { run: Run }) {
  return (
    <>
      <PageHead
        crumbs={
          <>
            <Link to="/runs">Runs</Link>
            <Link to={`/runs?${new URLSearchParams({ dataset: run.dataset })}`}>
              <Text value={run.dataset} limit={40} />
            </Link>
          </>
        }
        title={<>Training run {visible(short(run.id, 8))}</>}
        marks={
          <>
            <StateMark state={run.live ? 'live' : run.status} />
            {!run.live && <OutcomeMark outcome={run.curve_outcome} />}
          </>
        }
        actions={
          <>
            {run.model_id && (
              <ThingLink kind="model" id={run.model_id}>
                Its model
              </ThingLink>
            )}
            <Link to={walkTo('run', run.id)}>Provenance</Link>
          </>
        }
      />
      <Curves run={run} />
      <div className="columns">
        <Panel title={`Curve checks (${count(run.findings.length)})`} className="wide">
          <Findings findings={run.findings} />
        </Panel>
        <div className="side">
          <Panel title="Run">
            <Facts facts={facts(run)} />
          </Panel>
          <Privacy run={run} />
          <Details detail={run.detail} />
          <Panel title="Reproduce on the command line">
            <Commands commands={run.reproduce} />
          </Panel>
          <Panel title="In the ledger">
            <Statements statements={run.statements} />
          </Panel>
        </div>
      </div>
    </>
  )
}

function facts(run: Run): [string, React.ReactNode][] {
  return [
    ['Id', <Digest key="id" value={run.id} what="the run's id" />],
    [
      'Snapshot',
      run.snapshot_id ? (
        <ThingLink key="snapshot" kind="snapshot" id={run.snapshot_id}>
          {visible(short(run.snapshot_id))}
        </ThingLink>
      ) : (
        'not known'
      ),
    ],
    ['Backend', visible(run.backend)],
    ['Device', run.device ? <Text key="device" value={run.device} limit={60} /> : 'not known'],
    [
      'Epochs',
      run.epochs_asked_for ? `${count(run.epochs)} of ${count(run.epochs_asked_for)}` : count(run.epochs),
    ],
    ['Took', duration(run.seconds)],
    ['Finished', <When key="finished" at={run.finished_at} />],
    ['Validation loss', number(run.final_validation_loss)],
  ]
}

/** What else the run told of itself: seed, versions, why it stopped. */
function Details({ detail }: { detail: Run['detail'] }) {
  if (detail === null || detail === '') return null
  const told = typeof detail === 'object' && !Array.isArray(detail) ? Object.entries(detail) : null
  return (
    <Panel title="Details">
      {told ? (
        <Facts
          facts={told
            .filter(([name, value]) => value !== null && value !== '' && !SHOWN_ABOVE.has(name))
            .map(([name, value]) => [visible(words(name)), <FactView key={name} value={value} />])}
        />
      ) : (
        <JsonView value={detail} />
      )}
    </Panel>
  )
}

const SHOWN_ABOVE = new Set([
  'run',
  'snapshot',
  'status',
  'backend',
  'device',
  'epochs',
  'curve_outcome',
  'privacy',
])

function Privacy({ run }: { run: Run }) {
  const { privacy } = run
  const budget = privacy?.budget ?? null
  const spent = budget && privacy?.epsilon ? Math.min(1, privacy.epsilon / budget) : null
  return (
    <Panel title="Privacy budget">
      {privacy ? (
        <>
          {spent !== null && (
            <div
              className="meter"
              role="img"
              aria-label={`${number(privacy.epsilon, 3)} of ${number(budget, 3)} spent`}
            >
              <span
                className={spent > 0.9 ? 'bar tone-suspicious' : 'bar tone-batch'}
                style={{ width: `${spent * 100}%` }}
              />
            </div>
          )}
          <Facts
            facts={[
              [
                'ε spent',
                `${number(privacy.epsilon, 3)}${budget === null ? '' : ` of ${number(budget, 3)}`}`,
              ],
              ['δ', probability(privacy.delta)],
              ['Noise', number(privacy.noise_multiplier)],
              ['Largest gradient norm', number(privacy.max_grad_norm)],
            ]}
          />
        </>
      ) : (
        <p className="muted">This run was not trained with differential privacy.</p>
      )}
    </Panel>
  )
}

function Curves({ run }: { run: Run }) {
  const [chosen] = useParam('compare')
  const compare = chosen === 'none' ? null : chosen || (run.champion_run === run.id ? null : run.champion_run)
  const held = useGet<Curve>(
    `runs/${segment(run.id)}/curve`,
    { compare },
    { every: (curve) => ((curve?.live ?? run.live) ? LIVE_MS : false), keep: true },
  )
  return (
    <Panel
      title="Loss"
      extra={
        run.champion_run &&
        run.champion_run !== run.id && (
          <SelectFilter name="compare" label="Beside" options={['none']} any="the champion's run" />
        )
      }
    >
      <Answered held={held} lines={8}>
        {(curve) => <CurveView curve={curve} />}
      </Answered>
    </Panel>
  )
}

function CurveView({ curve }: { curve: Curve }) {
  if (curve.epoch.length === 0) {
    const why = curve.live
      ? 'Waiting for the first epoch …'
      : (curve.why_no_curve ?? 'This run wrote no epoch.')
    return (
      <p className="muted">
        <LongText value={why} />
      </p>
    )
  }
  const lines: Line[] = [
    { name: 'training', tone: 'trusted', values: curve.train_loss, dash: true },
    { name: 'validation', tone: 'batch', values: curve.validation_loss },
  ]
  if (curve.compare) {
    const { epoch, validation_loss } = curve.compare
    lines.push({
      name: "champion's validation",
      tone: 'compare',
      values: aligned(curve.epoch, epoch, validation_loss),
    })
  }
  const anomalies = curve.anomalies.map((each) => ({
    at: each.epoch,
    name: visible(`${words(each.check)}: ${each.message}`).slice(0, 300),
  }))
  return (
    <>
      {curve.live && (
        <p className="with-icon">
          <span className="pulse" aria-hidden="true" />
          Training goes on: epoch {curve.epoch.at(-1)}.
        </p>
      )}
      <Lines
        title="Loss over epochs"
        epochs={curve.epoch}
        lines={lines}
        band={
          curve.band && {
            name: `${plural(curve.band.runs, 'accepted run')}: low to high, middle dashed`,
            ...curve.band,
          }
        }
        moments={anomalies}
        height={300}
        point="validation"
        note={curve.band ? undefined : curve.why_no_band && <LongText value={curve.why_no_band} />}
      />
      {curve.anomalies.length > 0 && (
        <ul className="reasons">
          {curve.anomalies.map((each) => (
            <li key={`${each.epoch} ${each.check}`}>
              <Tag tone="bad">epoch {each.epoch}</Tag>
              <code>{visible(each.check)}</code> <LongText value={each.message} />
            </li>
          ))}
        </ul>
      )}
      <div className="multiples-all">
        <Multiples title="Metrics" epochs={curve.epoch} series={curve.metrics} own />
        <Multiples title="By class" epochs={curve.epoch} series={curve.per_class} />
        <Multiples title="By source" epochs={curve.epoch} series={curve.per_source} />
      </div>
    </>
  )
}

/** Another run's values at this run's epochs. */
export function aligned(epochs: number[], others: number[] | undefined, values: Series): Series {
  if (!others) return values.slice(0, epochs.length)
  const by = new Map(others.map((epoch, index) => [epoch, values[index] ?? null]))
  return epochs.map((epoch) => by.get(epoch) ?? null)
}

const FEW = 12

/** One small plot for each class or source, on one scale so that they can be compared. */
function Multiples({
  title,
  epochs,
  series,
  own = false,
}: {
  title: string
  epochs: number[]
  series: Record<string, Series>
  /** Each plot has a scale of its own. */
  own?: boolean
}) {
  const entries = Object.entries(series)
  if (entries.length === 0) return null
  const domain = own ? undefined : extent(entries.flatMap(([, values]) => values))
  return (
    <section className="multiples" aria-label={title}>
      <h3>{title}</h3>
      <div className="multiples-grid">
        {entries.slice(0, FEW).map(([name, values]) => (
          <Lines
            key={name}
            title={<Text value={words(name)} limit={40} />}
            epochs={epochs}
            lines={[{ name: visible(name).slice(0, 40), tone: 'batch', values }]}
            height={130}
            legend={false}
            domain={domain}
          />
        ))}
      </div>
      {entries.length > FEW && (
        <p className="muted">
          The first {FEW} of {count(entries.length)}.
        </p>
      )}
    </section>
  )
}
