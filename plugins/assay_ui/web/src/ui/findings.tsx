import { ChevronRight } from 'lucide-react'
import { Fragment, useId, useState } from 'react'
import type { Finding, Outcome, StatementRef } from '../api/types'
import { count } from '../lib/format'
import { visible, words } from '../lib/text'
import { ThingLink } from './link'
import { OutcomeMark, SeverityTag, Tag, When } from './marks'
import { JsonView, LongText, Text } from './text'

const ORDER: Outcome[] = ['failed', 'not_checked', 'passed']

/** Every check's answer; failed ones first, what was not checked never hidden. */
export function Findings({ findings, all = true }: { findings: Finding[]; all?: boolean }) {
  const counts = new Map(ORDER.map((each) => [each, findings.filter((one) => one.outcome === each).length]))
  const [hidden, setHidden] = useState<ReadonlySet<Outcome>>(
    () => new Set(all || !counts.get('failed') ? [] : (['passed'] as Outcome[])),
  )
  const toggle = (outcome: Outcome) => {
    const next = new Set(hidden)
    if (!next.delete(outcome)) next.add(outcome)
    setHidden(next)
  }
  if (findings.length === 0) return <p className="muted">No check has answered here.</p>
  const shown = findings.filter((each) => !hidden.has(each.outcome))
  shown.sort((a, b) => ORDER.indexOf(a.outcome) - ORDER.indexOf(b.outcome))
  return (
    <>
      <fieldset className="chips">
        <legend className="offscreen">Show checks that are</legend>
        {ORDER.map((outcome) => (
          <button
            key={outcome}
            type="button"
            className="chip"
            aria-pressed={!hidden.has(outcome)}
            disabled={!counts.get(outcome)}
            onClick={() => toggle(outcome)}
          >
            <OutcomeMark outcome={outcome} /> {count(counts.get(outcome))}
          </button>
        ))}
      </fieldset>
      <ul className="findings">
        {shown.map((finding) => (
          <FindingLine key={finding.id} finding={finding} />
        ))}
      </ul>
    </>
  )
}

/** What is about the page's own thing does not name it again. */
const WHOLE = new Set(['delivery', 'run', 'model', 'snapshot'])

function FindingLine({ finding }: { finding: Finding }) {
  const [open, setOpen] = useState(false)
  const id = useId()
  return (
    <li className="finding">
      <div className="finding-head">
        <OutcomeMark outcome={finding.outcome} />
        <span className="finding-check">
          <code>
            <Breakable name={finding.check} />
          </code>
          {finding.subject && !WHOLE.has(finding.scope) && (
            <span className="muted">
              {' '}
              {words(finding.scope)} <Text value={finding.subject} limit={60} />
            </span>
          )}
        </span>
        <span className="finding-message">
          <LongText value={finding.message || 'No message.'} />
        </span>
        <span className="finding-tags">
          {finding.outcome === 'failed' && <SeverityTag severity={finding.severity} />}
          {finding.technique && <Tag tone="brand">{visible(finding.technique)}</Tag>}
          {Object.keys(finding.evidence).length > 0 && (
            <button
              type="button"
              className="evidence"
              aria-expanded={open}
              aria-controls={id}
              onClick={() => setOpen(!open)}
            >
              <ChevronRight aria-hidden="true" />
              evidence<span className="offscreen"> of {visible(finding.check)}</span>
            </button>
          )}
        </span>
      </div>
      {open && (
        <div id={id} className="finding-evidence">
          <JsonView value={finding.evidence} />
        </div>
      )}
    </li>
  )
}

/** A dotted name that may break after its dots and underscores. */
function Breakable({ name }: { name: string }) {
  return visible(name)
    .split(/(?<=[._])/)
    .map((part, index) => (
      // biome-ignore lint/suspicious/noArrayIndexKey: parts of one name
      <Fragment key={index}>
        {part}
        <wbr />
      </Fragment>
    ))
}

/** What stands in the ledger about this. */
export function Statements({ statements }: { statements: StatementRef[] }) {
  if (statements.length === 0) return <p className="muted">The ledger says nothing about this yet.</p>
  return (
    <ul className="lines">
      {statements.map((each) => (
        <li key={each.position}>
          <ThingLink kind="statement" id={each.id ?? String(each.position)}>
            {visible(shortType(each.type))} <span className="muted">#{each.position}</span>
          </ThingLink>
          {each.at && <When at={each.at} />}
        </li>
      ))}
    </ul>
  )
}

/** The last part of a predicate's address. */
export function shortType(type: string): string {
  const parts = type.split('/').filter(Boolean)
  const last = parts.at(-1) ?? type
  return /^v\d/.test(last) ? (parts.at(-2) ?? last) : last
}
