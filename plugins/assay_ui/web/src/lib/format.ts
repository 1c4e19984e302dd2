/** Numbers, sizes and times as people read them. Times are shown in UTC; the local time is in the title. */

const INTEGER = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const COMPACT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })
const LONG_UTC = new Intl.DateTimeFormat('en-GB', {
  timeZone: 'UTC',
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
})
const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' })
const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'short' })

/** What stands where there is no value. */
export const NOTHING = '–'

export function count(value: number | null | undefined): string {
  return value === null || value === undefined || !Number.isFinite(value) ? NOTHING : INTEGER.format(value)
}

export function compact(value: number | null | undefined): string {
  return value === null || value === undefined || !Number.isFinite(value) ? NOTHING : COMPACT.format(value)
}

/** A measured number: enough digits to compare, no noise. */
export function number(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING
  if (value === 0) return '0'
  const size = Math.abs(value)
  if (Number.isInteger(value) && size < 1e15) return INTEGER.format(value)
  if (size < 1e-4 || size >= 1e9) return value.toExponential(2)
  return new Intl.NumberFormat('en', {
    maximumSignificantDigits: Math.max(digits, String(Math.trunc(size)).length),
  }).format(value)
}

export function percent(share: number | null | undefined, digits = 1): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return NOTHING
  if (share > 0 && share < 0.5 * 10 ** (-digits - 2)) return `< ${10 ** -digits} %`
  return `${(share * 100).toFixed(digits)} %`
}

/** A probability: small ones keep their exponent. */
export function probability(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING
  return value !== 0 && value < 0.001 ? value.toExponential(1) : value.toFixed(3)
}

export function bytes(size: number | null | undefined): string {
  if (size === null || size === undefined || !Number.isFinite(size)) return NOTHING
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = size
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`
}

export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NOTHING
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

function parsed(iso: string | null | undefined): Date | null {
  if (!iso) return null
  const date = new Date(iso)
  return Number.isNaN(date.getTime()) ? null : date
}

/** `22 Nov 2026, 15:46 UTC`. */
export function utc(iso: string | null | undefined): string {
  const date = parsed(iso)
  return date ? `${LONG_UTC.format(date)} UTC` : NOTHING
}

export function local(iso: string | null | undefined): string {
  const date = parsed(iso)
  return date ? LOCAL.format(date) : NOTHING
}

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
]

/** `3 hr. ago`, `in 2 days`; `now` is a parameter so that it can be tested. */
export function ago(iso: string | null | undefined, now: number = Date.now()): string {
  const date = parsed(iso)
  if (!date) return NOTHING
  const seconds = (date.getTime() - now) / 1000
  for (const [unit, size] of STEPS) {
    if (Math.abs(seconds) >= size) return RELATIVE.format(Math.trunc(seconds / size), unit)
  }
  return 'just now'
}

/** The beginning of a digest or content id; the whole stands in the title and on the copy button. */
export function short(id: string, keep = 10): string {
  const dash = id.indexOf('-')
  const head = dash > 0 && dash <= 12 ? dash + 1 : 0
  return id.length > head + keep + 1 ? `${id.slice(0, head + keep)}…` : id
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`
}
