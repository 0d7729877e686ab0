// Light, dark, or as the system has it.
import { html, createStore, useStore } from '../ui.js';
import { Icon } from './icon.js';

const KEY = 'console.theme';
const system = matchMedia('(prefers-color-scheme: dark)');
const chosen = createStore(document.documentElement.dataset.theme ?? 'auto');

const shown = () => (chosen.get() === 'auto' ? (system.matches ? 'dark' : 'light') : chosen.get());

/** The theme that is shown: `light` or `dark`. Charts are drawn again when it changes. */
export const theme = createStore(shown());
system.addEventListener('change', () => theme.set(shown()));

function choose(value) {
  if (value === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = value;
  try {
    localStorage.setItem(KEY, value);
  } catch {
    // Storage is forbidden: the choice lasts until the page is left.
  }
  chosen.set(value);
  theme.set(shown());
}

const NEXT = { auto: 'light', light: 'dark', dark: 'auto' };
const NAMES = { auto: 'as the system', light: 'light', dark: 'dark' };

/** The button that changes the theme. */
export function ThemeSwitch() {
  const value = useStore(chosen);
  const label = `Theme: ${NAMES[value]}. Change to ${NAMES[NEXT[value]]}.`;
  return html`<button type="button" class="icon-button" title=${label} aria-label=${label}
    onClick=${() => choose(NEXT[value])}><${Icon} name=${value} /></button>`;
}
