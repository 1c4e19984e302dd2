import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { App } from './app'
import { PAGES } from './lib/place'
import { followTheme } from './lib/theme'
import './styles/tokens.css'
import './styles/base.css'
import './styles/parts.css'
import './styles/plots.css'
import './styles/pages.css'

followTheme()

// The server shows the overview at the application's bare address.
if (!window.location.pathname.startsWith(`${PAGES}/`)) {
  window.history.replaceState(null, '', `${PAGES}/overview`)
}

const root = document.getElementById('root')
if (root) {
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  )
}
