// Answers of the fixture server: the API's reading half, and decisions that last until it stops.
import * as story from './fixtures.mjs'
import * as plots from './plots.mjs'

const { CASES, CASE, CHAMPION, DELIVERIES, HOSTILE_CASE, LIVE, MODEL, RUN, SCENE } = story
const { SNAPSHOT, hex, statement, finding, person } = SCENE

function paged(items, query) {
  const limit = Number(query.get('limit') ?? 50)
  const start = Number(query.get('cursor') ?? 0)
  return {
    items: items.slice(start, start + limit),
    next: start + limit < items.length ? String(start + limit) : null,
    total: items.length,
  }
}

const fits = (item, query, names) =>
  names.every((name) => !query.get(name) || String(item[name]) === query.get(name))

function rowsOf(id) {
  return id === HOSTILE_CASE ? story.HOSTILE_ROWS : story.ROWS
}

function caseRows(id, query) {
  let rows = rowsOf(id)
  const [group, reason, q, sort] = ['group', 'reason', 'q', 'sort'].map((name) => query.get(name))
  if (group) rows = rows.filter((row) => row.group_ids.includes(group))
  if (reason) rows = rows.filter((row) => row.reasons.some((each) => each.signal === reason))
  if (q) rows = rows.filter((row) => JSON.stringify(row.values).includes(q))
  if (sort === 'row') rows = [...rows].sort((a, b) => a.row - b.row)
  if (query.get('order') === 'asc') rows = [...rows].reverse()
  return paged(rows, query)
}

function rowDetail(id, number) {
  const row = rowsOf(id).find((each) => each.row === number)
  if (!row) return null
  const next = story.random(number + 1)
  const hostile = id === HOSTILE_CASE
  const nearest = [0.11, 0.14, 0.2].map((distance) => {
    const values = hostile
      ? { ...row.values, text: 'plain words' }
      : { ...row.values, ...person(next, false), age: row.values.age }
    return {
      values,
      distance,
      differs: Object.keys(values).filter((name) => values[name] !== row.values[name]),
    }
  })
  return {
    ...row,
    nearest,
    origin: { file: 'adult-0.parquet', sha256: hex(22), record: number, source: 'west', publisher: 'census' },
    losses: hostile ? null : { [RUN]: plots.losses(RUN).members[0].losses },
  }
}

const RUNS = [
  {
    id: LIVE,
    backend: 'reference',
    device: 'cpu',
    status: 'running',
    curve_outcome: null,
    final_validation_loss: null,
    finished_at: null,
    live: true,
  },
  {
    id: RUN,
    backend: 'flux',
    device: 'gpu 0: NVIDIA H100',
    status: 'finished',
    curve_outcome: 'failed',
    final_validation_loss: 0.3412,
    finished_at: story.at(58),
    live: false,
  },
  {
    id: `run-${hex(77, 32)}`,
    backend: 'reference',
    device: 'cpu',
    status: 'finished',
    curve_outcome: 'passed',
    final_validation_loss: 0.3391,
    finished_at: story.at(20),
    live: false,
  },
].map((run) => ({ ...run, dataset: 'adult', snapshot_id: SNAPSHOT }))

function run(id) {
  const line = RUNS.find((each) => each.id === id)
  if (!line) return null
  return {
    ...line,
    epochs: 30,
    seconds: 412.7,
    detail: line.live ? null : 'Early stopping did not set in.',
    findings: [
      finding(50, 'curve.jump', 'failed', 'The validation loss rose by 40 % at epoch 12.', {
        severity: 'high',
        scope: 'run',
      }),
      finding(51, 'curve.band', 'passed', 'The curve ends within the band of 6 accepted runs.', {
        scope: 'run',
      }),
      finding(52, 'curve.sources', 'not_checked', 'The table names no source for its rows.', {
        scope: 'run',
      }),
    ],
    privacy: line.live
      ? null
      : { epsilon: 3.21, delta: 1e-5, noise_multiplier: 1.1, max_grad_norm: 1, budget: 8 },
    model_id: line.live ? null : MODEL,
    champion_run: RUNS[2].id,
    statements: [statement(40, 'trained')],
    reproduce: [
      { title: 'Train again', command: `assay train ${SNAPSHOT} --contract include/contracts/adult.yaml` },
    ],
  }
}

const GATES = [
  {
    name: 'min_accuracy',
    outcome: 'passed',
    value: 0.8512,
    limit: 0.8,
    message: '0.8512 on 500 trusted rows, at least 0.8 is needed.',
  },
  {
    name: 'max_drop_vs_champion',
    outcome: 'passed',
    value: -0.0081,
    limit: 0.01,
    message: 'Better than the champion by 0.0081.',
  },
  {
    name: 'max_slice_gap',
    outcome: 'failed',
    value: 0.19,
    limit: 0.15,
    message: 'sex: Female 0.93, Male 0.74.',
  },
  {
    name: 'backdoor_scan',
    outcome: 'not_checked',
    value: null,
    limit: null,
    message: 'Too few trusted rows of class >50K: 12, at least 30 are needed.',
  },
]

