// Plots of the fixture server.
import { COLUMNS, GROUPS, HOSTILE, ROWS, random } from './fixtures.mjs'

const bell = (n, centre, spread, total) => {
  const raw = Array.from({ length: n }, (_, i) => Math.exp(-((i - centre) ** 2) / (2 * spread ** 2)))
  const sum = raw.reduce((a, b) => a + b, 0)
  return raw.map((value) => Math.round((value / sum) * total))
}

export function column(name) {
  const known = COLUMNS.find((each) => each.name === name)
  if (name === 'text') {
    return {
      kind: 'bars',
      categories: HOSTILE,
      batch: HOSTILE.map((_, i) => 40 - i),
      trusted: null,
      suspicious: HOSTILE.map((_, i) => i),
      other: { batch: 12, trusted: null, suspicious: 0 },
    }
  }
  if (known?.type === 'string') {
    const categories =
      name === 'income'
        ? ['<=50K', '>50K']
        : name === 'education'
          ? ['Bachelors', 'HS-grad', 'Masters', 'Some-college']
          : ['Private', 'State-gov', 'Self-emp-inc', 'Local-gov']
    return {
      kind: 'bars',
      categories,
      batch: categories.map((_, i) => Math.round(9300 / (i + 1))),
      trusted: categories.map((_, i) => Math.round(378 / (i + 1))),
      suspicious: categories.map((_, i) => (i === 0 ? 44 : 1)),
      other: null,
    }
  }
  const bins = 24
  const spike = name === 'capital_gain' ? 17 : 15
  const suspicious = Array.from({ length: bins }, (_, i) => (i === spike ? 31 : i % 6 === 0 ? 2 : 0))
  return {
    kind: 'histogram',
    edges: Array.from({ length: bins + 1 }, (_, i) => (name === 'capital_gain' ? i * 420 : i * 4)),
    batch: name === 'capital_gain' ? bell(bins, 0, 1.2, 12_400) : bell(bins, 10, 3, 12_400),
    trusted: name === 'capital_gain' ? bell(bins, 0, 1.1, 500) : bell(bins, 10, 3.1, 500),
    suspicious,
    label: name,
    nulls: { batch: 3, trusted: 0, suspicious: 1 },
  }
}

export const score = () => {
  const bins = 30
  return {
    edges: Array.from({ length: bins + 1 }, (_, i) => Number((i * 0.33).toFixed(2))),
    all: Array.from({ length: bins }, (_, i) => Math.round(5200 * Math.exp(-i / 2.2)) + (i > 14 ? 3 : 0)),
    suspicious: Array.from({ length: bins }, (_, i) => (i > 14 ? 3 : 0)),
    threshold: 4.95,
    log: true,
  }
}

export const sources = () => ({
  sources: [
    { source: 'west', rows: 12_400, quarantined: 47, expected: 6.2, p_value: 3.1e-11 },
    { source: 'east', rows: 12_100, quarantined: 4, expected: 6.05, p_value: 0.44 },
    { source: HOSTILE[0], rows: 80, quarantined: 0, expected: 0.04, p_value: null },
  ],
})

export function group(id) {
  const next = random(7)
  const known = GROUPS.find((each) => each.id === id)
  return {
    rows: known.rows,
    outside_rows: 12_369,
    share_by_label: [
      { label: '<=50K', inside: 0.968, outside: 0.751 },
      { label: '>50K', inside: 0.032, outside: 0.249 },
    ],
    columns: [
      {
        name: 'capital_gain',
        values: [
          { value: 7298, inside: 31, outside: 12 },
          { value: 0, inside: 0, outside: 11_100 },
          { value: null, inside: 0, outside: 3 },
        ],
      },
      {
        name: 'hours_per_week',
        values: [
          { value: 61, inside: 31, outside: 5 },
          { value: 40, inside: 0, outside: 5800 },
        ],
      },
    ],
    points: {
      x: 'capital_gain',
      y: 'hours_per_week',
      inside: Array.from({ length: known.rows }, () => [7298 + next() * 120 - 60, 61 + next() * 2 - 1]),
      outside: Array.from({ length: 900 }, () => [
        next() < 0.85 ? next() * 300 : next() * 9500,
        40 + (next() + next() + next() - 1.5) * 24,
      ]),
    },
  }
}

const EPOCHS = Array.from({ length: 30 }, (_, i) => i + 1)
const falling = (low, speed, noise, seed) => {
  const next = random(seed)
  return EPOCHS.map((epoch) =>
    Number((low + 0.6 * Math.exp(-epoch / speed) + (next() - 0.5) * noise).toFixed(4)),
  )
}

export const losses = (run) => ({
  run,
  epochs: EPOCHS,
  members: ROWS.slice(0, 20).map((row, i) => ({
    row: row.row,
    losses: falling(0.9 + i * 0.05, 12, 0.2, i + 1),
  })),
  band: { low: falling(0.05, 5, 0, 1), median: falling(0.22, 6, 0.01, 2), high: falling(0.6, 8, 0.02, 3) },
})

export function curve(live, compare) {
  const validation = falling(0.34, 5, 0.01, 11)
  if (!live) for (let i = 11; i < 16; i += 1) validation[i] += 0.14 - (i - 11) * 0.02
  const length = live ? Math.min(30, 3 + (Math.floor(Date.now() / 2000) % 28)) : 30
  const cut = (values) => values.slice(0, length)
  return {
    epoch: cut(EPOCHS),
    train_loss: cut(falling(0.29, 5, 0.006, 12)),
    validation_loss: cut(validation),
    metrics: { accuracy: cut(falling(0, 5, 0, 1).map((v) => 0.85 - v / 3)) },
    per_class: { '<=50K': cut(falling(0.2, 5, 0.01, 13)), '>50K': cut(falling(0.6, 7, 0.03, 14)) },
    per_source: { west: cut(falling(0.4, 5, 0.02, 15)), east: cut(falling(0.33, 5, 0.01, 16)) },
    band: live
      ? null
      : {
          low: falling(0.3, 5, 0, 1),
          median: falling(0.345, 5, 0, 1),
          high: falling(0.4, 5.5, 0, 1),
          runs: 6,
        },
    why_no_band: live ? 'There are 2 accepted runs, and a band needs 3.' : null,
    anomalies: live
      ? []
      : [
          {
            epoch: 12,
            check: 'curve.jump',
            message:
              'The validation loss rose by 40 % in one epoch; accepted runs never rose by more than 3 %.',
          },
        ],
    compare: compare
      ? { run: compare, train_loss: falling(0.3, 5, 0.005, 21), validation_loss: falling(0.35, 5, 0.008, 22) }
      : null,
    live,
    rev: length,
  }
}
