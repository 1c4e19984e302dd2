import { useId, useState } from 'react'
import { useGet } from '../../api/hooks'
import type { Case, CaseRow, Cell, ColumnPlot, LossesPlot, RowDetail } from '../../api/types'
import { count, number, plural, probability } from '../../lib/format'
import { segment } from '../../lib/place'
import { clip, visible, words } from '../../lib/text'
import { ColumnView } from '../../plots/column'
import { LossesView } from '../../plots/views'
import { Digest } from '../../ui/copy'
import { Answered, Empty } from '../../ui/feedback'
import { Tag } from '../../ui/marks'
import { Facts, Panel } from '../../ui/panel'
import { CellView, LongText, Text } from '../../ui/text'

/** One row: why it is suspicious, beside the trusted rows most like it, and where its values lie. */
export function RowView({ file, row }: { file: Case; row: CaseRow | null }) {
  const held = useGet<RowDetail>(
    `cases/${segment(file.id)}/rows/${row?.row ?? 0}`,
    {},
    { enabled: row !== null, keep: true },
  )
  if (!row) return <Empty title="No row is listed" />
  return (
    <Answered held={held} lines={10}>
      {(detail) => (
        <div
          className={detail.row === row.row ? 'detail' : 'detail stale'}
          aria-busy={detail.row !== row.row}
        >
          <Why detail={detail} />
          <Values file={file} detail={detail} />
          <Where file={file} detail={detail} />
          <Origin detail={detail} />
        </div>
      )}
    </Answered>
  )
}

function Why({ detail }: { detail: RowDetail }) {
  return (
    <Panel
      title={`Why row ${detail.row}`}
      extra={
        detail.score !== null || detail.p_value !== null ? (
          <span className="muted num">
            score {number(detail.score, 4)} · p {probability(detail.p_value)}
          </span>
        ) : null
      }
    >
      {detail.reasons.length === 0 ? (
        <p className="muted">No signal names a reason for this row.</p>
      ) : (
        <ul className="reasons">
          {detail.reasons.map((reason, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: reasons of a row may repeat
            <li key={index}>
              <Tag tone="bad">{visible(words(reason.signal)).slice(0, 60)}</Tag>
              <LongText value={reason.text} limit={400} />
            </li>
          ))}
        </ul>
      )}
    </Panel>
  )
}

type Shown = 'told' | 'differ' | 'all'
const FEW = 40