const CARD = `# Model for adult

Trained on **snapshot 3** with 24,800 rows. See [the paper](https://example.org/paper) and [this](javascript:document.title='owned').

<script>document.title='owned'</script>

| slice | accuracy |
|---|---|
| Female | 0.93 |
| Male | 0.74 |

- Not to be used for credit decisions.
- ![a picture](http://127.0.0.1/x.png)
`

const MODELS = [
  {
    id: MODEL,
    state: 'challenger',
    made_at: story.at(60),
    run_id: RUN,
    metrics: { accuracy: 0.8512, loss: 0.3412 },
  },
  {
    id: CHAMPION,
    state: 'champion',
    made_at: story.at(20),
    run_id: RUNS[2].id,
    metrics: { accuracy: 0.8431, loss: 0.3391 },
  },
].map((model) => ({ ...model, dataset: 'adult', snapshot_id: SNAPSHOT }))

function model(id) {
  const line = MODELS.find((each) => each.id === id)
  if (!line) return null
  const champion = line.state === 'champion'
  return {
    ...line,
    gates: GATES,
    slices: [
      { column: 'sex', value: 'Female', rows: 161, accuracy: 0.93 },
      { column: 'sex', value: 'Male', rows: 339, accuracy: 0.74 },
      { column: 'race', value: story.HOSTILE[0], rows: 4, accuracy: null },
    ],
    checks: [
      { name: 'signature', outcome: 'passed', message: 'Signed by this installation.' },
      { name: 'structure', outcome: 'passed', message: '3 layers, 14,210 weights, all finite.' },
      { name: 'bundle', outcome: 'not_checked', message: 'The store was not reachable.' },
    ],
    bundle: {
      uri: `file:///var/assay/models/${id}`,
      files: [
        { path: 'model.jls', sha256: hex(61), size: 88_112 },
        { path: 'weights.safetensors', sha256: hex(62), size: 57_000 },
      ],
    },
    card: CARD,
    history: champion
      ? [
          {
            action: 'promote',
            by: 'ada',
            reason: 'Better on all slices.',
            at: story.at(25),
            model_id: id,
            previous_id: `model-${hex(99, 32)}`,
          },
        ]
      : [],
    champion_id: CHAMPION,
    champion: {
      metrics: MODELS[1].metrics,
      gates: GATES.map((gate) => ({ ...gate, value: gate.value === null ? null : gate.value - 0.008 })),
    },
    waiting: champion
      ? null
      : { dag_id: 'adult__training', run_id: 'asset__1', task_id: 'approve', map_index: null, url: null },
    may_promote: champion
      ? { allowed: false, why_not: 'It is the champion.' }
      : { allowed: true, why_not: null },
    may_rollback: champion
      ? { allowed: true, why_not: null }
      : { allowed: false, why_not: 'It was never promoted.' },
    statements: [statement(41, 'judged')],
    reproduce: [{ title: 'Verify the bundle', command: `assay model verify ${id}` }],
  }
}

function node(kind, id) {
  const edge = (k, i, title, relation) => ({ kind: k, id: i, title, relation })
  return {
    node: {
      kind,
      id,
      title: id.length > 30 ? `${id.slice(0, 22)}…` : id,
      facts: [
        { name: 'rows', value: 12_400 },
        { name: 'signed_at', value: story.at(1) },
        { name: 'note', value: story.HOSTILE[0] },
      ],
    },
    in: [
      edge('publisher', 'census', 'census', 'signed_by'),
      edge('key', 'RWQf6LR', 'RWQf6LRCGA9i', 'verified_with'),
      edge('statement', '31', 'delivery-verified #31', 'told_by'),
    ],
    out: [
      edge('file', hex(22), 'adult-0.parquet', 'holds'),
      edge('file', hex(23), 'adult-1.parquet', 'holds'),
      edge('case', CASE, 'screening case, 47 rows', 'put_aside'),
      edge('snapshot', SNAPSHOT, 'snapshot 3', 'admitted_into'),
      ...Array.from({ length: 12 }, (_, i) => edge('row', `row-${i}`, `person_id=${100_000 + i}`, 'holds')),
    ],
    more_in: 0,
    more_out: 12_388,
    problems: kind === 'row' ? ['The row is in snapshot 3, but its delivery was never verified.'] : [],
  }
}

