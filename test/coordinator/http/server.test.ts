// The HTTP endpoint: who may ask, by which name, what can be asked for, and how each refusal is said.

import { afterEach, describe, expect, test } from "bun:test";
import { ClawError } from "../../../src/common/errors.ts";
import { LIMITS } from "../../../src/common/limits.ts";
import { systemRuntime } from "../../../src/common/runtime.ts";
import { VERSION } from "../../../src/common/version.ts";
import type { QueryRequest, QueryType } from "../../../src/communication/queries.ts";
import type { HttpSource } from "../../../src/coordinator/http/api.ts";
import { httpApp } from "../../../src/coordinator/http/app.ts";
import { type HttpServer, serveHttp } from "../../../src/coordinator/http/server.ts";
import { Streams } from "../../../src/coordinator/http/streams.ts";

const TOKEN = "t".repeat(43);
const AUTHORIZED = { authorization: `Bearer ${TOKEN}` };
const API = ["/api/v1/cluster", "/api/v1/nodes", "/api/v1/tasks", "/metrics", "/openapi.json", "/api/v1/no-such"];

interface Answered {
  status: number;
  body: unknown;
  headers: Headers;
}

interface Endpoint {
  get(path: string, headers?: Record<string, string>): Promise<Answered>;
  /** What the list was asked for. */
  asked: QueryRequest<"task.list">[];
  bugs: unknown[];
}

function nodesBehind({ after = "", limit = 9 }: QueryRequest<"node.list">): object {
  const nodes = [1, 2, 3].map((at) => ({ id: `node_${at}`, registered_at: 0 })).filter(({ id }) => id > after);
  return { nodes: nodes.slice(0, limit), more: nodes.length > limit };
}

function endpoint(source: Partial<HttpSource> = {}, host = "127.0.0.1"): Endpoint {
  const asked: Endpoint["asked"] = [];
  const bugs: unknown[] = [];
  const answers = {
    runtime: systemRuntime,
    failing: () => [],
    metrics: () => "claw_leader 1",
    query: async (type: QueryType, request: QueryRequest<"task.list">) => {
      await Promise.resolve();
      if (type === "cluster.status") return { status: { cluster: "c", started_at: 0, waiting: [], placement: {} } };
      if (type === "node.list") return nodesBehind(request as unknown as QueryRequest<"node.list">);
      asked.push(request);
      return { tasks: [], cursor: "7.0" };
    },
    failed: (error: unknown) => void bugs.push(error),
    ...source,
  } as unknown as HttpSource;
  const app = httpApp(answers, TOKEN, host, new Streams());
  const get = async (path: string, headers: Record<string, string> = AUTHORIZED): Promise<Answered> => {
    const response = await app.request(path, { headers: { host: "localhost:7433", ...headers } });
    return { status: response.status, headers: response.headers, body: await response.json() };
  };
  return { get, asked, bugs };
}

function errorOf({ body }: Answered): { code: string; message: string; hint?: string; field?: string } {
  return (body as { error: { code: string; message: string } }).error;
}

test("each route describes every status that it may answer with, and the header that it goes by", async () => {
  const { get } = endpoint();
  type Described = Record<string, { responses?: object; parameters?: { name: string; in: string }[] }>;
  const { paths } = (await get("/openapi.json")).body as { paths: Record<string, Described> };
  for (const [path, methods] of Object.entries(paths)) {
    if (!path.startsWith("/api/")) continue;
    for (const [method, { responses }] of Object.entries(methods)) {
      const described = Object.keys(responses ?? {});
      expect([method, path, described]).toEqual([method, path, expect.arrayContaining(["413", "501", "507"])]);
    }
  }
  const { parameters = [] } = paths["/api/v1/events"]?.["get"] ?? {};
  expect(parameters.filter((one) => one.in === "header").map(({ name }) => name)).toEqual(["Last-Event-ID"]);
});

test("what is wrong with a request is said in words, with what was meant", async () => {
  const { get } = endpoint();
  for (const query of ["status=runing", "status=failed&status=runing"]) {
    const error = errorOf(await get(`/api/v1/tasks?${query}`));
    expect(error).toMatchObject({ code: "bad_request", field: "status", hint: "did you mean running?" });
    expect(error.message).toStartWith("status must be pending, scheduled, running");
  }
  const app = httpApp({ runtime: systemRuntime } as unknown as HttpSource, TOKEN, "127.0.0.1", new Streams());
  const wrong: [body: object, message: string][] = [
    [{ command: [] }, "command must not be empty"],
    [{ command: "ls" }, "command must be a list"],
    [{ command: ["ls"], name: "x".repeat(LIMITS.name_chars + 1) }, `name is too long: at most ${LIMITS.name_chars}`],
    [{ command: ["ls"], priority: "hihg" }, "priority must be critical, high, normal or low"],
  ];
  for (const [body, message] of wrong) {
    const headers = { ...AUTHORIZED, host: "localhost", "content-type": "application/json" };
    const response = await app.request("/api/v1/tasks", { method: "POST", headers, body: JSON.stringify(body) });
    const { error } = (await response.json()) as { error: { message: string } };
    expect([response.status, error.message]).toEqual([400, message]);
  }
});

