// The login form.
import { html, useEffect, useRef, useState } from './ui.js';
import { logIn } from './api.js';
import { seconds } from './format.js';
import { Icon, Logo } from './components/icon.js';
import { ThemeSwitch } from './components/theme.js';

const TEXTS = {
  scope_insufficient: () => 'This user may not use the console: it needs the scope console:read or console:act.',
  credentials_invalid: () => 'Username or password is wrong.',
  login_throttled: (error) => `Too many attempts. Try again in ${seconds(error.retryAfter ?? 1)}.`,
};

export function Login({ notice }) {
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const first = useRef(null);
  const second = useRef(null);
  useEffect(() => {
    document.title = 'Log in · Portcullis';
    first.current?.focus();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError('');
    try {
      await logIn(username, password);
    } catch (failed) {
      setError(TEXTS[failed.code]?.(failed) ?? failed.message);
      setPassword('');
      setBusy(false);
      second.current?.focus();
    }
  };
  return html`<main class="login">
    <div class="login-box">
      <div class="login-brand"><${Logo} /><h1>Portcullis</h1><${ThemeSwitch} /></div>
      ${notice && html`<p class="form-note" role="status"><${Icon} name="info" /><span>${notice}</span></p>`}
      <form onSubmit=${submit}>
        <div class="field"><label for="username">Username</label>
          <input id="username" name="username" ref=${first} required autocomplete="username" spellcheck="false"
            autocapitalize="none" value=${username} onInput=${(event) => setUsername(event.currentTarget.value)} /></div>
        <div class="field"><label for="password">Password</label>
          <input id="password" name="password" ref=${second} type="password" required autocomplete="current-password"
            value=${password} onInput=${(event) => setPassword(event.currentTarget.value)} /></div>
        ${error && html`<p class="form-error" role="alert"><${Icon} name="warn" /><span>${error}</span></p>`}
        <button type="submit" class="button primary wide" disabled=${busy}>${busy ? 'Logging in…' : 'Log in'}</button>
      </form>
    </div>
    <p class="login-foot">Operator console. Logins and actions are audited.</p>
  </main>`;
}
