import { AlertTriangle, Clock } from 'lucide-react'
import { Link } from 'react-router'
import { useGet } from '../api/hooks'
import type { DatasetLine, ModelRef, NeedsMe, Overview } from '../api/types'
import { useTitle } from '../layout'
import { count, number, plural } from '../lib/format'
import { visible, words } from '../lib/text'
import { Commands } from '../ui/copy'
import { Answered, Empty } from '../ui/feedback'
import { pageOf, ThingLink } from '../ui/link'
import { OutcomeMark, StateMark, Tag, When } from '../ui/marks'
import { PageHead, Panel } from '../ui/panel'
import { DataTable, type TableColumn } from '../ui/table'
import { LongText, Text } from '../ui/text'

const REFRESH_MS = 30_000

export default function OverviewPage() {
  useTitle('Overview')
  const held = useGet<Overview>('overview', {}, { every: () => REFRESH_MS })
  return (
    <>
      <PageHead title="Overview" />
      <Answered held={held}>
        {(overview) => (
          <>
            <NeedsMePanel needs={overview.needs_me} any={overview.datasets.length > 0} />
            <Panel title="Data sets">
              {overview.datasets.length === 0 ? (
                <Empty title="There is no data set yet">
                  <p>Put a contract into the contracts folder; its DAGs appear by themselves.</p>
                  <Commands
                    commands={[
                      {
                        title: 'Check a contract',
                        command: 'assay contract check include/contracts/NAME.yaml',
                      },
                      { title: 'See the whole line work on real data', command: 'assay demo' },
                    ]}
                  />
                </Empty>
              ) : (
                <DataTable
                  label="Data sets"
                  columns={COLUMNS}
                  items={overview.datasets}
                  id={(each) => each.dataset}
                />
              )}
            </Panel>
            <LedgerLine ledger={overview.ledger} />
          </>
        )}
      </Answered>
    </>
  )
}

const WHAT: Record<string, string> = {
  case: 'Case',
  delivery: 'Held delivery',
  challenger: 'Challenger',
  curve: 'Training curve',
  contract: 'Contract',
}

function NeedsMePanel({ needs, any }: { needs: NeedsMe[]; any: boolean }) {
  return (
    <Panel title={needs.length > 0 ? `Needs you (${count(needs.length)})` : 'Needs you'}>
      {needs.length === 0 ? (
        <p className="muted">
          {any ? 'Nothing waits for a decision.' : 'Nothing waits: deliveries come with the first contract.'}
        </p>
      ) : (
        <ul className="needs">
          {needs.map((each) => (
            <li key={`${each.what} ${each.id}`}>
              <Tag tone={each.what === 'contract' || each.what === 'curve' ? 'bad' : 'warn'}>
                {WHAT[each.what] ?? words(each.what)}
              </Tag>
              <span className="needs-title">
                {pageOf(each.what, each.id) ? (
                  <ThingLink kind={each.what} id={each.id}>
                    {visible(each.title).slice(0, 200)}
                  </ThingLink>
                ) : (
                  <LongText value={each.title} limit={200} />
                )}
                <span className="muted">
                  <Text value={each.dataset} limit={40} /> · since <When at={each.since} relative />
                </span>
              </span>
              {each.due && (
                <span className={Date.parse(each.due) < Date.now() ? 'due bad' : 'due'}>
                  <Clock aria-hidden="true" />
                  {Date.parse(each.due) < Date.now() ? 'was due ' : 'due '}
                  <When at={each.due} relative />
                </span>
              )}
            </li>
          ))}
        </ul>
      )}
    </Panel>
  )
}

