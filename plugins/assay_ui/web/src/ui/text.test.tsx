import { cleanup, fireEvent, render } from '@testing-library/react'
import { afterEach, describe, expect, it } from 'vitest'
import Card from '../pages/model-card'
import { CellView, JsonView, LongText, Text } from './text'

afterEach(cleanup)

const HOSTILE = `<script>document.title='owned'</script><img src=x onerror="document.title='owned'">`

describe('hostile text', () => {
  it('makes no element of its own', () => {
    const { container } = render(
      <>
        <Text value={HOSTILE} />
        <CellView cell={HOSTILE} />
        <JsonView value={{ [HOSTILE]: [HOSTILE, { deep: HOSTILE }] }} />
      </>,
    )
    expect(container.querySelector('script, img, a')).toBeNull()
    expect(container.textContent).toContain(HOSTILE)
  })

  it('is isolated, so that its direction stays its own', () => {
    const { container } = render(<Text value={'right \u202eto left'} />)
    expect(container.querySelector('bdi')?.textContent).toBe('right ⟨RLO⟩to left')
    expect(container.querySelector('.ctl')?.getAttribute('title')).toBe('right-to-left override')
  })

  it('is cut where it is long, and shown whole on demand', () => {
    const { container, getByRole } = render(<LongText value={'Z'.repeat(5000)} />)
    expect((container.textContent ?? '').length).toBeLessThan(400)
    fireEvent.click(getByRole('button'))
    expect(container.textContent).toContain('Z'.repeat(5000))
  })
})

describe('cells', () => {
  const shown = (cell: Parameters<typeof CellView>[0]['cell']) => {
    const { container, unmount } = render(<CellView cell={cell} />)
    const text = container.textContent
    unmount()
    return text
  }

  it('say what is missing and what is empty', () => {
    expect(shown(null)).toBe('missing')
    expect(shown('')).toBe('empty text')
    expect(shown(0)).toBe('0')
    expect(shown(false)).toBe('false')
  })

  it('say how much of a long text, of bytes and of a vector there is', () => {
    expect(shown({ text: 'abc', length: 1_000_000, truncated: true })).toBe('abc of 1,000,000 characters')
    expect(shown({ hex: '00ff', length: 2 })).toBe('0x00ff 2 bytes')
    expect(shown({ list: [1, 2], length: 300 })).toBe('[1, 2, …] of 300 numbers')
  })
})

describe('a model card', () => {
  it('keeps http links and drops every other', () => {
    const { container } = render(
      <Card
        text={`# T\n\n[good](https://example.org/a) [bad](javascript:alert(1)) [data](data:text/html,x) <a href="javascript:alert(1)">raw</a>\n\n${HOSTILE}\n\n![alt](http://127.0.0.1/x.png)`}
      />,
    )
    expect([...container.querySelectorAll('a')].map((a) => a.getAttribute('href'))).toEqual([
      'https://example.org/a',
    ])
    expect(container.querySelector('script, img, iframe, [onerror]')).toBeNull()
    expect(container.textContent).toContain('<script>')
  })
})
