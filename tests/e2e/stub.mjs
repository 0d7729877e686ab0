// A core that does what it is told, so that src/entry.js can be tried alone: its steps, its deadlines, its panics.
import { heldValue, holdPromise } from './entry.js';

let generation = 0;

export function initSync() {}

export function __wbg_reset_state() {
  generation += 1;
}

export function forget() {}

export function begin(id, head) {
  const url = new URL(head.split('\n')[4]);
  const question = ['GET', url.searchParams.get('url'), 'id', '', '', '3000', '1000', ''].join('\n');
  switch (url.pathname) {
    case '/panic': throw new WebAssembly.RuntimeError('unreachable');
    case '/settle':
      holdPromise(id, new Promise((resolve, reject) => setTimeout(url.search ? reject : resolve, 2000, 'settled')));
      return 'S';
    case '/ask': return `A${question}`;
    case '/forward': return `F1\n${url.searchParams.get('url')}\n3000\n1\nx-secret\nx-said\nyes`;
    case '/forward-badly': return 'F1\nno URL\n3000\n0';
    default: return `R200\n2\nx-generation\n${generation}\nbody\nof two lines`;
  }
}

export function resume(id, status, text) {
  if (text === '' && status < 2) return `R200\n2\nx-status\n${status}\n${heldValue(id)}`;
  return text === '' && status === 200 ? 'D0x-dressed\nyes' : `R200\n2\nx-status\n${status}\n${text}`;
}