const ok = (body) => ({ status: 200, body })
const missing = (what) => ({
  status: 404,
  body: {
    error: {
      kind: 'not_found',
      message: `There is no ${what}.`,
      expected: 'an id of this store',
      found: what,
      next_step: 'The lists show what there is.',
    },
  },
})
const told = (body, what) => (body ? ok(body) : missing(what))

/** The answer to one call of the API. */
export function answer(method, path, query, body) {
  const parts = path.split('/').map(decodeURIComponent)
  const [what, id, part, kind] = parts
  if (method === 'POST') return change(parts, body)
  if (what === 'me')
    return ok({
      name: 'olga',
      id: 'olga',
      can: { read: true, decide: { adult: true, hostile: true }, promote: true },
      airflow_version: '3.3.0',
      assay_version: '1.0.0',
    })
  if (what === 'overview')
    return ok(
      query.get('empty')
        ? { datasets: [], needs_me: [], ledger: { entries: 0, last_checkpoint_at: null, witnesses: 0 } }
        : story.OVERVIEW,
    )
  if (what === 'open') return ok({ to: `delivery/${story.DELIVERY}`, why: 'This run took in one delivery.' })
  if (what === 'deliveries')
    return id
      ? told(id === story.DELIVERY && story.DELIVERY_FILE, id)
      : ok(
          paged(
            DELIVERIES.filter((each) => fits(each, query, ['dataset', 'source', 'state', 'verdict'])),
            query,
          ),
        )
  if (what === 'runs' && part === 'curve') return ok(plots.curve(id === LIVE, query.get('compare')))
  if (what === 'runs')
    return id
      ? told(run(id), id)
      : ok(
          paged(
            RUNS.filter((each) => fits(each, query, ['dataset'])),
            query,
          ),
        )
  if (what === 'models')
    return id
      ? told(model(id), id)
      : ok(
          paged(
            MODELS.filter((each) => fits(each, query, ['dataset'])),
            query,
          ),
        )
  if (what === 'provenance' && id === 'search')
    return ok({
      results:
        query.get('q') === 'nothing'
          ? []
          : [
              { kind: 'row', id: 'row-1', title: `person_id=${query.get('q')}`, dataset: 'adult' },
              { kind: 'delivery', id: story.DELIVERY, title: 'delivery of west', dataset: 'adult' },
            ],
    })
  if (what === 'provenance' && id === 'node') return ok(node(query.get('kind'), query.get('id')))
  if (what !== 'cases') return missing(path)
  if (!id)
    return ok(
      paged(
        CASES.filter((each) => fits(each, query, ['dataset', 'status', 'kind', 'source'])),
        query,
      ),
    )
  if (part === 'rows' && kind) return told(rowDetail(id, Number(kind)), `row ${kind}`)
  if (part === 'rows') return ok(caseRows(id, query))
  if (part === 'plots' && kind === 'column') return ok(plots.column(parts.slice(4).join('/')))
  if (part === 'plots' && kind === 'group') return ok(plots.group(parts.slice(4).join('/')))
  if (part === 'plots' && kind === 'losses') return ok(plots.losses(query.get('run')))
  if (part === 'plots') return ok(plots[kind]())
  return told(story.caseFile(id), id)
}

function change([what, id, part], body) {
  if (what === 'provenance') return ok({ outcome: 'passed', entries: 1842, problems: [], seconds: 1.42 })
  if (what === 'models' || what === 'datasets')
    return ok({ model: null, message: part === 'promote' ? 'Promoted.' : 'Rolled back.' })
  if (what !== 'cases' || part !== 'decision') return missing(what)
  const one = CASES.find((each) => each.id === id)
  if (!one) return missing(id)
  if (one.status !== 'open' || body.reason === 'late') {
    return {
      status: 409,
      body: {
        error: {
          kind: 'already_decided',
          message: 'This case was already decided by olga.',
          by: 'olga',
          action: 'reject',
          at: story.at(50),
        },
      },
    }
  }
  const some = body.rows || body.group
  if (some) {
    const chosen = new Set(
      body.rows ?? story.ROWS.filter((row) => row.group_ids.includes(body.group)).map((row) => row.row),
    )
    for (const row of rowsOf(id)) if (chosen.has(row.row)) row.decided = body.action
  } else one.status = body.action === 'release' ? 'released' : 'rejected'
  return ok({
    case: one,
    decision: {
      id: 'decision-x',
      action: body.action,
      reviewer: 'olga',
      reason: body.reason,
      decided_at: new Date().toISOString(),
    },
    resumed: null,
    message: `${body.action === 'release' ? 'Released' : 'Rejected'} ${some ? 'the chosen rows' : 'the case'}.`,
  })
}
