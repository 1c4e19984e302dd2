/** Reading with a cache: one question, one list, one changing answer. */

import {
  keepPreviousData,
  QueryClient,
  type UseQueryResult,
  useInfiniteQuery,
  useQuery,
} from '@tanstack/react-query'
import { ApiError, get, type Query } from './client'
import type { Me, Overview, Page } from './types'

export function makeClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 5_000,
        retry: (failures, error) => failures < 2 && error instanceof ApiError && error.passing,
        refetchOnWindowFocus: false,
      },
    },
  })
}

interface Options<T> {
  enabled?: boolean
  /** Milliseconds until it is asked again, as long as this answers a number. */
  every?: (data: T | undefined) => number | false
  /** Keep showing the last answer while the next one is on its way. */
  keep?: boolean
}

export function useGet<T>(
  path: string,
  query: Query = {},
  options: Options<T> = {},
): UseQueryResult<T, Error> {
  return useQuery<T, Error>({
    queryKey: [path, query],
    queryFn: ({ signal }) => get<T>(path, query, signal),
    enabled: options.enabled ?? true,
    refetchInterval: (held) => options.every?.(held.state.data) ?? false,
    placeholderData: options.keep ? keepPreviousData : undefined,
  })
}

/** All pages of a list that were asked for so far. */
export function usePages<T>(path: string, query: Query = {}, enabled = true) {
  const held = useInfiniteQuery({
    queryKey: [path, 'pages', query],
    queryFn: ({ pageParam, signal }) => get<Page<T>>(path, { ...query, cursor: pageParam }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next,
    enabled,
  })
  const items = merged(held.data?.pages ?? [])
  return { ...held, items, total: held.data?.pages[0]?.total ?? 0 }
}

/** The items of some pages in order. */
export function merged<T>(pages: Page<T>[]): T[] {
  return pages.flatMap((page) => page.items)
}

export function useMe() {
  return useQuery<Me, Error>({
    queryKey: ['me'],
    queryFn: ({ signal }) => get<Me>('me', {}, signal),
    staleTime: 60_000,
  })
}

/** Names of the data sets that this user may read. */
export function useDatasets(): string[] {
  const overview = useQuery<Overview, Error>({
    queryKey: ['overview', {}],
    queryFn: ({ signal }) => get<Overview>('overview', {}, signal),
    staleTime: 60_000,
  })
  return overview.data?.datasets.map((each) => each.dataset) ?? []
}
