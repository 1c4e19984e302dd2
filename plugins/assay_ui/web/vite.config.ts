import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

// The build must give the same bytes on every machine: no time, no path and no host goes into it.
export default defineConfig({
  base: './',
  experimental: {
    // The page's <base> is the application's root, scripts and styles find each other by themselves.
    renderBuiltUrl: (file, { hostType }) => (hostType === 'html' ? `static/${file}` : { relative: true }),
  },
  plugins: [react()],
  build: {
    outDir: '../static',
    emptyOutDir: true,
    target: 'es2023',
    sourcemap: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: 'LICENSES.md' },
    chunkSizeWarningLimit: 400,
  },
  test: {
    environment: 'happy-dom',
    include: ['src/**/*.test.{ts,tsx}'],
    restoreMocks: true,
  },
})
