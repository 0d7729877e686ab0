// Dialogs: every action asks for its reason in one, and a new secret is shown once in another.
import { html, createStore, useStore, useState, useEffect, useRef, useId, classes } from '../ui.js';
import { send, session } from '../api.js';
import { Copy } from './basics.js';
import { Icon } from './icon.js';
import { notifyDelivery } from './notices.js';

const REASON_CHARS_MAX = 200;
const open = createStore(null);

// What is open belongs to the session: another operator must not find it.
session.watch((own) => { if (!own) open.set(null); });

/**
 * Asks for an action, and sends it.
 *
 * - `title`: "End this session". `effect`: what will happen and when it takes effect, one sentence.
 * - `confirm`: the button's text. `danger`: whether the button is red.
 * - `fields`: `{ name, label, type, value, hint, required, min, max, options, placeholder, rows }`.
 *   `type`: text (default), number, textarea, select (`options`: `[value, label]`), checkbox.
 *   A field with `when(values)` is shown only if that returns true.
 * - `method`, `path`: text, or functions of the values. `body(values)`: the request's body without
 *   the reason; without it the values are the body. It may throw an `Error` with a text for the
 *   operator.
 * - `done(reply)`: called after success. `said`: the line that is shown then, "Session ended.".
 *   `when`: when the change is in effect, if not "with the next request".
 * - `secret`: `{ member, title, note }`: the member of the reply that is shown once.
 */
export function askAction(spec) {
  open.set({ kind: 'action', spec });
}

/** Shows a secret once: nothing keeps it when the dialog is closed. */
export function showSecret({ title, note, value }) {
  open.set({ kind: 'secret', title, note, value });
}

/** The place of the open dialog; once, in the shell. */
export function Dialogs() {
  const shown = useStore(open);
  if (!shown) return null;
  if (shown.kind === 'secret') return html`<${SecretDialog} ...${shown} />`;
  return html`<${ActionDialog} spec=${shown.spec} key=${shown.spec.title} />`;
}

