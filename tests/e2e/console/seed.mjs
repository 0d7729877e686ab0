// Fills the database of a running auth service with many users, sessions and events.
import { DatabaseSync } from 'node:sqlite';
import { HOSTILE } from './harness.mjs';

const EVENTS = ['login', 'login_failed', 'logout', 'session_revoked', 'key_created', 'country_new', 'user_disabled'];
const DEVICES = [
  'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1',
  'okhttp/4.12.0', HOSTILE,
];
const BATCH = 5000;

/** Adds rows in short transactions, which leave the service time for its own. */
function insert(database, statement, count, row) {
  const prepared = database.prepare(statement);
  for (let first = 0; first < count; first += BATCH) {
    database.exec('BEGIN IMMEDIATE');
    for (let index = first; index < Math.min(first + BATCH, count); index += 1) prepared.run(...row(index));
    database.exec('COMMIT');
  }
}

/** Returns the ids of a user with `sessions` sessions, and of one of them. */
export function seed(url, { users = 10_000, sessions = 1000, events = 100_000 } = {}) {
  const database = new DatabaseSync(url.replace('sqlite://', ''));
  database.exec('PRAGMA busy_timeout = 20000');
  const now = Math.floor(Date.now() / 1000);
  const pad = (prefix, index) => prefix + String(index).padStart(22 - prefix.length, '0');
  insert(database, `INSERT INTO users (id, username, password_hash, scope, created_at) VALUES (?, ?, 'none', 'api:read', ?)`, users,
    (index) => [pad('seedu', index), `person-${String(index).padStart(5, '0')}@example.com`, now - 8_640_000 + index]);
  const user = pad('seedu', 7);
  insert(database, `INSERT INTO sessions (id, user_id, client_id, scope, created_at, expires_at, refreshed_at, device, address)
      VALUES (?, ?, 'web', 'api:read', ?, ?, ?, ?, ?)`, sessions,
    (index) => [pad('seeds', index), user, now - index * 60, now + 864_000, now - index * 5, DEVICES[index % 4], `203.0.113.${index % 250}`]);
  insert(database, `INSERT INTO refresh_tokens (hash, session_id, created_at, spent_at) VALUES (?, ?, ?, ?)`, sessions * 3,
    (index) => [pad('seedr', index), pad('seeds', index % sessions), now - index, index < sessions ? null : now - index]);
  insert(database, `INSERT INTO audit (id, at, event, actor, user_id, session_id, address, device, request_id, detail)
      VALUES (?, ?, ?, 'user', ?, ?, ?, ?, ?, ?)`, events,
    (index) => [pad('seeda', index), now - index * 30, EVENTS[index % EVENTS.length], pad('seedu', index % users), pad('seeds', index % sessions),
      `198.51.100.${index % 250}`, DEVICES[index % 4], pad('seedq', index), index % 3 ? '' : `detail ${index}`]);
  database.close();
  return { user, session: pad('seeds', 3) };
}
