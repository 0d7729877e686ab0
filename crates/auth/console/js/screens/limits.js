import { html } from '../ui.js';
import { Page } from '../components/page.js';

export default function Screen() {
  return html`<${Page} title="limits" />`;
}