const COLUMNS: TableColumn<DatasetLine>[] = [
  {
    name: 'Data set',
    main: true,
    show: (each) => (
      <span className="stack">
        <Link to={`/deliveries?${new URLSearchParams({ dataset: each.dataset })}`}>
          <Text value={each.dataset} limit={60} />
        </Link>
        {each.description && (
          <span className="muted clamp">
            <Text value={each.description} limit={120} />
          </span>
        )}
        {each.contract_error && (
          <span className="bad with-icon">
            <AlertTriangle aria-hidden="true" />
            <LongText value={each.contract_error} limit={160} />
          </span>
        )}
      </span>
    ),
  },
  {
    name: 'Last delivery',
    show: (each) =>
      each.last_delivery ? (
        <span className="stack">
          <ThingLink kind="delivery" id={each.last_delivery.id}>
            {visible(each.last_delivery.source)}
          </ThingLink>
          <span className="row">
            <StateMark state={each.last_delivery.verdict ?? each.last_delivery.state} />
            <span className="muted">
              <When at={each.last_delivery.first_seen} relative />
            </span>
          </span>
        </span>
      ) : (
        <span className="missing">none yet</span>
      ),
  },
  {
    name: 'Freshness',
    show: (each) =>
      each.fresh ? (
        <span className="stack" title={visible(each.fresh.message)}>
          <OutcomeMark outcome={each.fresh.outcome} />
          {each.fresh.newest_signed_at && (
            <span className="muted">
              signed <When at={each.fresh.newest_signed_at} relative />
            </span>
          )}
          {each.fresh.outcome !== 'passed' && (
            <span className="muted">
              <LongText value={each.fresh.message} limit={90} />
            </span>
          )}
        </span>
      ) : (
        <OutcomeMark outcome={null} />
      ),
  },
  {
    name: 'Open cases',
    show: (each) => (
      <span className="stack">
        {each.open_cases > 0 ? (
          <Link to={`/cases?${new URLSearchParams({ dataset: each.dataset, status: 'open' })}`}>
            {plural(each.open_cases, 'case')}
          </Link>
        ) : (
          <span className="muted">none</span>
        )}
        {each.blocking_cases > 0 && <span className="muted">{count(each.blocking_cases)} blocking</span>}
        {each.held_deliveries > 0 && (
          <Link to={`/deliveries?${new URLSearchParams({ dataset: each.dataset, state: 'held' })}`}>
            {plural(each.held_deliveries, 'delivery', 'deliveries')} held
          </Link>
        )}
      </span>
    ),
  },
  {
    name: 'Snapshot',
    show: (each) =>
      each.snapshot ? (
        <span className="stack">
          <ThingLink kind="snapshot" id={each.snapshot.id}>
            version {each.snapshot.version}
          </ThingLink>
          <span className="muted">{plural(each.snapshot.rows, 'row')}</span>
        </span>
      ) : (
        <span className="missing">none yet</span>
      ),
  },
  {
    name: 'Champion',
    show: (each) =>
      each.champion ? (
        <span className="stack">
          <ThingLink kind="model" id={each.champion.id}>
            {headline(each.champion.metrics)}
          </ThingLink>
          <span className="muted">
            since <When at={each.champion.promoted_at ?? each.champion.made_at} relative />
          </span>
          {each.challenger && (
            <ThingLink kind="model" id={each.challenger.id}>
              a challenger waits
            </ThingLink>
          )}
        </span>
      ) : each.challenger ? (
        <ThingLink kind="model" id={each.challenger.id}>
          a challenger waits
        </ThingLink>
      ) : (
        <span className="missing">none yet</span>
      ),
  },
]

function headline(metrics: ModelRef['metrics']): string {
  const accuracy = metrics?.accuracy
  return typeof accuracy !== 'number' ? 'champion' : `accuracy ${number(accuracy, 3)}`
}

function LedgerLine({ ledger }: { ledger: Overview['ledger'] }) {
  return (
    <p className="foot muted">
      The ledger holds {plural(ledger.entries, 'signed statement')}
      {ledger.last_checkpoint_at ? (
        <>
          , last checkpoint <When at={ledger.last_checkpoint_at} relative />
        </>
      ) : (
        ', no checkpoint yet'
      )}
      , {plural(ledger.witnesses, 'witness', 'witnesses')}.{' '}
      <Link to="/provenance">Search it or verify it</Link>
    </p>
  )
}
