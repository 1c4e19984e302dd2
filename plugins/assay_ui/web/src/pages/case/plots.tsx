import { useState } from 'react'
import { useGet } from '../../api/hooks'
import type { Case, CaseRow, Group, GroupPlot, LossesPlot, ScorePlot, SourcesPlot } from '../../api/types'
import { count, plural } from '../../lib/format'
import { segment } from '../../lib/place'
import { visible, words } from '../../lib/text'
import { GroupView, LossesView, ScoreView, SourcesView } from '../../plots/views'
import { Answered } from '../../ui/feedback'
import { Tag } from '../../ui/marks'
import { Panel } from '../../ui/panel'
import { LongText, Text } from '../../ui/text'
import { ColumnPart } from './detail'

/** The plots that decide about a case as a whole. */
export function CasePlots({ file, row, group }: { file: Case; row: CaseRow | null; group: string }) {
  const { plots, groups } = file
  const nothing = !plots.score && !plots.sources && plots.columns.length === 0 && groups.length === 0
  return (
    <div className="detail">
      {nothing && (
        <Panel title="Plots">
          <p className="muted">
            <LongText value={plots.why_not ?? 'Nothing was measured for this case that could be drawn.'} />
          </p>
        </Panel>
      )}
      {groups.length > 0 && (
        <Groups file={file} initial={group || row?.group_ids[0] || groups[0]?.id || ''} />
      )}
      {plots.columns.length > 0 && <Columns file={file} row={row} group={group} />}
      {(plots.score || plots.sources) && (
        <Panel title="Scores and sources">
          <div className="figures">
            {plots.score && <Score file={file} />}
            {plots.sources && <Sources file={file} />}
          </div>
        </Panel>
      )}
      {file.rows > 0 && <Losses file={file} row={row} />}
    </div>
  )
}

function Groups({ file, initial }: { file: Case; initial: string }) {
  const [chosen, setChosen] = useState<string | null>(null)
  const group = file.groups.find((each) => each.id === (chosen ?? initial)) ?? file.groups[0]
  if (!group) return null
  return (
    <Panel
      title={`Groups (${count(file.groups.length)})`}
      extra={
        file.groups.length > 1 && (
          <select aria-label="Group" value={group.id} onChange={(event) => setChosen(event.target.value)}>
            {file.groups.map((each) => (
              <option key={each.id} value={each.id}>
                {visible(each.title).slice(0, 80)}
              </option>
            ))}
          </select>
        )
      }
    >
      <p className="row">
        <Tag tone="bad">{words(group.kind)}</Tag>
        {group.technique && <Tag tone="brand">{visible(group.technique)}</Tag>}
        <b>
          <Text value={group.title} limit={160} />
        </b>
        <span className="muted">{plural(group.rows, 'row')}</span>
      </p>
      <p>
        <LongText value={group.message} limit={500} />
      </p>
      <GroupPart key={group.id} file={file} group={group} />
    </Panel>
  )
}

function GroupPart({ file, group }: { file: Case; group: Group }) {
  const held = useGet<GroupPlot>(`cases/${segment(file.id)}/plots/group/${segment(group.id)}`)
  return (
    <Answered held={held} lines={6}>
      {(plot) => <GroupView plot={plot} title={group.title} />}
    </Answered>
  )
}

const AT_ONCE = 4

function Columns({ file, row, group }: { file: Case; row: CaseRow | null; group: string }) {
  const [shown, setShown] = useState(AT_ONCE)
  const told = row?.reasons.flatMap((reason) => reason.columns) ?? []
  const names = [
    ...new Set([...told.filter((name) => file.plots.columns.includes(name)), ...file.plots.columns]),
  ]
  return (
    <Panel title={`Columns (${count(names.length)})`}>
      <div className="figures">
        {names.slice(0, shown).map((name) => (
          <ColumnPart
            key={name}
            file={file}
            name={name}
            value={row?.values[name]}
            group={group || undefined}
          />
        ))}
      </div>
      {names.length > shown && (
        <button type="button" className="more" onClick={() => setShown(shown + 6)}>
          show {count(Math.min(6, names.length - shown))} more
        </button>
      )}
    </Panel>
  )
}

function Score({ file }: { file: Case }) {
  const held = useGet<ScorePlot>(`cases/${segment(file.id)}/plots/score`)
  return (
    <Answered held={held} lines={4}>
      {(plot) => <ScoreView plot={plot} />}
    </Answered>
  )
}

function Sources({ file }: { file: Case }) {
  const held = useGet<SourcesPlot>(`cases/${segment(file.id)}/plots/sources`)
  return (
    <Answered held={held} lines={4}>
      {(plot) => <SourcesView plot={plot} source={file.source} />}
    </Answered>
  )
}

function Losses({ file, row }: { file: Case; row: CaseRow | null }) {
  const { available, why_not, runs } = file.plots.losses
  const [chosen, setChosen] = useState<string | null>(null)
  const run = chosen ?? runs[0]
  const held = useGet<LossesPlot>(`cases/${segment(file.id)}/plots/losses`, { run }, { enabled: available })
  return (
    <Panel
      title="How the rows were learned"
      extra={
        runs.length > 1 && (
          <select aria-label="Run" value={run} onChange={(event) => setChosen(event.target.value)}>
            {runs.map((each) => (
              <option key={each} value={each}>
                {visible(each)}
              </option>
            ))}
          </select>
        )
      }
    >
      {available ? (
        <Answered held={held} lines={4}>
          {(plot) => <LossesView plot={plot} row={row?.row} />}
        </Answered>
      ) : (
        <p className="muted">
          <LongText value={why_not ?? 'No run has recorded the losses of these rows.'} />
        </p>
      )}
    </Panel>
  )
}
