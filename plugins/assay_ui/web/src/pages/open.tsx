import { useQuery } from '@tanstack/react-query'
import { useEffect } from 'react'
import { Link, useNavigate, useSearchParams } from 'react-router'
import { get } from '../api/client'
import { useTitle } from '../layout'
import { visible } from '../lib/text'
import { Answered } from '../ui/feedback'
import { PageHead } from '../ui/panel'

interface Target {
  to: string
  why: string
}

/** Opened from a tab of a DAG, run or task: goes to the page of what that made. */
export default function Open() {
  useTitle('Open')
  const [params] = useSearchParams()
  const navigate = useNavigate()
  const query = Object.fromEntries(['dag_id', 'run_id', 'task_id'].map((name) => [name, params.get(name)]))
  const held = useQuery<Target, Error>({
    queryKey: ['open', query],
    queryFn: ({ signal }) => get<Target>('open', query, signal),
  })
  const to = held.data?.to
  useEffect(() => {
    if (to) void navigate(`/${to}`, { replace: true })
  }, [to, navigate])
  return (
    <>
      <PageHead title="Looking for what this run made" />
      <Answered held={held} lines={3}>
        {(target) => (
          <p>
            {visible(target.why)} <Link to={`/${target.to}`}>Go there</Link>
          </p>
        )}
      </Answered>
    </>
  )
}
