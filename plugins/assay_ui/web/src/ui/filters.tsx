import { useEffect, useId, useState } from 'react'
import { useSearchParams } from 'react-router'
import { words } from '../lib/text'

/** One query parameter of the page's address. */
export function useParam(name: string): [string, (value: string) => void] {
  const [params, setParams] = useSearchParams()
  const set = (value: string) => {
    setParams(
      (before) => {
        const next = new URLSearchParams(before)
        if (value) next.set(name, value)
        else next.delete(name)
        return next
      },
      { replace: true },
    )
  }
  return [params.get(name) ?? '', set]
}

export function SelectFilter({
  name,
  label,
  options,
  any = 'any',
}: {
  name: string
  label: string
  options: readonly string[]
  any?: string | null
}) {
  const [value, set] = useParam(name)
  const id = useId()
  const known = value && !options.includes(value) ? [value, ...options] : options
  return (
    <span className="filter">
      <label htmlFor={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => set(event.target.value)}>
        {any !== null && <option value="">{any}</option>}
        {known.map((option) => (
          <option key={option} value={option}>
            {words(option)}
          </option>
        ))}
      </select>
    </span>
  )
}

const TYPING_MS = 250

/** Text that is searched for; the address follows when typing rests. */
export function TextFilter({
  name,
  label,
  hint,
  filter = false,
}: {
  name: string
  label: string
  hint?: string
  /** Whether the key for filters goes here too. */
  filter?: boolean
}) {
  const [value, set] = useParam(name)
  const [text, setText] = useState(value)
  const id = useId()
  useEffect(() => setText(value), [value])
  useEffect(() => {
    if (text === value) return
    const timer = setTimeout(() => set(text), TYPING_MS)
    return () => clearTimeout(timer)
  })
  return (
    <span className="filter filter-text">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        type="search"
        value={text}
        placeholder={hint}
        data-search=""
        data-filter={filter || undefined}
        autoComplete="off"
        spellCheck={false}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => event.key === 'Enter' && set(text)}
      />
    </span>
  )
}
