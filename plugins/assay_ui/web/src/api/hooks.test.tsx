import { QueryClientProvider } from '@tanstack/react-query'
import { act, cleanup, renderHook, waitFor } from '@testing-library/react'
import type { ReactNode } from 'react'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { makeClient, usePages } from './hooks'

afterEach(() => {
  cleanup()
  vi.unstubAllGlobals()
})

function wrapped({ children }: { children: ReactNode }) {
  return <QueryClientProvider client={makeClient()}>{children}</QueryClientProvider>
}

const PAGES: Record<string, object> = {
  '': { items: [1, 2], next: 'two', total: 3 },
  two: { items: [3], next: null, total: 3 },
}

describe('lists that come in pages', () => {
  it('go on at the cursor that the last page gave, and end without one', async () => {
    const asked: string[] = []
    vi.stubGlobal('fetch', async (path: string) => {
      const cursor = new URL(path, 'http://x').searchParams.get('cursor') ?? ''
      asked.push(cursor)
      return new Response(JSON.stringify(PAGES[cursor]))
    })
    const client = makeClient()
    const { result } = renderHook(() => usePages<number>('cases', { status: 'open' }), {
      wrapper: ({ children }) => <QueryClientProvider client={client}>{children}</QueryClientProvider>,
    })
    await waitFor(() => expect(result.current.items).toEqual([1, 2]))
    expect(result.current.total).toBe(3)
    await act(async () => {
      await result.current.fetchNextPage()
    })
    await waitFor(() => expect(result.current.items).toEqual([1, 2, 3]))
    expect(result.current.hasNextPage).toBe(false)
    expect(asked).toEqual(['', 'two'])
  })

  it('ask nothing while they are not wanted', () => {
    const fetched = vi.fn()
    vi.stubGlobal('fetch', fetched)
    renderHook(() => usePages<number>('cases', {}, false), { wrapper: wrapped })
    expect(fetched).not.toHaveBeenCalled()
  })
})
