/** Rows that are chosen for a decision: a reducer, free of the page. Row numbers, never positions. */

export interface Selection {
  chosen: ReadonlySet<number>
  /** Where a range with shift begins. */
  anchor: number | null
}

export type SelectAction =
  | { type: 'toggle'; row: number }
  | { type: 'range'; row: number; order: readonly number[] }
  | { type: 'add'; rows: readonly number[] }
  | { type: 'clear' }
  | { type: 'drop'; rows: readonly number[] }

export const EMPTY: Selection = { chosen: new Set(), anchor: null }

/** Rows that one decision may name: the request stays well below what the server takes. */
export const MAX_CHOSEN = 5000

export function select(state: Selection, action: SelectAction): Selection {
  switch (action.type) {
    case 'toggle': {
      const chosen = new Set(state.chosen)
      if (!chosen.delete(action.row)) chosen.add(action.row)
      return { chosen: bounded(chosen), anchor: action.row }
    }
    case 'range': {
      const from = state.anchor === null ? -1 : action.order.indexOf(state.anchor)
      const to = action.order.indexOf(action.row)
      if (from < 0 || to < 0) return select(state, { type: 'toggle', row: action.row })
      const range = action.order.slice(Math.min(from, to), Math.max(from, to) + 1)
      return { chosen: bounded(new Set([...state.chosen, ...range])), anchor: state.anchor }
    }
    case 'add':
      return { ...state, chosen: bounded(new Set([...state.chosen, ...action.rows])) }
    case 'drop': {
      const chosen = new Set(state.chosen)
      for (const row of action.rows) chosen.delete(row)
      return { ...state, chosen }
    }
    case 'clear':
      return EMPTY
  }
}

function bounded(chosen: Set<number>): Set<number> {
  return chosen.size <= MAX_CHOSEN ? chosen : new Set([...chosen].slice(0, MAX_CHOSEN))
}
