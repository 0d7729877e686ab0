// What happened: lines that stay until they are closed or the operator goes elsewhere.
import { html, createStore, useStore } from '../ui.js';
import { session } from '../api.js';
import { Icon } from './icon.js';

const notices = createStore([]);
let number = 0;

session.watch((own) => { if (!own) notices.set([]); });

/** Shows a line. `tone`: ok, warn, bad or info. */
export function notify(tone, text) {
  number += 1;
  const own = { id: number, tone, text };
  notices.set((last) => [...last.slice(-3), own]);
  // What went well needs no click; a warning waits to be read.
  if (tone === 'ok') setTimeout(() => dismiss(own.id), 8000);
}

const dismiss = (id) => notices.set((last) => last.filter((one) => one.id !== id));

/** Says how far a change got, from the `delivery` of a reply, and `when` it is in effect. */
export function notifyDelivery(what, delivery, when = 'with the next request') {
  if (delivery === 'pending') {
    notify('warn', `${what} Pending: the store does not answer. The change is saved, and takes effect as soon as the store is back.`);
  } else if (delivery === 'stored') {
    notify('ok', `${what} Stored: in effect ${when}.`);
  } else {
    notify('ok', what);
  }
}

/** The lines, at the bottom of the window. */
export function Notices() {
  const shown = useStore(notices);
  return html`<div class="notices" role="status" aria-live="polite">
    ${shown.map((one) => html`<div key=${one.id} class=${`notice ${one.tone}`}>
      <${Icon} name=${one.tone === 'ok' ? 'check' : one.tone === 'info' ? 'info' : 'warn'} />
      <span>${one.text}</span>
      <button type="button" aria-label="Close this line" onClick=${() => dismiss(one.id)}>
        <${Icon} name="close" /></button>
    </div>`)}
  </div>`;
}
