/** Ways into the Airflow around us. Our frame may not navigate the window it stands in, but it is of one origin with it. */

import { AIRFLOW } from './place'

export function framed(): boolean {
  return window.parent !== window
}

/** Tell the frame's owner that the address changed, so that its own address bar follows and can be shared. */
export function announceAddress(): void {
  try {
    window.frameElement?.dispatchEvent(new Event('load'))
  } catch {
    // A frame of another origin: there is no address bar of ours to keep.
  }
}

/**
 * Show a page of Airflow in the window around us.
 *
 * Returns:
 *   Whether it could be done; where not, the address is shown to be copied.
 */
export function openInAirflow(path: string): boolean {
  if (!framed()) {
    window.location.assign(path)
    return true
  }
  try {
    window.parent.history.pushState(null, '', path)
    window.parent.dispatchEvent(new PopStateEvent('popstate', { state: null }))
    return true
  } catch {
    return false
  }
}

/** A path of Airflow's pages as an address under its base; anything that is not a path on this server is refused. */
export function airflowPath(path: string): string | null {
  try {
    const url = new URL(path, new URL(AIRFLOW, window.location.origin))
    return url.origin === window.location.origin ? `${url.pathname}${url.search}${url.hash}` : null
  } catch {
    return null
  }
}
