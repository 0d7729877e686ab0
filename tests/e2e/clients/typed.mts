// What a program that is checked by TypeScript may do with clients/js, and what not.
import { Session, SessionError } from '../../../clients/js/index.js';

const session = new Session({ cookie: true, aheadSeconds: 30, origins: ['https://api.example'] });
session.addEventListener('ended', (event) => console.log(event.detail.code.length));
const { scope } = await session.login('alice', 'password');
const token: string | null = await session.token();
const answer: Response = await session.fetch('/api/hello', { method: 'POST', body: scope });
console.log(token, answer.status, session.active);
try {
  await session.logout();
} catch (error) {
  if (error instanceof SessionError) console.log(error.code, error.status);
}
// @ts-expect-error: it is a boolean.
new Session({ cookie: 'yes' });
// @ts-expect-error: it can't be set.
session.active = true;