function Values({ file, detail }: { file: Case; detail: RowDetail }) {
  const names = ordered(file, detail)
  const told = new Set(toldBy(detail))
  const differs = new Set(detail.nearest.flatMap((each) => each.differs))
  const [wanted, setWanted] = useState<Shown | null>(null)
  const [text, setText] = useState('')
  const [limit, setLimit] = useState(FEW)
  const id = useId()
  const usual: Shown = told.size > 0 ? 'told' : differs.size > 0 ? 'differ' : 'all'
  const shown: Shown = wanted ?? (names.length <= FEW ? 'all' : usual)
  const roles = new Map(file.columns.map((column) => [column.name, column.role]))
  const basic = (name: string) => roles.get(name) === 'key' || roles.get(name) === 'label'
  const fit = names.filter(
    (name) =>
      name.toLowerCase().includes(text.toLowerCase()) &&
      (shown === 'all' || basic(name) || told.has(name) || (shown === 'differ' && differs.has(name))),
  )
  const options: [Shown, string][] = [
    ['told', `named in reasons (${count(told.size)})`],
    ['differ', `differing (${count(differs.size)})`],
    ['all', `all (${count(names.length)})`],
  ]
  return (
    <Panel
      title={detail.nearest.length > 0 ? 'Beside the nearest trusted rows' : 'Values'}
      extra={
        <span className="row">
          <label htmlFor={id} className="offscreen">
            Columns shown
          </label>
          <select id={id} value={shown} onChange={(event) => setWanted(event.target.value as Shown)}>
            {options.map(([value, label]) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </select>
          {names.length > FEW && (
            <input
              type="search"
              aria-label="Find a column"
              placeholder="find a column"
              value={text}
              onChange={(event) => setText(event.target.value)}
            />
          )}
        </span>
      }
    >
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard */}
      <section className="table-box values-box" aria-label="Values, table" tabIndex={0}>
        <table className="values">
          <thead>
            <tr>
              <th scope="col">Column</th>
              <th scope="col">Row {detail.row}</th>
              {detail.nearest.map((each, index) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: neighbours have no other name
                <th scope="col" key={index}>
                  Trusted {each.trusted_row ?? index + 1}
                  <span className="muted"> distance {number(each.distance, 3)}</span>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {fit.slice(0, limit).map((name) => (
              <tr key={name} className={told.has(name) ? 'told' : ''}>
                <th scope="row">
                  <Text value={name} limit={60} />
                  {basic(name) && <span className="muted"> {roles.get(name)}</span>}
                  {told.has(name) && <span className="offscreen"> named in a reason</span>}
                </th>
                <td className="mine">
                  <CellView cell={detail.values[name]} limit={120} />
                </td>
                {detail.nearest.map((each, index) => (
                  // biome-ignore lint/suspicious/noArrayIndexKey: neighbours have no other name
                  <Neighbour key={index} cell={each.values[name]} differs={each.differs.includes(name)} />
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {fit.length > limit && (
        <button type="button" className="more" onClick={() => setLimit(limit + 100)}>
          show {count(Math.min(100, fit.length - limit))} more of {plural(fit.length, 'column')}
        </button>
      )}
      {detail.nearest.length === 0 && (
        <p className="muted">
          {file.kind === 'validation'
            ? 'Such rows are compared with the contract, not with trusted rows.'
            : 'There are no trusted rows to compare with: the contract names none, or none were usable.'}
        </p>
      )}
    </Panel>
  )
}

function Neighbour({ cell, differs }: { cell: Cell | undefined; differs: boolean }) {
  return (
    <td className={differs ? 'differs' : 'same'}>
      {differs && (
        <span className="ne" title="differs">
          ≠<span className="offscreen"> differs: </span>
        </span>
      )}
      <CellView cell={cell} limit={120} />
    </td>
  )
}

/** Columns that the reasons name; of a broken expectation the reason itself is called by its column. */
function toldBy(detail: RowDetail): string[] {
  return detail.reasons.flatMap((reason) =>
    reason.signal in detail.values ? [reason.signal, ...reason.columns] : reason.columns,
  )
}

/** Column names: keys and the label first, then what the reasons name, then the others as the contract has them. */
function ordered(file: Case, detail: RowDetail): string[] {
  const told = toldBy(detail)
  const known = file.columns.map((column) => column.name)
  const first = file.columns
    .filter((each) => each.role === 'key' || each.role === 'label')
    .map((each) => each.name)
  const all = [...first, ...told, ...known, ...Object.keys(detail.values)]
  return [...new Set(all)].filter((name) => name in detail.values)
}

const PLOTTED = 4

/** The columns that the reasons name, with this row's value marked, and its loss where a run has told it. */
function Where({ file, detail }: { file: Case; detail: RowDetail }) {
  const told = [...new Set(toldBy(detail))]
  const names = told.filter((name) => file.plots.columns.includes(name)).slice(0, PLOTTED)
  const run = file.plots.losses.available ? file.plots.losses.runs[0] : undefined
  if (names.length === 0 && !run) return null
  return (
    <Panel title="Where its values lie">
      <div className="figures">
        {names.map((name) => (
          <ColumnPart key={name} file={file} name={name} value={detail.values[name]} />
        ))}
        {run && <LossPart file={file} run={run} detail={detail} />}
      </div>
    </Panel>
  )
}

export function ColumnPart({
  file,
  name,
  value,
  group,
}: {
  file: Case
  name: string
  value?: Cell
  group?: string
}) {
  const held = useGet<ColumnPlot>(`cases/${segment(file.id)}/plots/column/${segment(name)}`, { group })
  return (
    <Answered held={held} lines={4}>
      {(plot) => (
        <div>
          <ColumnView name={name} plot={plot} value={value} />
        </div>
      )}
    </Answered>
  )
}

function LossPart({ file, run, detail }: { file: Case; run: string; detail: RowDetail }) {
  const held = useGet<LossesPlot>(`cases/${segment(file.id)}/plots/losses`, { run })
  return (
    <Answered held={held} lines={4}>
      {(plot) => {
        const mine = detail.losses?.[run]
        const listed = plot.members.some((each) => each.row === detail.row)
        const members = mine && !listed ? [...plot.members, { row: detail.row, losses: mine }] : plot.members
        return <LossesView plot={{ ...plot, members }} row={detail.row} />
      }}
    </Answered>
  )
}

function Origin({ detail }: { detail: RowDetail }) {
  const origin = detail.origin
  if (!origin) return null
  return (
    <Panel title="Where it came from">
      <Facts
        facts={[
          ['File', origin.file ? <Text key="file" value={origin.file} limit={120} /> : 'not known'],
          ['Record', origin.record === null ? 'not known' : visible(clip(String(origin.record), 60))],
          ['SHA-256', <Digest key="sha" value={origin.sha256} what="the file's SHA-256" />],
          ['Source', origin.source ? <Text key="source" value={origin.source} limit={60} /> : 'not known'],
          [
            'Publisher',
            origin.publisher ? <Text key="publisher" value={origin.publisher} limit={60} /> : 'not known',
          ],
        ]}
      />
    </Panel>
  )
}
