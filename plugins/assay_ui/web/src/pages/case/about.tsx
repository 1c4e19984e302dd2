import type { Case, Waiting } from '../../api/types'
import { count } from '../../lib/format'
import { visible, words } from '../../lib/text'
import { Commands, Digest } from '../../ui/copy'
import { Findings, Statements } from '../../ui/findings'
import { AirflowLink } from '../../ui/link'
import { StateMark, When } from '../../ui/marks'
import { Facts, Panel } from '../../ui/panel'
import { JsonView, LongText, Text } from '../../ui/text'

/** What is known of a case beside its rows. */
export function About({ file }: { file: Case }) {
  const decisions = (
    <Panel title="Decisions">
      {file.decisions.length === 0 ? (
        <p className="muted">Nobody has decided yet.</p>
      ) : (
        <ul className="decisions">
          {file.decisions.map((each) => (
            <li key={each.id}>
              <StateMark state={each.action} />
              <span>
                <b>
                  <Text value={each.reviewer} limit={80} />
                </b>{' '}
                <span className="muted">
                  <When at={each.decided_at} />
                </span>
                <br />
                <LongText value={each.reason} limit={400} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  )
  return (
    <div className="detail">
      {file.decisions.length > 0 && decisions}
      <Panel title={`Checks that name it (${count(file.findings.length)})`}>
        <Findings findings={file.findings} />
      </Panel>
      <Panel title="Evidence">
        <JsonView value={file.evidence} />
      </Panel>
      {file.decisions.length === 0 && decisions}
      <Panel title="Reproduce on the command line">
        <Commands commands={file.reproduce} />
      </Panel>
      <Panel title="Case">
        <Facts
          facts={[
            ['Id', <Digest key="id" value={file.id} what="the case's id" />],
            ['Digest', <Digest key="digest" value={file.digest} />],
            ['Kind', words(file.kind)],
            ['Opened', <When key="opened" at={file.opened_at} />],
            ['Due', file.expires_at ? <When key="due" at={file.expires_at} /> : 'never'],
            ['When time runs out', file.on_timeout === 'reject' ? 'rejected' : 'held on; never released'],
            [
              'In Airflow',
              file.waiting ? (
                <AirflowLink key="waiting" path={requiredAction(file.waiting)}>
                  Required action {visible(file.waiting.task_id)}
                </AirflowLink>
              ) : (
                'no run waits for it'
              ),
            ],
          ]}
        />
      </Panel>
      <Panel title="In the ledger">
        <Statements statements={file.statements} />
      </Panel>
    </div>
  )
}

/** Where Airflow shows the question that waits for the same decision. */
export function requiredAction(waiting: Waiting): string {
  if (waiting.url) return waiting.url
  const { dag_id, run_id, task_id } = waiting
  const parts = [dag_id, run_id, task_id].map(encodeURIComponent)
  return `dags/${parts[0]}/runs/${parts[1]}/tasks/${parts[2]}/required_actions`
}