describe("without a token", () => {
  test("health is told, and whether it serves, and nothing else", async () => {
    const { get } = endpoint();
    for (const path of ["/health", "/healthz"]) {
      const { status, body } = await get(path, {});
      expect([status, body]).toEqual([200, { ok: true, status: "live", version: VERSION }]);
    }
    const ready = await get("/readyz", {});
    expect([ready.status, ready.body]).toEqual([200, { ready: true, failing: [] }]);
    for (const path of API) {
      const refused = await get(path, {});
      expect([refused.status, errorOf(refused).code]).toEqual([401, "unauthorized"]);
      expect(refused.headers.get("www-authenticate")).toBe("Bearer");
      expect(errorOf(refused).hint).toContain("http-token");
    }
  });

  test("a wrong one is as good as none", async () => {
    const { get } = endpoint();
    const wrong = ["", "Bearer", "Bearer ", TOKEN, `Basic ${TOKEN}`, `Bearer ${TOKEN}x`, `Bearer ${TOKEN.slice(1)}`];
    for (const authorization of [...wrong, `Bearer ${"u".repeat(43)}`]) {
      expect([authorization, (await get("/api/v1/cluster", { authorization })).status]).toEqual([authorization, 401]);
    }
    expect((await get("/api/v1/no-such", {})).status).toBe(401);
  });

  test("not serving is 503 with what is missing, and alive all the same", async () => {
    const { get } = endpoint({ failing: () => ["not leading"] });
    const { status, body } = await get("/readyz", {});
    expect([status, body]).toEqual([503, { ready: false, failing: ["not leading"] }]);
    expect((await get("/healthz", {})).status).toBe(200);
  });
});

describe("with the token", () => {
  test("there are the status, the nodes and the tasks", async () => {
    const { get, asked } = endpoint();
    const answers = await Promise.all(API.slice(0, 3).map((path) => get(path)));
    const [one, two, three] = [1, 2, 3].map((at) => ({ id: `node_${at}`, registered_at: "1970-01-01T00:00:00.000Z" }));
    expect(answers.map(({ status, body }) => [status, body])).toEqual([
      [200, { cluster: "c", started_at: "1970-01-01T00:00:00.000Z", waiting: [], placement: {} }],
      [200, { nodes: [one, two, three] }],
      [200, { tasks: [], cursor: "7.0" }],
    ]);
    expect((await get("/api/v1/nodes?limit=2")).body).toEqual({ nodes: [one, two], cursor: "node_2" });
    expect((await get("/api/v1/nodes?limit=2&cursor=node_2")).body).toEqual({ nodes: [three] });
    expect(answers.every(({ headers }) => headers.get("cache-control") === "no-store")).toBe(true);
    expect(asked).toEqual([{ limit: 100 }]);
  });

  test("the list takes what the command takes", async () => {
    const { get, asked } = endpoint();
    const query =
      "limit=5&cursor=9.3&status=running&status=failed&priority=high&name=n&label=a=b%3Dc&label=d=&since=2026-11-24T09:00:00Z";
    expect((await get(`/api/v1/tasks?${query}`)).status).toBe(200);
    expect(asked).toEqual([
      {
        limit: 5,
        cursor: "9.3",
        statuses: ["running", "failed"],
        priority: "high",
        name: "n",
        labels: { a: "b=c", d: "" },
        since: Date.UTC(2026, 10, 24, 9),
      },
    ]);
    expect((await get(`/api/v1/tasks?limit=${LIMITS.list_rows}`)).status).toBe(200);
  });

  test("what it cannot read is refused, and the field is named", async () => {
    const { get, asked } = endpoint();
    const wrong: [string, string][] = [
      ["limit=0", "limit"],
      ["limit=", "limit"],
      ["limit=1e1", "limit"],
      ["limit=-1", "limit"],
      ["limit=1.5", "limit"],
      [`limit=${LIMITS.list_rows + 1}`, "limit"],
      ["status=runing", "status"],
      ["status=", "status"],
      ["priority=urgent", "priority"],
      ["label=a", "label"],
      ["since=1h", "since"],
      ["label==b", "label"],
      [`cursor=${"1".repeat(65)}`, "cursor"],
      ["statu=running", "statu"],
      ["number=1", "number"],
      ["of=&of=x", "of"],
      ["priority=high&priority=low", "priority"],
    ];
    for (const [query, field] of wrong) {
      const answer = await get(`/api/v1/tasks?${query}`);
      const { code, field: named } = errorOf(answer);
      expect([query, answer.status, code, named]).toEqual([query, 400, "bad_request", field]);
    }
    expect(errorOf(await get("/api/v1/tasks?statu=running")).hint).toContain("status");
    expect(errorOf(await get("/api/v1/tasks?zzzzzzzz=1")).hint).toContain("limit, cursor");
    for (const path of ["/api/v1/cluster", "/api/v1/nodes/n", "/api/v1/tasks/1", "/metrics"]) {
      expect([path, errorOf(await get(`${path}?limt=1`)).field]).toEqual([path, "limt"]);
    }
    expect(asked).toEqual([]);
  });

  test("one that does not lead says so, and a refusal keeps its status", async () => {
    const { get, bugs } = endpoint({
      query: (type) => {
        if (type === "cluster.status") throw new ClawError("not_leading", "this coordinator is not leading");
        return Promise.reject(new ClawError("bad_request", "no such cursor", { field: "cursor" }));
      },
    });
    const status = await get("/api/v1/cluster");
    expect([status.status, errorOf(status)]).toEqual([
      503,
      { code: "not_leading", message: "this coordinator is not leading", hint: expect.any(String) },
    ]);
    expect([(await get("/api/v1/tasks?cursor=x")).status, bugs]).toEqual([400, []]);
  });

  test("a bug is answered, and told to whoever runs the coordinator", async () => {
    const bug = new Error("a bug");
    const { get, bugs } = endpoint({
      query: () => Promise.reject(bug),
    });
    expect([(await get("/api/v1/nodes")).status, bugs]).toEqual([500, [bug]]);
  });

  test("nothing is anywhere else", async () => {
    const { get } = endpoint();
    for (const path of ["/", "/api/v1/no-such", "/health/x"]) {
      const answer = await get(path);
      expect([path, answer.status, errorOf(answer).code]).toEqual([path, 404, "not_found"]);
      expect(errorOf(answer).message).toContain(path);
    }
  });
});

