import type { Json } from '../api/types'
import { number } from '../lib/format'
import { Digest } from './copy'
import { When } from './marks'
import { JsonView } from './text'

const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d/
const DIGEST = /^[0-9a-f]{64}$/

/** The value of a fact: moments, digests and numbers as they are shown everywhere, the rest as JSON. */
export function FactView({ value }: { value: Json }) {
  if (typeof value === 'number') return <span className="num">{number(value, 6)}</span>
  if (typeof value !== 'string') return <JsonView value={value} depth={1} />
  if (MOMENT.test(value)) return <When at={value} />
  return DIGEST.test(value) ? <Digest value={value} /> : <JsonView value={value} />
}
