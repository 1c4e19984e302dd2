import { Link, useLocation } from 'react-router'
import { useTitle } from '../layout'
import { visible } from '../lib/text'
import { PageHead } from '../ui/panel'

export function NotFound() {
  useTitle('Not found')
  const { pathname } = useLocation()
  return (
    <>
      <PageHead title="There is no such page" />
      <p>
        Nothing stands at <code>{visible(pathname)}</code>. Go to the <Link to="/overview">overview</Link>, or{' '}
        <Link to="/provenance">search</Link> for an id, a digest, a publisher or the key of a row.
      </p>
    </>
  )
}
