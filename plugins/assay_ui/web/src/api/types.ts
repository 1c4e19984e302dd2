/** Shapes of the API's answers. Everything that came from data is text or a cell; nothing of it is markup. */

export type Outcome = 'passed' | 'failed' | 'not_checked'
export type Action = 'release' | 'reject'
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json }

/** A value of a table: a JSON scalar, the beginning of a long text, or bytes. */
export type Cell =
  | null
  | boolean
  | number
  | string
  | { text: string; length: number; truncated: boolean }
  | { hex: string; length?: number }
  | { list: Json[]; length: number }

export interface Page<T> {
  items: T[]
  next: string | null
  total: number
}

export interface Permission {
  allowed: boolean
  why_not: string | null
}

export interface Me {
  name: string
  id: string
  can: { read: boolean; decide: Record<string, boolean>; promote: boolean }
  login_url?: string
  airflow_version: string
  assay_version: string
}

export interface ModelRef {
  id: string
  made_at: string
  promoted_at?: string | null
  metrics?: Record<string, Json>
}

export interface DatasetLine {
  dataset: string
  description: string | null
  owner: string | null
  last_delivery: {
    id: string
    source: string
    verdict: string | null
    state: string
    first_seen: string
  } | null
  fresh: { outcome: Outcome; message: string; newest_signed_at: string | null } | null
  open_cases: number
  blocking_cases: number
  held_deliveries: number
  snapshot: { id: string; version: number; rows: number; admitted_at: string } | null
  champion: ModelRef | null
  challenger: ModelRef | null
  contract_error: string | null
}

export interface NeedsMe {
  what: string
  id: string
  dataset: string
  title: string
  since: string
  due: string | null
}

export interface Overview {
  datasets: DatasetLine[]
  needs_me: NeedsMe[]
  ledger: { entries: number; last_checkpoint_at: string | null; witnesses: number }
}

export interface DeliveryLine {
  id: string
  dataset: string
  source: string
  publisher: string
  state: string
  verdict: string | null
  rows: number | null
  first_seen: string
  signed_at: string | null
  open_cases: number
}

export interface Finding {
  id: string
  check: string
  outcome: Outcome
  severity: string
  scope: string
  subject: string
  message: string
  technique: string | null
  evidence: { [name: string]: Json }
}

export interface Command {
  title: string
  command: string
}

export interface StatementRef {
  position: number
  id?: string
  type: string
  at: string | null
}

export interface FileRef {
  path: string
  sha256: string
  size: number
}

export interface Delivery extends DeliveryLine {
  uri: string
  key_id: string | null
  sequence: number | string | null
  contract_sha256: string | null
  manifest_sha256: string | null
  steps: { name: string; outcome: Outcome; at: string | null; summary: string }[]
  files: FileRef[]
  more_files?: number
  findings: Finding[]
  cases: CaseLine[]
  why_held: string[]
  snapshots: { id: string; version: number }[]
  reproduce: Command[]
  statements: StatementRef[]
}

export interface CaseLine {
  id: string
  dataset: string
  delivery_id: string
  source: string
  kind: string
  status: string
  blocking: boolean
  rows: number
  summary: string
  opened_at: string
  expires_at: string | null
  approvals: number
  approved_by: string[]
  on_timeout: string
}

export interface Decision {
  id: string
  action: Action
  reviewer: string
  reason: string
  decided_at: string
}

export interface Group {
  id: string
  kind: string
  title: string
  message: string
  rows: number
  columns: string[]
  technique: string | null
  finding_id: string | null
}

export interface Column {
  name: string
  type: string
  role: string
}

export interface Waiting {
  dag_id: string
  run_id: string
  task_id: string
  map_index: number | null
  url: string | null
}

export interface Case extends CaseLine {
  evidence: { [name: string]: Json }
  decisions: Decision[]
  digest: string
  waiting: Waiting | null
  may_decide: Permission
  columns: Column[]
  findings: Finding[]
  groups: Group[]
  plots: {
    columns: string[]
    score: boolean
    sources: boolean
    losses: { available: boolean; why_not: string | null; runs: string[] }
    why_not?: string | null
  }
  reproduce: Command[]
  statements: StatementRef[]
  parent?: string | null
  children?: (string | CaseLine)[]
}

export interface Reason {
  signal: string
  text: string
  columns: string[]
}

export interface CaseRow {
  row: number
  score: number | null
  p_value: number | null
  reasons: Reason[]
  group_ids: string[]
  values: Record<string, Cell>
  decided: Action | null
}

export interface Nearest {
  values: Record<string, Cell>
  distance: number | null
  trusted_row?: number
  differs: string[]
}

