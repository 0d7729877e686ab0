// One session for all tabs of this page. The refresh token is in a cookie that no script can read.
import { Session } from '/portcullis-client.js';

const chosen = new URLSearchParams(location.search).get('edge');
const edge = new URL(chosen ?? 'http://127.0.0.1:8787').origin;
const session = new Session({ url: edge, cookie: true });
const state = document.querySelector('#state');
const show = (text) => { state.textContent = text; };

document.querySelector('#login').addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  try {
    await session.login(form.get('username'), form.get('password'));
    show('logged in');
  } catch (error) {
    show(`not logged in: ${error.code ?? error.message}`);
  }
});

document.querySelector('#call').addEventListener('click', async () => {
  const response = await session.fetch(`${edge}/api/hello`);
  show(`${response.status} ${await response.text()}`);
});

document.querySelector('#logout').addEventListener('click', () => session.logout());
session.addEventListener('ended', ({ detail }) => show(`the session ended: ${detail.code}`));
