/**
 * A request of this server to itself, answered in this process by the same handler as everybody else's: behind a proxy or in a
 * container it need not be able to reach its own public address.
 */
import type { RequestListener } from 'node:http';

export interface InProcessRequest {
  path: string;
  headers?: Record<string, string>;
  /** Sent with POST; without one it is a GET. */
  form?: Record<string, string>;
  /** On whose behalf, as limits and the audit trail see it. */
  address: string;
  userAgent?: string | undefined;
}

export type InProcess = (request: InProcessRequest) => Promise<{ status: number; body: unknown }>;

/** @param handler Asked for at the first request, when everything is mounted. */
export function createInProcess(handler: () => RequestListener): InProcess {
  let handle: RequestListener | undefined;
  return async function request({ path, headers = {}, form, address, userAgent = '' }) {
    handle ??= handler();
    // Loaded when it is needed: it takes memory that most servers never use.
    const { inject } = await import('light-my-request');
    const type = form ? { 'content-type': 'application/x-www-form-urlencoded' } : {};
    const response = await inject(handle, {
      method: form ? 'POST' : 'GET',
      url: path,
      remoteAddress: address,
      headers: { accept: 'application/json', 'user-agent': userAgent, ...type, ...headers },
      ...(form ? { payload: new URLSearchParams(form).toString() } : {}),
    });
    return { status: response.statusCode, body: parsed(response.payload) };
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
