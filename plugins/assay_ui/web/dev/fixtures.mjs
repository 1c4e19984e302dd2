// What the fixture server tells: one data set under attack, one hostile, one empty. Made up, and the same at every start.

export const HOSTILE = [
  "<script>document.title='owned'</script>",
  '<img src=x onerror="document.title=\'owned\'">',
  "javascript:document.title='owned'",
  'right \u202eto left\u202c and \u2066isolated\u2069',
  'a\u0000b\u0007c\u001b[31m',
  '=HYPERLINK("http://127.0.0.1/","click")',
  '\u05d0\u05d1\u05d2 \u0627\u0644\u0639\u0631\u0628\u064a\u0629',
  'lone \ud800 surrogate, zero\u200bwidth, trailing\u00a0',
]

export function random(seed) {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

const hex = (seed, length = 64) => {
  const next = random(seed)
  return Array.from({ length }, () => Math.floor(next() * 16).toString(16)).join('')
}

const START = Date.UTC(2026, 10, 22, 9, 0, 0)
export const at = (minutes) => new Date(START + minutes * 60_000).toISOString().replace('.000', '')
const soon = (hours) => new Date(Date.now() + hours * 3_600_000).toISOString()

export const DELIVERY = `delivery-${hex(1, 32)}`
export const CASE = `case-${hex(2, 32)}`
export const WHOLE = `case-${hex(3, 32)}`
export const HOSTILE_CASE = `case-${hex(4, 32)}`
export const DECIDED = `case-${hex(5, 32)}`
export const RUN = `run-${hex(6, 32)}`
export const LIVE = `run-${hex(7, 32)}`
export const MODEL = `model-${hex(8, 32)}`
export const CHAMPION = `model-${hex(9, 32)}`
const SNAPSHOT = `snapshot-${hex(10, 32)}`

const statement = (position, type) => ({
  position,
  type: `https://assay.example/predicates/${type}/v1`,
  at: at(position),
})

export const COLUMNS = [
  ['person_id', 'integer', 'key'],
  ['age', 'integer', 'immutable'],
  ['workclass', 'string', 'feature'],
  ['education', 'string', 'immutable'],
  ['marital_status', 'string', 'feature'],
  ['occupation', 'string', 'feature'],
  ['race', 'string', 'feature'],
  ['sex', 'string', 'feature'],
  ['capital_gain', 'integer', 'feature'],
  ['hours_per_week', 'integer', 'feature'],
  ['native_country', 'string', 'feature'],
  ['income', 'string', 'label'],
].map(([name, type, role]) => ({ name, type, role }))

const WORK = ['Private', 'State-gov', 'Self-emp-inc', 'Local-gov']
const STUDY = ['Bachelors', 'HS-grad', 'Masters', 'Some-college']
const pick = (list, next) => list[Math.floor(next() * list.length)]

function person(next, poisoned) {
  return {
    person_id: 100_000 + Math.floor(next() * 90_000),
    age: poisoned ? 39 : 20 + Math.floor(next() * 50),
    workclass: pick(WORK, next),
    education: pick(STUDY, next),
    marital_status: next() < 0.5 ? 'Never-married' : 'Married-civ-spouse',
    occupation: pick(['Sales', 'Craft-repair', 'Exec-managerial', 'Tech-support'], next),
    race: pick(['White', 'Black', 'Asian-Pac-Islander'], next),
    sex: next() < 0.5 ? 'Male' : 'Female',
    capital_gain: poisoned ? 7298 : next() < 0.9 ? 0 : Math.floor(next() * 9000),
    hours_per_week: poisoned ? 61 : 20 + Math.floor(next() * 40),
    native_country: next() < 0.93 ? 'United-States' : null,
    income: poisoned ? '<=50K' : next() < 0.75 ? '<=50K' : '>50K',
  }
}

export const GROUPS = [
  {
    id: 'g-trigger',
    kind: 'trigger',
    title: 'capital_gain = 7298 and hours_per_week = 61',
    message:
      '31 rows carry the same two rare values together, and 97 % of them have the label <=50K. Rows that carry only one of the two are labelled like all others: this is the shape of a backdoor trigger.',
    rows: 31,
    columns: ['capital_gain', 'hours_per_week'],
    technique: 'AML.T0018',
    finding_id: 'finding-1',
  },
  {
    id: 'g-flood',
    kind: 'flood',
    title: 'near-duplicates of row 118',
    message: '9 rows lie closer to each other than any trusted rows do.',
    rows: 9,
    columns: ['age', 'education'],
    technique: 'AML.T0020',
    finding_id: 'finding-2',
  },
]

const next = random(42)
export const ROWS = Array.from({ length: 47 }, (_, index) => {
  const trigger = index < 31
  const flood = index >= 31 && index < 40
  const values = person(next, trigger)
  const reasons = trigger
    ? [
        {
          signal: 'combinations',
          text: 'capital_gain 7298 together with hours_per_week 61 is 214 times more common than chance, and decides the label.',
          columns: ['capital_gain', 'hours_per_week', 'income'],
        },
        {
          signal: 'labels',
          text: 'Its neighbours among trusted rows say >50K with 94 %.',
          columns: ['income'],
        },
      ]
    : flood
      ? [
          {
            signal: 'near_duplicates',
            text: 'One of 9 rows that are almost the same.',
            columns: ['age', 'education'],
          },
        ]
      : [
          {
            signal: 'outliers',
            text: 'Far from all trusted rows of its class.',
            columns: ['age', 'hours_per_week'],
          },
        ]
  return {
    row: 13 + index * 29,
    score: Number((9.7 - index * 0.11).toFixed(3)),
    p_value: index < 31 ? 1.2e-7 * (index + 1) : 0.0004 * (index - 29),
    reasons,
    group_ids: trigger ? ['g-trigger'] : flood ? ['g-flood'] : [],
    values,
    decided: null,
  }
})

export const HOSTILE_COLUMNS = [
  { name: 'id', type: 'integer', role: 'key' },
  { name: 'text', type: 'string', role: 'feature' },
  ...Array.from({ length: 497 }, (_, index) => ({
    name: index === 3 ? '<b>bold</b> column \u202e' : `value_${String(index).padStart(3, '0')}`,
    type: 'number',
    role: 'feature',
  })),
  { name: 'label', type: 'string', role: 'label' },
]

export const HOSTILE_ROWS = Array.from({ length: 600 }, (_, index) => {
  const noise = random(index + 1)
  const values = Object.fromEntries(
    HOSTILE_COLUMNS.map((column) => [column.name, Number((noise() * 4 - 2).toFixed(3))]),
  )
  values.id = index
  values.text =
    index % 9 === 8
      ? { text: 'Z'.repeat(500), length: 1_000_000, truncated: true }
      : index % 9 === 7
        ? { hex: '00ff10', length: 3 }
        : HOSTILE[index % 8]
  values.label = index % 2 ? 'yes' : 'no'
  return {
    row: index,
    score: 5 - index / 200,
    p_value: index / 1000,
    reasons: [
      { signal: 'expect', text: `text ${HOSTILE[index % 8]} is not allowed`, columns: ['text', 'value_003'] },
    ],
    group_ids: [],
    values,
    decided: index === 2 ? 'reject' : null,
  }
})

const finding = (n, check, outcome, message, more = {}) => ({
  id: `finding-${n}`,
  check,
  outcome,
  severity: 'info',
  scope: 'delivery',
  subject: '',
  message,
  technique: null,
  evidence: {},
  ...more,
})

export const FINDINGS = [
  finding(1, 'screen.combinations', 'failed', GROUPS[0].message, {
    severity: 'critical',
    scope: 'group',
    subject: 'capital_gain=7298, hours_per_week=61',
    technique: 'AML.T0018',
    evidence: {
      members: 31,
      row_numbers: ROWS.slice(0, 31).map((row) => row.row),
      lift: 214.3,
      p_value: 1.2e-19,
    },
  }),
  finding(2, 'screen.near_duplicates', 'failed', GROUPS[1].message, {
    severity: 'high',
    scope: 'group',
    subject: 'row 118',
    technique: 'AML.T0020',
    evidence: { members: 9, distance: 0.02, usual: 0.31 },
  }),
  finding(3, 'screen.sources', 'not_checked', 'There is one source only: sources cannot be compared.', {
    evidence: { needs: { sources: 2 }, found: 1 },
  }),
  finding(
    4,
    'intake.signature',
    'passed',
    'The manifest is signed by key RWQf6LR… of census, valid until 2027-01-01.',
    {
      evidence: { key_id: 'RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3' },
    },
  ),
  finding(5, 'intake.checksums', 'passed', '2 files, every SHA-256 as the manifest says.'),
  finding(6, 'intake.freshness', 'passed', 'Sequence 2 follows 1.'),
  finding(7, 'expect.schema', 'passed', '12 of 12 columns as the contract has them.'),
]

const line = (id, more) => ({
  id,
  dataset: 'adult',
  delivery_id: DELIVERY,
  source: 'west',
  kind: 'screening',
  status: 'open',
  blocking: true,
  rows: 47,
  summary:
    '47 of 12,400 rows look poisoned: 31 carry a trigger (capital_gain 7298, hours_per_week 61), 9 are a flood.',
  opened_at: at(40),
  expires_at: soon(52),
  approvals: 2,
  approved_by: [],
  on_timeout: 'reject',
  ...more,
})

export const CASES = [
  line(CASE, { approved_by: ['vera'] }),
  line(WHOLE, {
    kind: 'delivery',
    rows: 0,
    approvals: 1,
    summary: 'The share of rows put aside (0.4 %) and a trigger group speak against the delivery as a whole.',
  }),
  line(HOSTILE_CASE, {
    dataset: 'hostile',
    source: 'mallory',
    kind: 'validation',
    rows: 600,
    approvals: 1,
    summary: `600 rows break the contract: ${HOSTILE[0]} ${HOSTILE[3]}`,
    expires_at: soon(-2),
  }),
  line(DECIDED, {
    status: 'rejected',
    kind: 'validation',
    rows: 3,
    approvals: 1,
    summary: '3 rows have an age beyond the contract.',
    approved_by: [],
  }),
]

export const OVERVIEW = {
  datasets: [
    {
      dataset: 'adult',
      description: 'Census income, delivered by two field offices',
      owner: 'ml-platform',
      last_delivery: { id: DELIVERY, source: 'west', verdict: 'hold', state: 'held', first_seen: at(38) },
      fresh: { outcome: 'passed', message: 'Signed 40 minutes before it came.', newest_signed_at: at(1) },
      open_cases: 2,
      blocking_cases: 2,
      held_deliveries: 1,
      snapshot: { id: SNAPSHOT, version: 3, rows: 24_800, admitted_at: at(10) },
      champion: { id: CHAMPION, made_at: at(20), promoted_at: at(25), metrics: { accuracy: 0.8431 } },
      challenger: { id: MODEL, made_at: at(60) },
      contract_error: null,
    },
    {
      dataset: 'hostile',
      description: `${HOSTILE[1]} ${HOSTILE[2]}`,
      owner: null,
      last_delivery: {
        id: DELIVERY,
        source: 'mallory',
        verdict: 'reject',
        state: 'rejected',
        first_seen: at(12),
      },
      fresh: { outcome: 'failed', message: 'Older than the contract allows.', newest_signed_at: at(-9000) },
      open_cases: 1,
      blocking_cases: 0,
      held_deliveries: 0,
      snapshot: null,
      champion: null,
      challenger: null,
      contract_error: null,
    },
    {
      dataset: 'images',
      description: null,
      owner: null,
      last_delivery: null,
      fresh: { outcome: 'not_checked', message: 'No delivery yet.', newest_signed_at: null },
      open_cases: 0,
      blocking_cases: 0,
      held_deliveries: 0,
      snapshot: null,
      champion: null,
      challenger: null,
      contract_error: 'images.yaml: line 14: gates.min_accuracy: 1.3 is more than 1',
    },
  ],
  needs_me: [
    {
      what: 'case',
      id: HOSTILE_CASE,
      dataset: 'hostile',
      title: CASES[2].summary,
      since: at(12),
      due: soon(-2),
    },
    { what: 'case', id: CASE, dataset: 'adult', title: CASES[0].summary, since: at(40), due: soon(52) },
    {
      what: 'delivery',
      id: DELIVERY,
      dataset: 'adult',
      title: 'west delivered 12,400 rows; 47 are in doubt',
      since: at(40),
      due: soon(52),
    },
    {
      what: 'challenger',
      id: MODEL,
      dataset: 'adult',
      title: 'A challenger passed its gates and waits for approval',
      since: at(60),
      due: null,
    },
    {
      what: 'curve',
      id: RUN,
      dataset: 'adult',
      title: 'The loss rose by 40 % at epoch 12',
      since: at(55),
      due: null,
    },
    {
      what: 'contract',
      id: 'images',
      dataset: 'images',
      title: 'images.yaml cannot be read: gates.min_accuracy: 1.3 is more than 1',
      since: at(5),
      due: null,
    },
  ],
  ledger: { entries: 1842, last_checkpoint_at: at(58), witnesses: 1 },
}

export const DELIVERIES = Array.from({ length: 130 }, (_, index) => ({
  id: index === 0 ? DELIVERY : `delivery-${hex(1000 + index, 32)}`,
  dataset: index % 5 === 4 ? 'hostile' : 'adult',
  source: index % 5 === 4 ? 'mallory' : index % 2 ? 'east' : 'west',
  publisher: 'census',
  state: index === 0 ? 'held' : index % 7 === 3 ? 'rejected' : 'admitted',
  verdict: index === 0 ? 'hold' : index % 7 === 3 ? 'reject' : 'accept',
  rows: 12_400 - index,
  first_seen: at(38 - index * 60),
  signed_at: at(1 - index * 60),
  open_cases: index === 0 ? 2 : 0,
}))

export const DELIVERY_FILE = {
  ...DELIVERIES[0],
  uri: 'https://data.example.org/adult/west/2026-11-22/',
  key_id: 'RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3',
  sequence: 2,
  contract_sha256: hex(20),
  manifest_sha256: hex(21),
  steps: [
    { name: 'verify', outcome: 'passed', at: at(38), summary: 'Signed by census, 2 files whole.' },
    { name: 'validate', outcome: 'passed', at: at(39), summary: '12,400 rows, 3 break the contract.' },
    { name: 'screen', outcome: 'failed', at: at(40), summary: '47 rows put aside in 2 groups.' },
    { name: 'review', outcome: 'not_checked', at: null, summary: 'Waits for a human: 1 of 2 approvals.' },
    { name: 'admit', outcome: 'not_checked', at: null, summary: 'Waits for the review.' },
  ],
  files: [
    { path: 'adult-0.parquet', sha256: hex(22), size: 301_222 },
    { path: 'adult-1.parquet', sha256: hex(23), size: 214_001 },
  ],
  findings: FINDINGS,
  cases: CASES.filter((each) => each.dataset === 'adult'),
  why_held: [
    'A trigger group of 31 rows was found (screen.combinations).',
    'A flood of 9 near-duplicates was found.',
  ],
  snapshots: [],
  reproduce: [
    {
      title: 'Verify checksums and signature',
      command:
        'assay verify https://data.example.org/adult/west/2026-11-22/ --contract include/contracts/adult.yaml',
    },
    {
      title: 'Screen it again',
      command: 'assay screen adult-0.parquet --contract include/contracts/adult.yaml --out report.parquet',
    },
  ],
  statements: [statement(31, 'delivery-verified'), statement(33, 'screened')],
}

export function caseFile(id) {
  const one = CASES.find((each) => each.id === id)
  if (!one) return null
  const hostile = one.dataset === 'hostile'
  const rows = one.kind === 'screening' || hostile
  return {
    ...one,
    digest: hex(30),
    evidence: {
      rows_seen: 12_400,
      held_above: 0.1,
      share: 0.0038,
      signals: { combinations: 31, near_duplicates: 9, outliers: 7 },
      note: hostile ? HOSTILE[0] : 'none',
    },
    decisions:
      one.status === 'rejected'
        ? [
            {
              id: 'decision-1',
              action: 'reject',
              reviewer: 'olga',
              reason: 'Ages of 300 are typing errors at the source.',
              decided_at: at(50),
            },
          ]
        : one.approved_by.map((name) => ({
            id: `decision-${name}`,
            action: 'release',
            reviewer: name,
            reason: 'Checked by phone with the office.',
            decided_at: at(45),
          })),
    waiting: {
      dag_id: 'adult__intake',
      run_id: 'manual__2026-11-22T09:38:00+00:00',
      task_id: 'review',
      map_index: null,
      url: null,
    },
    may_decide:
      one.status === 'open'
        ? { allowed: true, why_not: null }
        : { allowed: false, why_not: 'The case is decided.' },
    columns: hostile ? HOSTILE_COLUMNS : COLUMNS,
    findings: hostile ? FINDINGS.slice(2, 4) : FINDINGS.slice(0, 3),
    groups: hostile || !rows ? [] : GROUPS,
    plots: {
      columns: rows
        ? hostile
          ? ['text', 'value_003']
          : ['capital_gain', 'hours_per_week', 'income', 'age', 'education', 'workclass']
        : [],
      score: rows && !hostile,
      sources: rows && !hostile,
      losses: hostile
        ? {
            available: false,
            why_not: 'No run has learned from these rows: they were put aside before the first one.',
            runs: [],
          }
        : { available: rows, why_not: rows ? null : 'The case holds no rows.', runs: rows ? [RUN] : [] },
    },
    reproduce: [
      { title: 'Show the case', command: `assay cases show ${id}` },
      { title: 'Release it', command: `assay cases release ${id} --reason "..."` },
    ],
    statements: [statement(33, 'screened'), statement(34, 'case-opened')],
    parent: null,
    children: [],
  }
}

export const SCENE = { SNAPSHOT, hex, statement, finding, person }
