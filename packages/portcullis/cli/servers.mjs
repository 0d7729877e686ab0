// The processes of `portcullis dev`.

import { spawn } from 'node:child_process';
import { createWriteStream, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { UsageError } from './error.mjs';

/** Processes that are started one by one, and stopped together. */
export class Servers {
  /** @type {{ name: string, child: import('node:child_process').ChildProcess }[]} */
  #running = [];
  /** @type {string | undefined} */
  #ended = undefined;
  #isStopping = false;
  /** @type {(status: number) => void} */
  #stopped = () => {};

  /** @param {string} logs the folder of the logs */
  constructor(logs) {
    this.logs = logs;
    for (const signal of /** @type {const} */ (['SIGHUP', 'SIGINT', 'SIGTERM'])) {
      process.once(signal, () => {
        this.#isStopping = true;
        this.#stopped(0);
      });
    }
  }

  /**
   * Throws if a port is taken, and names the flag that changes it.
   * @param {Record<string, number>} ports
   * @param {string[]} unused
   */
  async checkPorts(ports, unused) {
    /** @type {string[]} */
    const taken = [];
    for (const [flag, port] of Object.entries(ports)) {
      if (!unused.includes(flag) && !(await isFree(port))) {
        taken.push(`\n  port ${port} is taken; choose another with --${flag}`);
      }
    }
    if (taken.length > 0) throw new UsageError(`can't start:${taken.join('')}`);
  }

  /**
   * Starts a process, whose output goes to its log.
   * @param {string} name
   * @param {string} program
   * @param {string[]} words
   * @param {Record<string, string>} [variables]
   */
  start(name, program, words, variables = {}) {
    const log = createWriteStream(join(this.logs, `${name}.log`));
    const child = spawn(program, words, { env: { ...process.env, ...variables }, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout?.pipe(log);
    child.stderr?.pipe(log);
    child.on('error', (error) => this.#end(name, error.message));
    child.on('exit', (status) => this.#end(name, `it ended with status ${status}`));
    this.#running.push({ name, child });
  }

  /**
   * Waits until a URL answers with a good status.
   * @param {string} name
   * @param {string} url
   * @param {(status: number) => boolean} isGood
   * @param {number} withinMs
   */
  async waitFor(name, url, isGood, withinMs) {
    const begun = Date.now();
    for (;;) {
      const status = await fetch(url, { signal: AbortSignal.timeout(2000) }).then((response) => response.status, () => 0);
      if (isGood(status)) return;
      if (this.#isStopping) throw new UsageError('stopped');
      if (this.#ended !== undefined || Date.now() > begun + withinMs) {
        throw new UsageError(`${this.#ended ?? `${name} does not answer`}\n${this.#tail(name)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /**
   * Waits for a signal, or until a process ends. Returns the exit status.
   * @returns {Promise<number>}
   */
  async untilStopped() {
    const status = await new Promise((resolve) => {
      this.#stopped = resolve;
      if (this.#isStopping) resolve(0);
      if (this.#ended !== undefined) resolve(1);
    });
    if (this.#ended !== undefined) process.stderr.write(`${this.#ended}; see ${this.logs}\n`);
    return status;
  }

  /** Stops all processes, the last one first. */
  async stop() {
    this.#isStopping = true;
    for (const { child } of this.#running.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) continue;
      const exited = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
      await exited;
      clearTimeout(timer);
    }
  }

  /**
   * @param {string} name
   * @param {string} reason
   */
  #end(name, reason) {
    if (this.#isStopping) return;
    this.#ended ??= `${name}: ${reason}`;
    this.#stopped(1);
  }

  /** @param {string} name */
  #tail(name) {
    try {
      return readFileSync(join(this.logs, `${name}.log`), 'utf8').split('\n').slice(-20).join('\n');
    } catch {
      return '';
    }
  }
}

/**
 * @param {number} port
 * @returns {Promise<boolean>}
 */
function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

const STOP_MS_MAX = 5000;
