import { useMutation } from '@tanstack/react-query'
import { Search, ShieldCheck } from 'lucide-react'
import { type FormEvent, lazy, Suspense, useEffect, useId, useRef, useState } from 'react'
import { Link, useLocation, useSearchParams } from 'react-router'
import { post } from '../api/client'
import { useGet } from '../api/hooks'
import type { Edge, NodeRef, ProvenanceNode, Verified } from '../api/types'
import { useTitle } from '../layout'
import { count, duration, plural } from '../lib/format'
import { apiPath } from '../lib/place'
import { visible, words } from '../lib/text'
import { Commands, Digest } from '../ui/copy'
import { FactView } from '../ui/fact'
import { Answered, Empty, ErrorPanel, Skeleton } from '../ui/feedback'
import { named, pageOf, walkTo } from '../ui/link'
import { announce } from '../ui/live'
import { OutcomeMark, Tag } from '../ui/marks'
import { PageHead, Panel } from '../ui/panel'
import { LongText, Text } from '../ui/text'

const Graph = lazy(() => import('./provenance-graph'))

/** Where something came from and what became of it: search, walk, prove, verify. */
export default function Provenance() {
  useTitle('Provenance')
  const [params] = useSearchParams()
  const kind = params.get('kind')
  const id = params.get('id')
  const q = params.get('q')
  return (
    <>
      <PageHead title="Provenance" />
      <SearchBox initial={q ?? ''} />
      {q && <Results q={q} />}
      {kind && id ? <Walk key={`${kind} ${id}`} kind={kind} id={id} /> : !q && <Start />}
      <Verify />
    </>
  )
}

function SearchBox({ initial }: { initial: string }) {
  const [text, setText] = useState(initial)
  const [, setParams] = useSearchParams()
  const id = useId()
  const box = useRef<HTMLInputElement>(null)
  const { state } = useLocation()
  useEffect(() => setText(initial), [initial])
  useEffect(() => {
    if (state?.search) box.current?.focus()
  }, [state])
  const submit = (event: FormEvent) => {
    event.preventDefault()
    if (text.trim()) setParams({ q: text.trim() })
  }
  return (
    <search>
      <form className="search" onSubmit={submit}>
        <label htmlFor={id} className="offscreen">
          Key of a row, digest, publisher, model or any id
        </label>
        <input
          id={id}
          ref={box}
          type="search"
          data-search=""
          value={text}
          placeholder="Key of a row, digest, publisher, model or any id"
          autoComplete="off"
          spellCheck={false}
          onChange={(event) => setText(event.target.value)}
        />
        <button type="submit" className="button button-brand">
          <Search aria-hidden="true" />
          Search
        </button>
      </form>
    </search>
  )
}

function Start() {
  return (
    <Empty title="Follow anything to where it came from">
      <p>
        Search for the key of a row, a SHA-256, a publisher, a key, a model or any id: from there walk back to
        the signed file, or forward to the models that learned from it.
      </p>
      <Commands
        commands={[
          { title: 'The same on the command line', command: 'assay ledger trace KEY_DIGEST_OR_ID' },
          { title: 'A proof to check without us', command: 'assay ledger prove KEY_DIGEST_OR_ID' },
        ]}
      />
    </Empty>
  )
}

function Results({ q }: { q: string }) {
  const held = useGet<{ results: NodeRef[]; notes?: string[] }>('provenance/search', { q })
  return (
    <Panel title="Found">
      <Answered held={held} lines={3}>
        {({ results, notes }) => (
          <>
            {results.length === 0 ? (
              <p className="muted">
                Nothing is known by <Text value={q} limit={80} />. Digests are compared by their beginning;
                keys of rows and names exactly.
              </p>
            ) : (
              <ul className="lines lines-wide">
                {results.map((each) => (
                  <li key={`${each.kind} ${each.id}`}>
                    <Tag>{words(each.kind)}</Tag>
                    <Link to={walkTo(each.kind, each.id)}>
                      <Text value={each.title} limit={120} />
                    </Link>
                    {each.dataset && (
                      <span className="muted">
                        <Text value={each.dataset} limit={40} />
                      </span>
                    )}
                  </li>
                ))}
              </ul>
            )}
            {notes?.map((note) => (
              <p key={note} className="muted">
                <LongText value={note} />
              </p>
            ))}
          </>
        )}
      </Answered>
    </Panel>
  )
}

