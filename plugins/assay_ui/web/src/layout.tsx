import {
  Boxes,
  FlaskConical,
  GitBranch,
  Keyboard,
  LayoutDashboard,
  type LucideIcon,
  PackageOpen,
  ShieldAlert,
  TrendingDown,
} from 'lucide-react'
import { type ReactNode, Suspense, useEffect, useRef } from 'react'
import { NavLink, useLocation, useNavigate } from 'react-router'
import { useMe } from './api/hooks'
import { announceAddress } from './lib/airflow'
import type { Binding } from './lib/keys'
import { visible } from './lib/text'
import { Skeleton } from './ui/feedback'
import { KeyboardProvider, useHelp } from './ui/keyboard'
import { LiveRegion } from './ui/live'

const PLACES: [path: string, name: string, key: string, icon: LucideIcon, also: string][] = [
  ['/overview', 'Overview', 'o', LayoutDashboard, ''],
  ['/deliveries', 'Deliveries', 'd', PackageOpen, '/delivery/'],
  ['/cases', 'Cases', 'c', ShieldAlert, '/case/'],
  ['/runs', 'Runs', 'r', TrendingDown, '/run/'],
  ['/models', 'Models', 'm', Boxes, '/model/'],
  ['/provenance', 'Provenance', 'p', GitBranch, ''],
]

/** The frame around all pages: where one can go, who one is, and the keys that work everywhere. */
export function Layout({ children }: { children: ReactNode }) {
  const navigate = useNavigate()
  const bindings: Binding[] = [
    ...PLACES.map(([path, name, key]) => ({
      keys: [`g ${key}`],
      does: `Go to ${name}`,
      group: 'Everywhere',
      run: () => void navigate(path),
    })),
    {
      keys: ['/'],
      does: 'Search',
      group: 'Everywhere',
      run: () => search(() => void navigate('/provenance', { state: { search: true } })),
    },
    {
      keys: ['Escape'],
      does: 'Back',
      group: 'Everywhere',
      run: () => window.history.state?.idx > 0 && void navigate(-1),
    },
  ]
  return (
    <KeyboardProvider bindings={bindings}>
      <button type="button" className="skip" onClick={() => document.getElementById('main')?.focus()}>
        Skip to the page
      </button>
      <Head />
      <main id="main" tabIndex={-1}>
        <Suspense fallback={<Skeleton lines={8} />}>{children}</Suspense>
      </main>
      <LiveRegion />
      <FollowAddress />
    </KeyboardProvider>
  )
}

function search(elsewhere: () => void): void {
  const box = document.querySelector<HTMLInputElement>('main [data-search]')
  if (box) {
    box.focus()
    box.select()
  } else elsewhere()
}

function Head() {
  const me = useMe()
  const help = useHelp()
  const { pathname } = useLocation()
  return (
    <header className="head">
      <span className="brand">
        <FlaskConical aria-hidden="true" />
        Assay
      </span>
      <nav aria-label="Assay" className="places">
        {PLACES.map(([path, name, , Icon, also]) => {
          const inside = also !== '' && pathname.startsWith(also)
          return (
            <NavLink
              key={path}
              to={path}
              className={({ isActive }) => (isActive || inside ? 'place active' : 'place')}
              aria-current={inside ? 'true' : 'page'}
            >
              <Icon aria-hidden="true" />
              {name}
            </NavLink>
          )
        })}
      </nav>
      <span className="who">
        {me.data && (
          <span title={`Assay ${me.data.assay_version}, Airflow ${me.data.airflow_version}`}>
            <bdi>{visible(me.data.name)}</bdi>
          </span>
        )}
        <button type="button" className="icon-button" onClick={help} aria-label="Keys" title="Keys (?)">
          <Keyboard aria-hidden="true" />
        </button>
      </span>
    </header>
  )
}

/** On every change of page: the focus goes to its headline, and Airflow's address bar follows. */
function FollowAddress() {
  const { pathname, search: query } = useLocation()
  const last = useRef(pathname)
  // biome-ignore lint/correctness/useExhaustiveDependencies: the query is part of the address that is announced
  useEffect(() => {
    announceAddress()
    if (last.current === pathname) return
    last.current = pathname
    window.scrollTo(0, 0)
    const main = document.getElementById('main')
    if (!main?.contains(document.activeElement)) main?.focus({ preventScroll: true })
  }, [pathname, query])
  return null
}

/** The title of the browser's window. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${visible(title)} · Assay`
  }, [title])
}
