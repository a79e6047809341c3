export interface ResourceServerOptions {
    /** Where Latchkey is, such as https://id.example.com */
    issuer: string;
    /** The API's own app, made with `app create --introspection`. */
    clientId: string;
    clientSecret: string;
    /** Seconds an answer is remembered at most; 0 for never. Default 30. */
    remember?: number;
    /** Milliseconds to wait for an answer. Default 2000. */
    timeout?: number;
}
/** Who calls, and what they may do. */
export interface Caller {
    /** The person's id, or the app's when it acts for itself. */
    subject: string;
    scope: readonly string[];
    clientId?: string;
    tokenId?: string;
    /** Seconds since 1970; absent when the credential never expires. */
    expiresAt?: number;
}
/** What to answer a request that may not pass. */
export interface Refusal {
    status: 401 | 403 | 503;
    headers: Record<string, string>;
    body: {
        error: string;
        error_description: string;
        errorCode: string;
        errorMsg: string;
    };
}
export type Decision = {
    caller: Caller;
    refusal?: never;
} | {
    caller?: never;
    refusal: Refusal;
};
/** What every request must be allowed; a string or a list of scopes. */
export interface Demand {
    scope?: string | readonly string[];
}
type Headers = Record<string, string | string[] | undefined>;
type Next = () => Promise<unknown>;
interface NodeRequest {
    headers: Headers;
    auth?: Caller;
}
interface NodeResponse {
    statusCode: number;
    setHeader(name: string, value: string): unknown;
    end(body: string): unknown;
}
interface KoaContext {
    headers: Headers;
    state: Record<string, unknown>;
    status: number;
    body: unknown;
    set(headers: Record<string, string>): void;
}
interface FastifyReply {
    code(status: number): FastifyReply;
    headers(headers: Record<string, string>): FastifyReply;
    send(body: unknown): unknown;
}
interface HonoContext {
    req: {
        header(name: string): string | undefined;
    };
    set(name: string, value: unknown): void;
    json(body: unknown, status: number, headers: Record<string, string>): unknown;
}
export interface ResourceServer {
    /** Decides about the value of an `Authorization` header; for whatever has no middleware below. */
    decide(authorization: string | undefined, demand?: Demand): Promise<Decision>;
    /** `http.createServer`: answers and resolves to undefined when the request may not pass. */
    node(request: NodeRequest, response: NodeResponse, demand?: Demand): Promise<Caller | undefined>;
    /** Koa; the caller is `ctx.state.auth`. */
    koa(demand?: Demand): (ctx: KoaContext, next: Next) => Promise<void>;
    /** Express and Connect; the caller is `req.auth`. */
    express(demand?: Demand): (request: NodeRequest, response: NodeResponse, next: (error?: unknown) => void) => void;
    /** A `preHandler` for Fastify; the caller is `request.auth`. */
    fastify(demand?: Demand): (request: NodeRequest, reply: FastifyReply) => Promise<unknown>;
    /** Hono; the caller is `c.get('auth')`. */
    hono(demand?: Demand): (context: HonoContext, next: Next) => Promise<unknown>;
    /** Closes the feed. */
    close(): void;
}
export declare function createResourceServer(options: ResourceServerOptions): ResourceServer;
export {};