const PROVABLE = ['row', 'model', 'statement']

function Walk({ kind, id }: { kind: string; id: string }) {
  const held = useGet<ProvenanceNode>('provenance/node', { kind, id })
  return (
    <Answered held={held} lines={8}>
      {(around) => (
        <>
          <Panel
            title={<Text value={named(around.node)} limit={160} />}
            extra={
              <span className="row">
                {pageOf(around.node.kind, around.node.id) && (
                  <Link to={pageOf(around.node.kind, around.node.id) ?? ''}>Its page</Link>
                )}
                {PROVABLE.includes(around.node.kind) && (
                  <a
                    href={apiPath('provenance/proof', { kind: around.node.kind, id: around.node.id })}
                    download
                  >
                    Download proof
                  </a>
                )}
              </span>
            }
          >
            {around.problems.length > 0 && (
              <div className="panel panel-error" role="alert">
                <h3>Problems</h3>
                <ul className="reasons">
                  {around.problems.map((problem) => (
                    <li key={problem}>
                      <LongText value={problem} />
                    </li>
                  ))}
                </ul>
              </div>
            )}
            <Suspense fallback={<Skeleton lines={6} />}>
              <Graph around={around} />
            </Suspense>
            <div className="walk">
              <Edges
                title="Came from"
                edges={around.in}
                more={around.more_in ?? 0}
                none="Nothing before it is known."
              />
              <div>
                <h3>What is known</h3>
                <dl className="facts">
                  <div>
                    <dt>Id</dt>
                    <dd>
                      <Digest value={around.node.id} what="the id" keep={16} />
                    </dd>
                  </div>
                  {around.node.facts.map((fact) => (
                    <div key={fact.name}>
                      <dt>{visible(words(fact.name))}</dt>
                      <dd>
                        <FactView value={fact.value} />
                      </dd>
                    </div>
                  ))}
                </dl>
              </div>
              <Edges
                title="Went to"
                edges={around.out}
                more={around.more_out ?? 0}
                none="Nothing came of it yet."
              />
            </div>
          </Panel>
        </>
      )}
    </Answered>
  )
}

function Edges({ title, edges, more, none }: { title: string; edges: Edge[]; more: number; none: string }) {
  return (
    <nav aria-label={title}>
      <h3>
        {title} <span className="muted">({count(edges.length + more)})</span>
      </h3>
      {edges.length === 0 ? (
        <p className="muted">{none}</p>
      ) : (
        <ul className="lines lines-edges">
          {edges.map((edge) => (
            <li key={`${edge.relation} ${edge.kind} ${edge.id}`}>
              <span className="muted">{visible(words(edge.relation))}</span>
              <Link to={walkTo(edge.kind, edge.id)}>
                <Text value={named(edge)} limit={80} />
              </Link>
            </li>
          ))}
        </ul>
      )}
      {more > 0 && <p className="muted">and {count(more)} more; search for one by its key or id</p>}
    </nav>
  )
}

function Verify() {
  const ask = useMutation<Verified, Error, void>({
    mutationFn: () => post<Verified>('provenance/verify', {}),
    onSuccess: (done) => announce(`The ledger: ${words(done.outcome)}`),
    onError: (error) => announce(error.message),
  })
  return (
    <Panel
      title="Is the ledger whole?"
      extra={
        <button type="button" className="button" disabled={ask.isPending} onClick={() => ask.mutate()}>
          <ShieldCheck aria-hidden="true" />
          {ask.isPending ? 'Verifying …' : 'Verify now'}
        </button>
      }
    >
      {ask.error ? (
        <ErrorPanel error={ask.error} />
      ) : ask.data ? (
        <div className="verified">
          <OutcomeMark outcome={ask.data.outcome} />
          <span>
            {plural(ask.data.entries, 'entry', 'entries')} in {duration(ask.data.seconds)}
          </span>
          {ask.data.problems.length > 0 && (
            <ul className="reasons">
              {ask.data.problems.map((problem) => (
                <li key={problem}>
                  <LongText value={problem} />
                </li>
              ))}
            </ul>
          )}
        </div>
      ) : (
        <p className="muted">
          Every entry's hash, signature and place in the Merkle tree is checked again, and what the registry
          says against what was signed.
        </p>
      )}
      <Commands commands={[{ title: 'On the command line', command: 'assay ledger verify' }]} />
    </Panel>
  )
}
