import {
  AlertTriangle,
  Ban,
  CheckCircle2,
  CircleDashed,
  CircleHelp,
  Clock,
  Crown,
  type LucideIcon,
  PauseCircle,
  Split,
  Swords,
  XCircle,
} from 'lucide-react'
import type { Outcome } from '../api/types'
import { ago, local, NOTHING, utc } from '../lib/format'
import { words } from '../lib/text'

type Tone = 'good' | 'bad' | 'warn' | 'open' | 'quiet' | 'brand'

const OUTCOMES: Record<Outcome, [LucideIcon, Tone, string]> = {
  passed: [CheckCircle2, 'good', 'passed'],
  failed: [XCircle, 'bad', 'failed'],
  not_checked: [CircleHelp, 'warn', 'not checked'],
}

/** One of the three outcomes: always an icon and the word; `not checked` never looks like `passed`. */
export function OutcomeMark({ outcome }: { outcome: Outcome | null }) {
  const [Icon, tone, word] = OUTCOMES[outcome ?? 'not_checked'] ?? OUTCOMES.not_checked
  return (
    <span className={`mark mark-${tone} outcome-${outcome ?? 'not_checked'}`}>
      <Icon aria-hidden="true" />
      {word}
    </span>
  )
}

const STATES: Record<string, [LucideIcon, Tone]> = {
  accept: [CheckCircle2, 'good'],
  accepted: [CheckCircle2, 'good'],
  admitted: [CheckCircle2, 'good'],
  released: [CheckCircle2, 'good'],
  release: [CheckCircle2, 'good'],
  finished: [CheckCircle2, 'good'],
  champion: [Crown, 'good'],
  hold: [PauseCircle, 'warn'],
  held: [PauseCircle, 'warn'],
  open: [Clock, 'warn'],
  challenger: [Swords, 'brand'],
  running: [Clock, 'brand'],
  live: [Clock, 'brand'],
  reject: [Ban, 'bad'],
  rejected: [Ban, 'bad'],
  refused: [Ban, 'bad'],
  failed: [XCircle, 'bad'],
  stopped: [AlertTriangle, 'bad'],
  not_checked: [CircleHelp, 'warn'],
  split: [Split, 'quiet'],
}

/** A state, status or verdict in our own vocabulary. */
export function StateMark({ state }: { state: string | null }) {
  if (!state) return <span className="mark mark-quiet">{NOTHING}</span>
  const [Icon, tone] = STATES[state] ?? [CircleDashed, 'quiet']
  return (
    <span className={`mark mark-${tone}`}>
      <Icon aria-hidden="true" />
      {words(state)}
    </span>
  )
}

const SEVERE: Record<string, Tone> = {
  critical: 'bad',
  high: 'bad',
  medium: 'warn',
  low: 'quiet',
  info: 'quiet',
}

export function SeverityTag({ severity }: { severity: string }) {
  return <span className={`tag tag-${SEVERE[severity] ?? 'quiet'}`}>{words(severity)}</span>
}

export function Tag({ tone = 'quiet', children }: { tone?: Tone; children: React.ReactNode }) {
  return <span className={`tag tag-${tone}`}>{children}</span>
}

/** A moment: UTC, with the local time in the title; `relative` where nearness is what matters. */
export function When({ at, relative = false }: { at: string | null | undefined; relative?: boolean }) {
  if (!at) return <span className="missing">{NOTHING}</span>
  return (
    <time dateTime={at} title={relative ? `${utc(at)} (${local(at)})` : `${local(at)} (${ago(at)})`}>
      {relative ? ago(at) : utc(at)}
    </time>
  )
}
