/** Light or dark as Airflow: its root element's class where we are framed, its stored choice, then the system's. */

export type Theme = 'light' | 'dark'

const STORED = 'theme'

/** Airflow's own document, where we stand in a frame of it. */
function host(): Document | null {
  try {
    return window.parent !== window ? window.parent.document : null
  } catch {
    return null
  }
}

function stored(): string | null {
  try {
    return localStorage.getItem(STORED)
  } catch {
    return null
  }
}

export function chosen(classes: string | null, kept: string | null, systemDark: boolean): Theme {
  for (const theme of ['light', 'dark'] as const) {
    if (classes?.split(/\s+/).includes(theme)) return theme
  }
  if (kept === 'light' || kept === 'dark') return kept
  return systemDark ? 'dark' : 'light'
}

/** Keep the page's theme that of Airflow, from now on. */
export function followTheme(): void {
  const dark = window.matchMedia('(prefers-color-scheme: dark)')
  const apply = () => {
    const root = host()?.documentElement ?? null
    document.documentElement.dataset.theme = chosen(root?.className ?? null, stored(), dark.matches)
  }
  apply()
  dark.addEventListener('change', apply)
  window.addEventListener('storage', apply)
  const root = host()?.documentElement
  if (root) new MutationObserver(apply).observe(root, { attributes: true, attributeFilter: ['class'] })
}
