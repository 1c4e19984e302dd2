import { QueryClientProvider } from '@tanstack/react-query'
import { Component, lazy, type ReactNode, useState } from 'react'
import { BrowserRouter, Navigate, Route, Routes, useLocation } from 'react-router'
import { makeClient } from './api/hooks'
import { Layout } from './layout'
import { PAGES } from './lib/place'
import { NotFound } from './pages/notfound'
import { ErrorPanel } from './ui/feedback'

const Overview = lazy(() => import('./pages/overview'))
const Deliveries = lazy(() => import('./pages/deliveries'))
const Delivery = lazy(() => import('./pages/delivery'))
const Cases = lazy(() => import('./pages/cases'))
const Case = lazy(() => import('./pages/case/page'))
const Runs = lazy(() => import('./pages/runs'))
const Run = lazy(() => import('./pages/run'))
const Models = lazy(() => import('./pages/models'))
const Model = lazy(() => import('./pages/model'))
const Provenance = lazy(() => import('./pages/provenance'))
const Open = lazy(() => import('./pages/open'))

export function App() {
  const [client] = useState(makeClient)
  return (
    <QueryClientProvider client={client}>
      <BrowserRouter basename={PAGES}>
        <Layout>
          <Guarded>
            <Routes>
              <Route path="/" element={<Navigate to="/overview" replace />} />
              <Route path="/overview" element={<Overview />} />
              <Route path="/deliveries" element={<Deliveries />} />
              <Route path="/delivery/:id" element={<Delivery />} />
              <Route path="/cases" element={<Cases />} />
              <Route path="/case/:id" element={<Case />} />
              <Route path="/runs" element={<Runs />} />
              <Route path="/run/:id" element={<Run />} />
              <Route path="/models" element={<Models />} />
              <Route path="/model/:id" element={<Model />} />
              <Route path="/provenance" element={<Provenance />} />
              <Route path="/open" element={<Open />} />
              <Route path="*" element={<NotFound />} />
            </Routes>
          </Guarded>
        </Layout>
      </BrowserRouter>
    </QueryClientProvider>
  )
}

/** A page that breaks says so; the way to the other pages stays. */
function Guarded({ children }: { children: ReactNode }) {
  const { pathname } = useLocation()
  return <Boundary key={pathname}>{children}</Boundary>
}

class Boundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null }

  static getDerivedStateFromError(error: unknown): { error: Error } {
    return { error: error instanceof Error ? error : new Error(String(error)) }
  }

  override render(): ReactNode {
    if (!this.state.error) return this.props.children
    return <ErrorPanel page error={this.state.error} retry={() => window.location.reload()} />
  }
}
