// Icons: strokes on a grid of 16.
import { html } from '../ui.js';

const PATHS = {
  now: 'M1.5 8.5h3l2-5 3 9 2-4h3',
  refusals: 'M8 1.5l5.5 2v4c0 3.5-2.3 5.8-5.5 7-3.2-1.2-5.5-3.5-5.5-7v-4zM5.7 5.7l4.6 4.6M10.3 5.7l-4.6 4.6',
  limits: 'M2 12.5a6.5 6.5 0 1 1 12 0M8 11l3-4',
  users: 'M6 7.5a2.7 2.7 0 1 0 0-5.4 2.7 2.7 0 0 0 0 5.4zM1.5 14c0-2.8 2-4.5 4.5-4.5s4.5 1.7 4.5 4.5M10.5 2.4a2.7 2.7 0 0 1 0 4.9M12 9.8c1.5.6 2.5 2.1 2.5 4.2',
  keys: 'M5.2 14a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4zM7.5 8.5l6-6M11 5l2 2M9 7l1.3 1.3',
  usage: 'M2 14V9M6 14V5M10 14V7.5M14 14V2.5',
  audit: 'M3.5 1.5h7l2.5 2.5v10.5h-9.5zM5.8 6.5h5M5.8 9h5M5.8 11.5h3',
  policy: 'M3 4h4M3 8h10M3 12h6M10.5 4h2.5M12 12h1',
  close: 'M4 4l8 8M12 4l-8 8',
  copy: 'M5.5 5.5h8v8h-8zM3 10.5h-.5v-8h8v.5',
  check: 'M3 8.5l3.5 3.5L13 4.5',
  warn: 'M8 2L15 14H1zM8 6.5v3.5M8 12v.1',
  info: 'M8 14.5a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM8 7.5V11M8 5v.1',
  search: 'M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.8 10.8L14 14',
  left: 'M10 3L5 8l5 5',
  right: 'M6 3l5 5-5 5',
  down: 'M3 6l5 5 5-5',
  menu: 'M2 4h12M2 8h12M2 12h12',
  table: 'M2 3h12v10H2zM2 6.5h12M6.5 6.5V13',
  chart: 'M2 2v12h12M4.5 10.5l3-3.5 2.5 2 3.5-5',
  light: 'M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1',
  dark: 'M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7z',
  auto: 'M8 14.5a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM8 1.5v13M8 4.5c2 0 3.5 1.5 3.5 3.5s-1.5 3.5-3.5 3.5',
  out: 'M6 2.5H2.5v11H6M7 8h7M11 5l3 3-3 3',
  download: 'M8 2v8M4.5 7L8 10.5 11.5 7M2.5 13.5h11',
  reload: 'M13.5 8A5.5 5.5 0 1 1 11.5 3.8M11.5 1v3h-3',
  filter: 'M2 3h12l-4.5 5.5V13l-3-1.5v-3z',
  plus: 'M8 3v10M3 8h10',
};

/** An icon that says nothing of its own: the text next to it does, or the button's label. */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    <path d=${PATHS[name] ?? ''} />
  </svg>`;
}

/** The mark of the product: a portcullis in its arch. */
export function Logo() {
  return html`<svg class="logo" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    <path class="arch" d="M2.5 22V11a9.5 9.5 0 0 1 19 0v11" />
    <path class="bars" d="M7.5 7v12M12 5.5V20.5M16.5 7v12M6 10.5h12M6 15h12" />
  </svg>`;
}
