import { Fragment, useState } from 'react'
import type { Cell, Json } from '../api/types'
import { count } from '../lib/format'
import { clip, pieces } from '../lib/text'

/** Text from data: isolated from its surroundings, with symbols for what one could not see. */
export function Text({ value, limit }: { value: string; limit?: number }) {
  return (
    <bdi className="data">
      <Pieces value={limit ? clip(value, limit) : value} />
    </bdi>
  )
}

function Pieces({ value }: { value: string }) {
  return pieces(value).map((piece, index) =>
    piece.control ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: pieces of one text have no other name
      <span key={index} className="ctl" title={piece.control}>
        {piece.text}
      </span>
    ) : (
      // biome-ignore lint/suspicious/noArrayIndexKey: pieces of one text have no other name
      <Fragment key={index}>{piece.text}</Fragment>
    ),
  )
}

/** A text of any length: its beginning, and the rest on demand. */
export function LongText({ value, limit = 240 }: { value: string; limit?: number }) {
  const [open, setOpen] = useState(false)
  if (value.length <= limit * 1.25) return <Text value={value} />
  return (
    <>
      <Text value={open ? value : clip(value, limit)} />{' '}
      <button type="button" className="more" aria-expanded={open} onClick={() => setOpen(!open)}>
        {open ? 'show less' : `show all ${count(value.length)} characters`}
      </button>
    </>
  )
}

/** One value of a table. */
export function CellView({ cell, limit = 160 }: { cell: Cell | undefined; limit?: number }) {
  if (cell === null || cell === undefined) return <span className="missing">missing</span>
  if (typeof cell === 'number') return <span className="num">{String(cell)}</span>
  if (typeof cell === 'boolean') return <span className="num">{String(cell)}</span>
  if (typeof cell === 'string') return cell === '' ? <EmptyText /> : <LongText value={cell} limit={limit} />
  if ('list' in cell) {
    return (
      <>
        <LongText
          value={`[${cell.list.map((each) => String(each)).join(', ')}${cell.length > cell.list.length ? ', …' : ''}]`}
          limit={limit}
        />
        {cell.length > cell.list.length && <span className="missing"> of {count(cell.length)} numbers</span>}
      </>
    )
  }
  if ('hex' in cell) {
    return (
      <span className="bytes" title="bytes">
        0x
        <LongText value={cell.hex} limit={limit} />
        {cell.length !== undefined && <span className="missing"> {count(cell.length)} bytes</span>}
      </span>
    )
  }
  return (
    <>
      <LongText value={cell.text} limit={limit} />
      {cell.truncated && <span className="missing"> of {count(cell.length)} characters</span>}
    </>
  )
}

function EmptyText() {
  return <span className="missing">empty text</span>
}

/** A cell as plain text, for titles and labels. */
export function cellText(cell: Cell | undefined): string {
  if (cell === null || cell === undefined) return 'missing'
  if (typeof cell !== 'object') return String(cell)
  if ('list' in cell) return `[${cell.list.map((each) => String(each)).join(', ')}]`
  return 'hex' in cell ? `0x${cell.hex}` : cell.text
}

/** Evidence and facts: JSON of any shape as nested lists, never as markup. */
export function JsonView({ value, depth = 0 }: { value: Json; depth?: number }) {
  if (value === null || typeof value !== 'object') return <CellView cell={value} limit={400} />
  const cut = longCell(value)
  if (cut) return <CellView cell={cut} limit={400} />
  const entries: [string, Json][] = Array.isArray(value)
    ? value.map((each, index) => [String(index), each])
    : Object.entries(value)
  if (entries.length === 0) return <span className="missing">none</span>
  const flat = Array.isArray(value) && value.every((each) => each === null || typeof each !== 'object')
  if (flat) return <LongText value={value.map((each) => String(each)).join(', ')} limit={300} />
  return <JsonEntries entries={entries} depth={depth} list={Array.isArray(value)} />
}

/** Long values inside evidence come in the form of cells. */
function longCell(value: Json[] | { [name: string]: Json }): Cell | null {
  if (Array.isArray(value) || typeof value.length !== 'number') return null
  const { text, hex, list, length } = value
  if (typeof text === 'string') return { text, length, truncated: true }
  if (typeof hex === 'string') return { hex, length }
  return Array.isArray(list) && Object.keys(value).length === 2 ? { list, length } : null
}

const SHOWN = 40

function JsonEntries({ entries, depth, list }: { entries: [string, Json][]; depth: number; list: boolean }) {
  const [all, setAll] = useState(false)
  const shown = all ? entries : entries.slice(0, SHOWN)
  return (
    <>
      <dl className={depth === 0 ? 'json json-top' : 'json'}>
        {shown.map(([name, value]) => (
          <div key={name}>
            <dt>{list ? `${Number(name) + 1}.` : <Text value={name.replaceAll('_', ' ')} limit={80} />}</dt>
            <dd>
              {depth > 6 ? (
                <Text value={JSON.stringify(value)} limit={300} />
              ) : (
                <JsonView value={value} depth={depth + 1} />
              )}
            </dd>
          </div>
        ))}
      </dl>
      {entries.length > SHOWN && (
        <button type="button" className="more" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? 'show fewer' : `show all ${count(entries.length)}`}
        </button>
      )}
    </>
  )
}