/** A modal dialog around `children`. `onClose` is called when it is closed by Escape too. */
export function Modal({ title, onClose, children, closable = true, wide = false }) {
  const own = useRef(null);
  const heading = useId('dialog');
  useEffect(() => {
    const before = document.activeElement;
    const element = own.current;
    element?.showModal();
    return () => {
      // What is behind an open dialog takes no focus.
      element?.close();
      if (before?.isConnected) before.focus?.();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    if (closable) onClose();
  };
  return html`<dialog ref=${own} class=${classes('dialog', wide && 'wide-dialog')} aria-labelledby=${heading} onCancel=${cancel}>
    <header class="dialog-head">
      <h2 id=${heading}>${title}</h2>
      ${closable && html`<button type="button" class="icon-button" aria-label="Close"
        onClick=${onClose}><${Icon} name="close" /></button>`}
    </header>
    ${children}
  </dialog>`;
}

function ActionDialog({ spec }) {
  const fields = spec.fields ?? [];
  const first = () => Object.fromEntries(fields.map((field) => [field.name, field.value ?? (field.type === 'checkbox' ? false : '')]));
  const [values, setValues] = useState(first);
  const [reason, setReason] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const close = () => { if (!busy) open.set(null); };
  const change = (name, value) => setValues((last) => ({ ...last, [name]: value }));
  const shown = fields.filter((field) => !field.when || field.when(values));

  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setError(null);
    let body;
    const given = Object.fromEntries(shown.map((field) => [field.name, read(field, values)]));
    const own = (value) => (typeof value === 'function' ? value(given) : value);
    try {
      body = spec.body ? spec.body(given) : given;
    } catch (invalid) {
      setError(invalid);
      return;
    }
    setBusy(true);
    try {
      const reply = await send(own(spec.method ?? 'POST'), own(spec.path), { ...body, reason: reason.trim() });
      open.set(null);
      const secret = spec.secret && reply?.[spec.secret.member];
      if (typeof secret === 'string') showSecret({ ...spec.secret, value: secret });
      if (spec.said) notifyDelivery(spec.said, reply?.delivery, spec.when);
      spec.done?.(reply);
    } catch (failed) {
      setError(failed);
      setBusy(false);
    }
  };

  return html`<${Modal} title=${spec.title} onClose=${close} closable=${!busy}>
    <form class="dialog-form" onSubmit=${submit}>
      <p class="effect">${spec.effect}</p>
      ${shown.map((field) => html`<${Field} key=${field.name} field=${field}
        value=${values[field.name]} onChange=${(value) => change(field.name, value)} />`)}
      <${Field} field=${{
        name: 'reason', label: 'Reason', required: true, maxlength: REASON_CHARS_MAX,
        placeholder: 'Why? A ticket number helps.', hint: 'Kept in the audit log with your name.',
      }} value=${reason} onChange=${setReason} />
      ${error && html`<p class="form-error" role="alert"><${Icon} name="warn" />
        <span>${error.message} ${error.code && html`<code>${error.code}</code>`}</span></p>`}
      <footer class="dialog-foot">
        <button type="button" class="button" onClick=${close} disabled=${busy}>Cancel</button>
        <button type="submit" class=${classes('button', spec.danger ? 'danger' : 'primary')}
          disabled=${busy || reason.trim() === ''}>${busy ? 'Sending…' : spec.confirm ?? spec.title}</button>
      </footer>
    </form>
  <//>`;
}

function read(field, values) {
  const value = values[field.name];
  if (field.type === 'number') return value === '' ? undefined : Number(value);
  return value;
}

/** A labelled control. `field` is as in `askAction`. */
export function Field({ field, value, onChange }) {
  const id = useId('field');
  const hint = field.hint && `${id}-hint`;
  const common = {
    id, name: field.name, required: field.required, placeholder: field.placeholder,
    'aria-describedby': hint || undefined, autocomplete: field.autocomplete ?? 'off',
  };
  const typed = (event) => onChange(event.currentTarget.value);
  let control;
  if (field.type === 'textarea') {
    control = html`<textarea ...${common} rows=${field.rows ?? 4} spellcheck="false" value=${value}
      onInput=${typed}></textarea>`;
  } else if (field.type === 'select') {
    control = html`<select ...${common} value=${value} onChange=${typed}>
      ${field.options.map(([own, shown]) => html`<option key=${own} value=${own}
        selected=${own === value}>${shown}</option>`)}
    </select>`;
  } else if (field.type === 'checkbox') {
    return html`<div class="field check"><label>
      <input type="checkbox" id=${id} checked=${Boolean(value)} aria-describedby=${hint || undefined}
        onChange=${(event) => onChange(event.currentTarget.checked)} /> ${field.label}</label>
      ${field.hint && html`<p class="hint" id=${hint}>${field.hint}</p>`}
    </div>`;
  } else {
    control = html`<input ...${common} type=${field.type ?? 'text'} value=${value} min=${field.min}
      max=${field.max} step=${field.step} maxlength=${field.maxlength} spellcheck="false"
      onInput=${typed} />`;
  }
  return html`<div class="field">
    <label for=${id}>${field.label}${!field.required && field.type !== 'select' && html`<span class="dim"> optional</span>`}</label>
    ${control}
    ${field.hint && html`<p class="hint" id=${hint}>${field.hint}</p>`}
  </div>`;
}

function SecretDialog({ title, note, value }) {
  const close = () => open.set(null);
  return html`<${Modal} title=${title} onClose=${close}>
    <div class="dialog-form">
      <p class="effect">${note ?? 'Copy it now: it is shown this once, and no page can show it again.'}</p>
      <div class="secret"><code tabindex="0">${value}</code><${Copy} value=${value} label="Copy the secret" /></div>
      <footer class="dialog-foot">
        <button type="button" class="button primary" onClick=${close}>I have copied it</button>
      </footer>
    </div>
  <//>`;
}
