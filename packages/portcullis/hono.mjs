// Middleware for hono.

import { gate } from './worker/gate.js';

/**
 * Returns a middleware that lets permitted requests pass. Handlers find the permit as `permit`, and
 * the request without its token.
 * @param {string | object} policy
 */
export function portcullis(policy) {
  return async (context, next) => {
    const permit = await gate(context.env, policy).check(context.req.raw, context.executionCtx);
    if (permit instanceof Response) return permit;
    context.set('permit', permit);
    context.req.raw = permit.request;
    await next();
    const response = await permit.finish(context.res);
    // hono would add the headers of the old response to those of the new one.
    context.res = undefined;
    context.res = response;
    return undefined;
  };
}
