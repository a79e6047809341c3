/**
 * Protects an API in Node: checks the credential of each request with Latchkey and says who calls. Stands alone, so that it can be
 * published: imports nothing but Node.
 *
 * Answers are remembered while a feed tells within a second that something was withdrawn; without the feed every request
 * is asked about.
 */
import { createHash } from 'node:crypto';
/** Answers remembered at once. */
const CAPACITY = 10_000;
/** Milliseconds without a sign of life after which the feed counts as dead. */
const FEED_SILENCE = 12_000;
const FEED_RETRY = 1_000;
/** Characters of a line of the feed, at most. */
const LONGEST_LINE = 10_000;
export function createResourceServer(options) {
    const { issuer, remember = 30, timeout = 2_000 } = options;
    const authorization = `Basic ${basic(options.clientId, options.clientSecret)}`;
    const memory = createMemory(remember);
    const feed = remember > 0 ? watchFeed({ url: `${issuer}/identity/introspect/feed`, authorization, memory }) : undefined;
    async function introspect(token) {
        const response = await fetch(`${issuer}/identity/introspect`, {
            method: 'POST',
            headers: { authorization, accept: 'application/json' },
            body: new URLSearchParams({ token }),
            signal: AbortSignal.timeout(timeout),
            redirect: 'error',
        });
        if (!response.ok)
            throw new Error(`introspection answered ${response.status}`);
        return toCaller((await response.json()));
    }
    /** What is remembered, or the answer to a question. An answer given before a withdrawal is not remembered after it. */
    async function callerOf(token) {
        const known = memory.find(token);
        if (known)
            return known;
        const generation = memory.generation();
        const caller = await introspect(token);
        if (caller)
            memory.keep(token, caller, generation);
        return caller;
    }
    async function decide(header, { scope = [] } = {}) {
        const token = tokenOf(header);
        if (token === undefined)
            return { refusal: refusal(issuer, 'invalid_token') };
        try {
            const caller = await callerOf(token);
            if (!caller)
                return { refusal: refusal(issuer, 'invalid_token') };
            const demanded = typeof scope === 'string' ? scope.split(' ').filter(Boolean) : scope;
            const may = demanded.every((name) => caller.scope.includes(name));
            return may ? { caller } : { refusal: refusal(issuer, 'insufficient_scope') };
        }
        catch {
            return { refusal: refusal(issuer, 'temporarily_unavailable') };
        }
    }
    return {
        decide,
        close: () => feed?.close(),
        async node(request, response, demand) {
            const { caller, refusal: refused } = await decide(single(request.headers.authorization), demand);
            if (caller)
                return caller;
            answer(response, refused);
            return undefined;
        },
        koa: (demand) => async function requireCredential(ctx, next) {
            const { caller, refusal: refused } = await decide(single(ctx.headers.authorization), demand);
            if (caller) {
                ctx.state.auth = caller;
                await next();
                return;
            }
            ctx.status = refused.status;
            ctx.set(refused.headers);
            ctx.body = refused.body;
        },
        express: (demand) => function requireCredential(request, response, next) {
            decide(single(request.headers.authorization), demand).then(({ caller, refusal: refused }) => {
                if (!caller)
                    return answer(response, refused);
                request.auth = caller;
                next();
            }, next);
        },
        fastify: (demand) => async function requireCredential(request, reply) {
            const { caller, refusal: refused } = await decide(single(request.headers.authorization), demand);
            if (!caller)
                return reply.code(refused.status).headers(refused.headers).send(refused.body);
            request.auth = caller;
            return undefined;
        },
        hono: (demand) => async function requireCredential(context, next) {
            const { caller, refusal: refused } = await decide(context.req.header('authorization'), demand);
            if (!caller)
                return context.json(refused.body, refused.status, refused.headers);
            context.set('auth', caller);
            await next();
            return undefined;
        },
    };
}
function toCaller({ active, sub, client_id: clientId, scope = '', token_id: tokenId, exp, }) {
    const subject = sub ?? clientId;
    if (active !== true || subject === undefined)
        return undefined;
    return {
        subject,
        scope: scope.split(' ').filter(Boolean),
        ...(clientId === undefined ? {} : { clientId }),
        ...(tokenId === undefined ? {} : { tokenId }),
        ...(exp === undefined ? {} : { expiresAt: exp }),
    };
}
/** Answers by the digest of their token, so that no token stays in memory. */
function createMemory(seconds) {
    const entries = new Map();
    let generation = 0;
    let isUsable = false;
    const keyOf = (token) => createHash('sha256').update(token).digest('base64');
    return {
        generation: () => generation,
        find(token) {
            const entry = isUsable ? entries.get(keyOf(token)) : undefined;
            return entry && entry.until > performance.now() ? entry.caller : undefined;
        },
        keep(token, caller, asked) {
            if (!isUsable || asked !== generation)
                return;
            const oldest = entries.size >= CAPACITY ? entries.keys().next().value : undefined;
            if (oldest !== undefined)
                entries.delete(oldest);
            const left = caller.expiresAt === undefined ? Number.POSITIVE_INFINITY : caller.expiresAt * 1000 - Date.now();
            entries.set(keyOf(token), { caller, until: performance.now() + Math.min(seconds * 1000, left) });
        },
        reset(usable) {
            entries.clear();
            generation += 1;
            isUsable = usable;
        },
    };
}
/** Keeps the feed open; every event empties the memory, and so does losing the feed, until it is back. */
function watchFeed({ url, authorization, memory }) {
    const closed = new AbortController();
    async function listen() {
        const silent = new AbortController();
        const timer = setTimeout(() => silent.abort(), FEED_SILENCE);
        timer.unref();
        const signal = AbortSignal.any([closed.signal, silent.signal]);
        try {
            // Compression would hold back what is due now.
            const headers = { authorization, accept: 'text/event-stream', 'accept-encoding': 'identity' };
            const response = await fetch(url, { headers, signal, redirect: 'error' });
            if (!response.ok || !response.body)
                return;
            const read = createEventReader((type) => {
                if (type === 'withdrawal')
                    memory.reset(true);
            });
            for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
                timer.refresh();
                read(chunk);
            }
        }
        finally {
            clearTimeout(timer);
            memory.reset(false);
        }
    }
    async function keepListening() {
        while (!closed.signal.aborted) {
            await listen().catch(() => undefined);
            await new Promise((resolve) => setTimeout(resolve, FEED_RETRY).unref());
        }
    }
    void keepListening();
    return { close: () => closed.abort() };
}
/** Reads server-sent events (WHATWG HTML §9.2.6) that come in pieces of any size; says the type of each. */
function createEventReader(dispatch) {
    let line = '';
    let event = { type: '', hasData: false };
    let isAfterReturn = false;
    function endLine() {
        const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
        if (line === '') {
            if (event.hasData)
                dispatch(event.type);
            event = { type: '', hasData: false };
        }
        else if (field === 'event')
            event.type = value;
        else if (field === 'data')
            event.hasData = true;
        line = '';
    }
    return function read(piece) {
        for (const character of piece) {
            const isEnd = character === '\r' || (character === '\n' && !isAfterReturn);
            if (isEnd)
                endLine();
            else if (character !== '\n')
                line += character;
            isAfterReturn = character === '\r';
        }
        if (line.length > LONGEST_LINE)
            throw new Error('this is no feed');
    };
}
const REFUSALS = {
    invalid_token: [401, '401', 'Missing or invalid token.', 'the token is missing, unknown, expired or revoked'],
    insufficient_scope: [403, '403', 'The token may not do this.', 'the token lacks a demanded scope'],
    temporarily_unavailable: [503, '503', 'Try again in a moment.', 'the token cannot be checked right now'],
};
function refusal(issuer, error) {
    const [status, errorCode, errorMsg, description] = REFUSALS[error];
    const challenge = `Bearer realm="${issuer}", error="${error}", Token realm="${issuer}"`;
    return {
        status,
        headers: status === 503 ? { 'Retry-After': '2' } : { 'WWW-Authenticate': challenge },
        body: { error, error_description: description, errorCode, errorMsg },
    };
}
function answer(response, { status, headers, body }) {
    response.statusCode = status;
    for (const [name, value] of Object.entries({ ...headers, 'Content-Type': 'application/json' }))
        response.setHeader(name, value);
    response.end(JSON.stringify(body));
}
function tokenOf(header) {
    return /^(?:bearer|token) +([A-Za-z0-9._~+/-]+=*)$/i.exec(header ?? '')?.[1];
}
function single(header) {
    return Array.isArray(header) ? undefined : header;
}
function basic(id, secret) {
    return Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64');
}