export interface RowDetail {
  row: number
  score: number | null
  p_value: number | null
  reasons: Reason[]
  values: Record<string, Cell>
  nearest: Nearest[]
  origin: {
    delivery_id?: string
    file: string | null
    sha256: string | null
    record: number | string | null
    source: string | null
    publisher: string | null
  } | null
  losses: Record<string, (number | null)[]> | null
}

export interface HistogramPlot {
  kind: 'histogram'
  /** Numbers, or ISO text for dates. The first and the last bin may be wider than the others. */
  edges: (number | string)[]
  batch: number[]
  trusted: number[] | null
  suspicious: number[]
  label: string
  /** What is counted: the values themselves, or of texts and vectors their size. */
  of?: string
  nulls?: { batch: number; trusted: number | null; suspicious: number }
}

export interface BarsPlot {
  kind: 'bars'
  categories: string[]
  batch: number[]
  trusted: number[] | null
  suspicious: number[]
  other: { batch?: number; trusted?: number | null; suspicious?: number; categories?: number } | null
  label?: string
}

export type ColumnPlot = HistogramPlot | BarsPlot

export interface ScorePlot {
  edges: number[]
  all: number[]
  suspicious: number[]
  threshold: number | null
  log: boolean
}

export interface SourcesPlot {
  sources: {
    source: string
    rows: number
    quarantined: number
    expected: number | null
    p_value: number | null
  }[]
}

export interface GroupPlot {
  rows: number
  outside_rows?: number
  /** Shares, each side's sum is 1. */
  share_by_label: { label: Cell; inside: number; outside: number }[]
  columns: { name: string; values: { value: Cell; inside: number; outside: number }[] }[]
  points: { x: string; y: string; inside: [number, number][]; outside: [number, number][] } | null
}

export interface LossesPlot {
  run: string
  epochs: number[]
  members: { row: number; losses: (number | null)[] }[]
  band: { low: (number | null)[]; median: (number | null)[]; high: (number | null)[] } | null
}

export interface Decided {
  case: CaseLine
  decision: Decision | null
  resumed: { dag_id: string; run_id: string; when?: string } | null
  split?: { parent: string; chosen: string; rest: string | null } | null
  message: string
}

export interface RunLine {
  id: string
  dataset: string
  snapshot_id: string | null
  backend: string
  device: string | null
  status: string
  curve_outcome: Outcome | null
  final_validation_loss: number | null
  finished_at: string | null
  live: boolean
}

export interface Run extends RunLine {
  epochs: number | null
  epochs_asked_for?: number | null
  seconds: number | null
  detail: Json
  findings: Finding[]
  privacy: {
    epsilon: number | null
    delta: number | null
    noise_multiplier: number | null
    max_grad_norm: number | null
    budget: number | null
  } | null
  model_id: string | null
  champion_run: string | null
  statements: StatementRef[]
  reproduce: Command[]
}

export type Series = (number | null)[]

export interface Curve {
  epoch: number[]
  train_loss: Series
  validation_loss: Series
  metrics: Record<string, Series>
  per_class: Record<string, Series>
  per_source: Record<string, Series>
  band: { low: Series; median: Series; high: Series; runs: number } | null
  why_no_band: string | null
  why_no_curve?: string | null
  anomalies: { epoch: number; check: string; message: string }[]
  compare: { run: string; train_loss: Series; validation_loss: Series; epoch?: number[] } | null
  live: boolean
  rev: number
}

export interface ModelLine {
  id: string
  dataset: string
  state: string
  made_at: string
  run_id: string | null
  snapshot_id: string | null
  metrics: Record<string, Json>
}

export interface Gate {
  name: string
  outcome: Outcome
  value: number | null
  limit: number | null
  message: string
}

export interface Model extends ModelLine {
  gates: Gate[]
  slices: { column: string; value: string; rows: number; accuracy: number | null }[]
  checks: { name: string; outcome: Outcome; message: string }[]
  bundle: { uri: string; files: FileRef[] } | null
  card: string
  history: {
    action: string
    by: string
    reason: string
    at: string
    model_id: string
    previous_id: string | null
  }[]
  champion_id: string | null
  champion: { metrics: Record<string, Json>; gates: Gate[] } | null
  waiting: Waiting | null
  may_promote: Permission
  may_rollback: Permission
  may_refuse?: Permission
  statements: StatementRef[]
  reproduce: Command[]
}

export interface NodeRef {
  kind: string
  id: string
  title: string
  dataset?: string | null
}

export interface Edge extends NodeRef {
  relation: string
}

export interface ProvenanceNode {
  node: NodeRef & { facts: { name: string; value: Json }[] }
  in: Edge[]
  out: Edge[]
  more_in?: number
  more_out?: number
  problems: string[]
}

export interface Verified {
  outcome: Outcome
  entries: number
  problems: string[]
  seconds: number
  how?: string
}
