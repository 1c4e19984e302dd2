/** Where the server put us: the page's <base> is the application's root. */

/** Path of the application, e.g. `/assay/` or `/airflow/assay/`. */
export const ROOT = new URL('.', document.baseURI).pathname

/** Path under which Airflow itself answers, e.g. `/` or `/airflow/`. */
export const AIRFLOW = ROOT.replace(/[^/]+\/$/, '')

/** Path under which the pages' own addresses start, without a slash at the end. */
export const PAGES = `${ROOT}p`

/** Address of an API call; `path` is relative, e.g. `cases/case-1`. */
export function apiPath(
  path: string,
  query: Record<string, string | number | undefined | null> = {},
): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== '') search.set(name, String(value))
  }
  const text = search.toString()
  return `${ROOT}api/${path}${text ? `?${text}` : ''}`
}

/** One segment of a path: ids come from data and may hold anything. */
export function segment(id: string | number): string {
  return encodeURIComponent(String(id))
}
