/** The plots of a case: scores, sources, groups, losses. */

import type { GroupPlot, LossesPlot, ScorePlot, SourcesPlot } from '../api/types'
import { count, number, percent, probability } from '../lib/format'
import { visible } from '../lib/text'
import { CellView, cellText, Text } from '../ui/text'
import { Bars } from './bars'
import { Figure } from './frame'
import { Histogram } from './histogram'
import { Lines } from './lines'
import { Scatter } from './scatter'

export function ScoreView({ plot }: { plot: ScorePlot }) {
  return (
    <Histogram
      title="Scores of all rows of the delivery"
      edges={plot.edges}
      label="score"
      share={!plot.log}
      series={[
        { name: 'all rows', counts: plot.all, tone: 'batch' },
        { name: 'suspicious rows', counts: plot.suspicious, tone: 'suspicious' },
      ]}
      marks={
        plot.threshold === null
          ? []
          : [{ at: plot.threshold, name: `threshold ${number(plot.threshold, 3)}`, tone: 'threshold' }]
      }
    />
  )
}

export function SourcesView({ plot, source }: { plot: SourcesPlot; source: string }) {
  const most = Math.max(0.001, ...plot.sources.map((each) => each.quarantined / Math.max(1, each.rows)))
  return (
    <Figure
      title="Sources: rows put aside, and how many would be usual"
      note="The tick on a bar is what would be usual for a source of this size."
    >
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard */}
      <section className="bars-box" aria-label="Sources" tabIndex={0}>
        <table className="bars">
          <thead>
            <tr>
              <th scope="col">source</th>
              <th scope="col">put aside</th>
              <th scope="col" className="numeric">
                usual
              </th>
              <th scope="col" className="numeric">
                rows
              </th>
              <th scope="col" className="numeric">
                p
              </th>
            </tr>
          </thead>
          <tbody>
            {plot.sources.map((each) => {
              const share = each.quarantined / Math.max(1, each.rows)
              const usual = each.expected === null ? null : each.expected / Math.max(1, each.rows)
              return (
                <tr key={each.source} className={each.source === source ? 'marked' : ''}>
                  <th scope="row">
                    <Text value={each.source} limit={60} />
                  </th>
                  <td>
                    <span className="bar-cell">
                      <span className="bar tone-suspicious" style={{ width: `${(share / most) * 100}%` }} />
                      {usual !== null && (
                        <span
                          className="bar-tick"
                          style={{ left: `${Math.min(100, (usual / most) * 100)}%` }}
                        />
                      )}
                      <span className="bar-text">
                        {percent(share)} <span className="muted">({count(each.quarantined)})</span>
                      </span>
                    </span>
                  </td>
                  <td className="numeric">{number(each.expected, 3)}</td>
                  <td className="numeric">{count(each.rows)}</td>
                  <td className="numeric">{probability(each.p_value)}</td>
                </tr>
              )
            })}
          </tbody>
        </table>
      </section>
    </Figure>
  )
}

export function GroupView({ plot, title }: { plot: GroupPlot; title: string }) {
  const outside = plot.outside_rows ?? null
  const { share_by_label: labels, columns, points } = plot
  return (
    <div className="figures">
      {labels.length > 0 && (
        <Bars
          title="Labels inside and outside the group"
          label="Labels inside and outside the group"
          head="label"
          categories={labels.map((each) => ({
            key: cellText(each.label),
            show: <CellView cell={each.label} limit={60} />,
          }))}
          series={[
            {
              name: 'in the group',
              tone: 'suspicious',
              counts: labels.map((each) => each.inside),
              total: plot.rows,
              shares: true,
            },
            {
              name: 'other rows',
              tone: 'batch',
              counts: labels.map((each) => each.outside),
              total: outside,
              shares: true,
            },
          ]}
        />
      )}
      {columns.map(({ name, values }) => (
        <Bars
          key={name}
          title={`Column ${visible(name).slice(0, 80)}`}
          label={`Column ${visible(name).slice(0, 80)} inside and outside the group`}
          head="value"
          categories={values.map((each) => ({
            key: cellText(each.value),
            show: <CellView cell={each.value} limit={60} />,
          }))}
          series={[
            {
              name: 'in the group',
              tone: 'suspicious',
              counts: values.map((each) => each.inside),
              total: outside === null ? null : plot.rows,
            },
            { name: 'other rows', tone: 'batch', counts: values.map((each) => each.outside), total: outside },
          ]}
        />
      ))}
      {points && points.inside.length > 0 && (
        <Scatter
          title={<Text value={title} limit={120} />}
          x={visible(points.x).slice(0, 60)}
          y={visible(points.y).slice(0, 60)}
          inside={points.inside}
          outside={points.outside}
        />
      )}
    </div>
  )
}

export function LossesView({ plot, row }: { plot: LossesPlot; row?: number | null }) {
  const name = (each: { row: number }) => `row ${each.row}`
  return (
    <Lines
      title="Loss of each row while a model learned"
      epochs={plot.epochs}
      log
      lines={plot.members.map((each) => ({
        name: name(each),
        tone: 'suspicious',
        values: each.losses,
        faint: each.row !== row,
      }))}
      band={plot.band && { name: 'middle 90 % of all rows', ...plot.band }}
      point={row === null || row === undefined ? undefined : `row ${row}`}
      note={`Run ${visible(plot.run)}. Rows whose loss stays above the band fought the model; ${count(plot.members.length)} rows are shown.`}
    />
  )
}
