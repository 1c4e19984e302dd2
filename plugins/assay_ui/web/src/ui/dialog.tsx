import { X } from 'lucide-react'
import { type ReactNode, useEffect, useId, useRef } from 'react'

/**
 * A modal dialog in the page: the browser keeps the focus inside, Escape closes, focus goes back to where it was.
 *
 * The focus begins at what is marked `data-first`, else at the button that closes.
 */
export function Dialog({
  title,
  close,
  children,
  wide = false,
}: {
  title: ReactNode
  close: () => void
  children: ReactNode
  wide?: boolean
}) {
  const ref = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const before = document.activeElement
    const dialog = ref.current
    dialog?.showModal()
    dialog?.querySelector<HTMLElement>('[data-first]')?.focus()
    return () => {
      dialog?.close()
      if (before instanceof HTMLElement && before.isConnected) before.focus()
    }
  }, [])
  return (
    <dialog
      ref={ref}
      className={wide ? 'dialog dialog-wide' : 'dialog'}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault()
        close()
      }}
    >
      <div className="dialog-head">
        <h2 id={id}>{title}</h2>
        <button type="button" className="icon-button" onClick={close} aria-label="Close" title="Close (Esc)">
          <X aria-hidden="true" />
        </button>
      </div>
      {children}
    </dialog>
  )
}