describe("the name that it is called by", () => {
  const OWN = ["localhost", "LOCALHOST:7433", "127.0.0.1", "127.0.0.1:7433", "127.8.0.1", "[::1]", "[::1]:7433"];
  const FOREIGN = [
    "",
    "evil.example",
    "evil.example:7433",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "10.0.0.1",
  ];

  test("is a loopback name where it listens on loopback: no page can reach it by a name of its own", async () => {
    for (const host of ["127.0.0.1", "localhost", "::1"]) {
      const { get } = endpoint({}, host);
      for (const name of OWN) expect([name, (await get("/health", { host: name })).status]).toEqual([name, 200]);
      for (const name of FOREIGN) {
        const answer = await get("/api/v1/cluster", { ...AUTHORIZED, host: name });
        expect([name, answer.status, errorOf(answer).field]).toEqual([name, 403, "host"]);
        expect((await get("/health", { host: name })).status).toBe(403);
      }
    }
  });

  test("is anybody's choice where it was opened to others", async () => {
    for (const host of ["0.0.0.0", "10.0.0.5", "claw.example"]) {
      const { get } = endpoint({}, host);
      for (const name of ["claw.example:7433", "10.0.0.5", "localhost"]) {
        expect((await get("/api/v1/cluster", { ...AUTHORIZED, host: name })).status).toBe(200);
        expect((await get("/api/v1/cluster", { host: name })).status).toBe(401);
      }
    }
  });
});

describe("a server", () => {
  const servers: HttpServer[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.stop();
  });

  function serve(host: string, port: number): HttpServer {
    const source = { failing: () => [] } as unknown as HttpSource;
    const server = serveHttp(source, TOKEN, host, port);
    servers.push(server);
    return server;
  }

  test("listens on a free port where the wanted one is taken, and says where", async () => {
    const first = serve("127.0.0.1", 0);
    const port = Number(new URL(first.url).port);
    const second = serve("127.0.0.1", port);
    expect(second.url).not.toBe(first.url);
    for (const { url } of [first, second]) expect((await fetch(`${url}/health`)).status).toBe(200);
    await first.stop();
    expect(await fetch(`${first.url}/health`).catch(() => "gone")).toBe("gone");
    expect(serve("127.0.0.1", port).url).toBe(first.url);
  });

  test("that cannot listen says where and what to change", () => {
    const refused = (() => {
      try {
        return serve("192.0.2.1", 0);
      } catch (error) {
        return error;
      }
    })();
    expect(refused).toBeInstanceOf(ClawError);
    expect(refused).toMatchObject({ code: "bad_config", field: "http.host" });
    expect((refused as ClawError).message).toContain("192.0.2.1");
  });
});
