import type { MiddlewareHandler } from 'hono';
import type { Permit } from './index.js';

/**
 * Returns a middleware that lets permitted requests pass. Handlers find the permit by
 * `context.get('permit')`, and the request without its token.
 *
 * @param policy The policy, as JSON or parsed: what `portcullis build` writes into build/policy.js.
 */
export declare function portcullis(policy: string | object): MiddlewareHandler<{
  Variables: { permit: Permit };
}>;
