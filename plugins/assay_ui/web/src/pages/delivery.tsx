import { Link, useParams } from 'react-router'
import { useGet } from '../api/hooks'
import type { CaseLine, Delivery, FileRef } from '../api/types'
import { useTitle } from '../layout'
import { bytes, count, plural, short } from '../lib/format'
import { segment } from '../lib/place'
import { visible, words } from '../lib/text'
import { Commands, Digest } from '../ui/copy'
import { Answered } from '../ui/feedback'
import { Findings, Statements } from '../ui/findings'
import { ThingLink, walkTo } from '../ui/link'
import { OutcomeMark, StateMark, Tag, When } from '../ui/marks'
import { Facts, PageHead, Panel } from '../ui/panel'
import { DataTable, type TableColumn } from '../ui/table'
import { LongText, Text } from '../ui/text'

export default function DeliveryPage() {
  const { id = '' } = useParams()
  useTitle(`Delivery ${short(id)}`)
  const held = useGet<Delivery>(`deliveries/${segment(id)}`)
  return (
    <Answered page held={held} lines={10}>
      {(delivery) => <Shown delivery={delivery} />}
    </Answered>
  )
}

function Shown({ delivery }: { delivery: Delivery }) {
  return (
    <>
      <PageHead
        crumbs={
          <>
            <Link to="/deliveries">Deliveries</Link>
            <Link to={`/deliveries?${new URLSearchParams({ dataset: delivery.dataset })}`}>
              <Text value={delivery.dataset} limit={40} />
            </Link>
          </>
        }
        title={
          <>
            Delivery from <Text value={delivery.source} limit={60} />
          </>
        }
        marks={
          <>
            <StateMark state={delivery.verdict} />
            {delivery.state !== delivery.verdict && <Tag>{words(delivery.state)}</Tag>}
          </>
        }
        actions={<Link to={walkTo('delivery', delivery.id)}>Provenance</Link>}
      />
      <Steps steps={delivery.steps} />
      {delivery.why_held.length > 0 && (
        <Panel title="Why it is held" className="panel-warn">
          <ul className="reasons">
            {delivery.why_held.map((why) => (
              <li key={why}>
                <LongText value={why} />
              </li>
            ))}
          </ul>
        </Panel>
      )}
      {delivery.cases.length > 0 && (
        <Panel title={`Cases (${count(delivery.cases.length)})`}>
          <DataTable
            label="Cases of this delivery"
            columns={CASES}
            items={delivery.cases}
            id={(each) => each.id}
          />
        </Panel>
      )}
      <div className="columns">
        <Panel title={`Checks (${count(delivery.findings.length)})`} className="wide">
          <Findings findings={delivery.findings} />
        </Panel>
        <div className="side">
          <Panel title="Delivery">
            <Facts facts={facts(delivery)} />
          </Panel>
          <Panel title="Reproduce on the command line">
            <Commands commands={delivery.reproduce} />
          </Panel>
          <Panel title={`Files (${count(delivery.files.length)})`}>
            <Files files={delivery.files} more={delivery.more_files} />
          </Panel>
          <Panel title="In the ledger">
            <Statements statements={delivery.statements} />
          </Panel>
        </div>
      </div>
    </>
  )
}

function Steps({ steps }: { steps: Delivery['steps'] }) {
  return (
    <ol className="steps" aria-label="The way of this delivery">
      {steps.map((step) => (
        <li key={step.name} className={`step step-${step.at ? step.outcome : 'ahead'}`}>
          <span className="step-name">{words(step.name)}</span>
          <OutcomeMark outcome={step.outcome} />
          <span className="step-summary">
            <LongText value={step.summary} limit={120} />
          </span>
          {step.at && (
            <span className="muted">
              <When at={step.at} />
            </span>
          )}
        </li>
      ))}
    </ol>
  )
}

const CASES: TableColumn<CaseLine>[] = [
  {
    name: 'Case',
    main: true,
    show: (each) => (
      <ThingLink kind="case" id={each.id}>
        {words(each.kind)} {visible(short(each.id, 8))}
      </ThingLink>
    ),
  },
  { name: 'Status', show: (each) => <StateMark state={each.status} /> },
  { name: 'Rows', numeric: true, show: (each) => count(each.rows) },
  { name: 'What', show: (each) => <LongText value={each.summary} limit={140} /> },
  {
    name: 'Approvals',
    show: (each) => `${each.approved_by.length} of ${each.approvals}`,
  },
  { name: 'Due', show: (each) => <When at={each.expires_at} relative /> },
]

function facts(delivery: Delivery): [string, React.ReactNode][] {
  return [
    ['Id', <Digest key="id" value={delivery.id} what="the delivery's id" />],
    [
      'Publisher',
      <ThingLink key="publisher" kind="publisher" id={delivery.publisher}>
        {visible(delivery.publisher)}
      </ThingLink>,
    ],
    ['Key', delivery.key_id ? <Digest key="key" value={delivery.key_id} what="the key's id" /> : 'none'],
    ['From', <LongText key="uri" value={delivery.uri} limit={80} />],
    [
      'Sequence',
      delivery.sequence === null ? (
        'none'
      ) : (
        <Text key="sequence" value={String(delivery.sequence)} limit={60} />
      ),
    ],
    ['Signed', <When key="signed" at={delivery.signed_at} />],
    ['First seen', <When key="seen" at={delivery.first_seen} />],
    ['Rows', count(delivery.rows)],
    ['Manifest', <Digest key="manifest" value={delivery.manifest_sha256} what="the manifest's SHA-256" />],
    ['Contract', <Digest key="contract" value={delivery.contract_sha256} what="the contract's SHA-256" />],
    [
      'Snapshots',
      delivery.snapshots.length === 0
        ? 'in none'
        : delivery.snapshots.map((each) => (
            <ThingLink key={each.id} kind="snapshot" id={each.id}>
              version {each.version}
            </ThingLink>
          )),
    ],
  ]
}

export function Files({ files, more = 0 }: { files: FileRef[]; more?: number }) {
  const total = files.reduce((sum, each) => sum + each.size, 0)
  if (files.length === 0) return <p className="muted">No file was taken in.</p>
  return (
    <>
      <ul className="lines">
        {files.slice(0, 100).map((file) => (
          <li key={`${file.path} ${file.sha256}`}>
            <Text value={file.path} limit={80} />
            <span className="muted">{bytes(file.size)}</span>
            <Digest value={file.sha256} what="the file's SHA-256" keep={8} />
          </li>
        ))}
      </ul>
      <p className="muted">
        {plural(files.length, 'file')}, {bytes(total)}
        {files.length > 100 && ', the first 100 shown'}
        {more > 0 && `; ${count(more)} more`}
      </p>
    </>
  )
}
