import { Graph, layout } from '@dagrejs/dagre'
import { type KeyboardEvent, useEffect, useMemo, useRef } from 'react'
import { useNavigate } from 'react-router'
import type { Edge, NodeRef, ProvenanceNode } from '../api/types'
import { count } from '../lib/format'
import { PAGES } from '../lib/place'
import { clip, visible, words } from '../lib/text'
import { walkTo } from '../ui/link'

const WIDTH = 214
const HEIGHT = 46
const EACH_SIDE = 7

interface Placed {
  ref: NodeRef
  x: number
  y: number
  centre: boolean
}

interface Drawn {
  nodes: Placed[]
  lines: { path: string; label: string; x: number; y: number }[]
  width: number
  height: number
}

/** A node with what it came from on its left and what came of it on its right; a click makes a neighbour the centre. */
export default function ProvenanceGraph({ around }: { around: ProvenanceNode }) {
  const drawn = useMemo(() => draw(around), [around])
  const box = useRef<HTMLElement>(null)
  useEffect(() => {
    const centre = drawn.nodes.find((node) => node.centre)
    if (box.current && centre) box.current.scrollLeft = centre.x - box.current.clientWidth / 2
  }, [drawn])
  const hidden = Math.max(0, around.in.length - EACH_SIDE) + Math.max(0, around.out.length - EACH_SIDE)
  return (
    <>
      <section
        ref={box}
        className="graph"
        aria-label="Graph; the same links stand in the lists below"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
        tabIndex={0}
      >
        <svg
          width={drawn.width}
          height={drawn.height}
          role="group"
          aria-label="Where it came from and what came of it"
        >
          {drawn.lines.map((line) => (
            <g key={line.path} className="edge" aria-hidden="true">
              <path d={line.path} />
              <text x={line.x} y={line.y} textAnchor="middle">
                {line.label}
              </text>
            </g>
          ))}
          {drawn.nodes.map((node) => (
            <GraphNode key={`${node.ref.kind} ${node.ref.id}`} node={node} />
          ))}
        </svg>
      </section>
      {hidden > 0 && <p className="muted graph-more">{count(hidden)} more stand in the lists below.</p>}
    </>
  )
}

function GraphNode({ node }: { node: Placed }) {
  const navigate = useNavigate()
  const to = walkTo(node.ref.kind, node.ref.id)
  const follow = (event: { preventDefault: () => void; metaKey?: boolean; ctrlKey?: boolean }) => {
    if (event.metaKey || event.ctrlKey) return
    event.preventDefault()
    void navigate(to)
  }
  const body = (
    <>
      <rect x={node.x - WIDTH / 2} y={node.y - HEIGHT / 2} width={WIDTH} height={HEIGHT} rx={6} />
      <text x={node.x - WIDTH / 2 + 10} y={node.y - 5} className="node-kind">
        {words(node.ref.kind)}
      </text>
      <text x={node.x - WIDTH / 2 + 10} y={node.y + 13} className="node-title">
        {visible(clip(node.ref.title.replace(`${node.ref.kind}-`, ''), node.centre ? 21 : 23))}
      </text>
      <title>{`${words(node.ref.kind)} ${visible(clip(node.ref.title, 300))}`}</title>
    </>
  )
  if (node.centre) return <g className={`node node-centre kind-${node.ref.kind}`}>{body}</g>
  return (
    <a
      href={`${PAGES}${to}`}
      className={`node kind-${node.ref.kind}`}
      onClick={follow}
      onKeyDown={(event: KeyboardEvent) => event.key === ' ' && follow(event)}
    >
      {body}
    </a>
  )
}

/** Neighbours of one side stand from top to bottom as the lists have them. */
function inOrder(side: Placed[]): void {
  const places = side.map((node) => node.y).sort((a, b) => a - b)
  side.forEach((node, index) => {
    node.y = places[index] ?? node.y
  })
}

function draw(around: ProvenanceNode): Drawn {
  const graph = new Graph({ multigraph: true })
  graph.setGraph({ rankdir: 'LR', nodesep: 14, ranksep: 134, marginx: 8, marginy: 8 })
  graph.setDefaultEdgeLabel(() => ({}))
  const refs = new Map<string, NodeRef>()
  const name = (ref: NodeRef) => `${ref.kind} ${ref.id}`
  const add = (ref: NodeRef) => {
    refs.set(name(ref), ref)
    graph.setNode(name(ref), { width: WIDTH, height: HEIGHT })
  }
  const centre = name(around.node)
  add(around.node)
  const join = (edge: Edge, inward: boolean) => {
    if (name(edge) === centre) return
    if (!refs.has(name(edge))) add(edge)
    const ends: [string, string] = inward ? [name(edge), centre] : [centre, name(edge)]
    graph.setEdge(ends[0], ends[1], { relation: edge.relation }, edge.relation)
  }
  for (const edge of around.in.slice(0, EACH_SIDE)) join(edge, true)
  for (const edge of around.out.slice(0, EACH_SIDE)) join(edge, false)
  layout(graph)
  const nodes: Placed[] = [...refs].map(([key, ref]) => {
    const { x = 0, y = 0 } = graph.node(key) as { x?: number; y?: number }
    return { ref, x, y, centre: key === centre }
  })
  inOrder(nodes.filter((node) => around.in.some((edge) => name(edge) === name(node.ref))))
  inOrder(nodes.filter((node) => around.out.some((edge) => name(edge) === name(node.ref))))
  const at = new Map(nodes.map((node) => [`${node.ref.kind} ${node.ref.id}`, node]))
  const lines = graph.edges().flatMap((edge) => {
    const from = at.get(edge.v)
    const to = at.get(edge.w)
    if (!from || !to) return []
    const [x1, x2] = [from.x + WIDTH / 2, to.x - WIDTH / 2]
    const middle = (x1 + x2) / 2
    const arrow = `M${x2 - 7},${to.y - 4}L${x2},${to.y}L${x2 - 7},${to.y + 4}`
    const label = visible(clip(words(edge.name ?? ''), 18))
    const far = to.centre ? from : to
    return [
      {
        path: `M${x1},${from.y}C${middle},${from.y} ${middle},${to.y} ${x2},${to.y}${arrow}`,
        label,
        x: to.centre ? x1 + 58 : x2 - 66,
        y: far.y - 5,
      },
    ]
  })
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number }
  return { nodes, lines, width: Math.ceil(width), height: Math.ceil(height) }
}
