// The HTTP endpoint of a coordinator that leads a cluster: what it tells is what the command line tells, and what it
// changes is changed for everybody. Each answer is held to the description in /openapi.json.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EventDocument, NodeDocument, PlanDocument, TaskDocument } from "../../../src/common/document-schemas.ts";
import { LIMITS } from "../../../src/common/limits.ts";
import { readEndpoint } from "../../../src/communication/endpoint.ts";
import { type Cluster, openCluster } from "../../cluster.ts";
import { until } from "../../until.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await openCluster({ workers: 1 });
});

afterAll(() => cluster.close());

function request(path: string, init: RequestInit = {}): Promise<Response> {
  const { http_url, token_file } = readEndpoint(cluster.paths.data_dir)!;
  const token = readFileSync(token_file!, "utf8").trim();
  return fetch(`${http_url}${path}`, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } });
}

function send(path: string, body?: unknown, method = "POST"): Promise<Response> {
  const json = { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  return request(path, { method, ...(body === undefined ? {} : json) });
}

async function ok<T>(response: Promise<Response>, status = 200): Promise<T> {
  const answered = await response;
  const document = await answered.json();
  expect([answered.status, document]).toEqual([status, document]);
  return document as T;
}

async function refused(response: Promise<Response>): Promise<{ status: number; code: string; field?: string }> {
  const answered = await response;
  const { error } = (await answered.json()) as { error: { code: string; message: string; field?: string } };
  expect(error.message.length).toBeGreaterThan(5);
  return { status: answered.status, code: error.code, ...(error.field === undefined ? {} : { field: error.field }) };
}

const submit = async (body: object): Promise<string> => {
  const { ids } = await ok<{ ids: string[] }>(send("/api/v1/tasks", body), 201);
  return ids[0]!;
};

const finished = (id: string): Promise<Task> => ok<Task>(request(`/api/v1/tasks/${id}?wait_ms=${LIMITS.wait_ms}`));

type Task = ReturnType<typeof TaskDocument.parse>;
type List = { tasks: Task[]; cursor?: string };

describe("tasks", () => {
  test("are submitted, waited for, shown and listed", async () => {
    const ids: string[] = [];
    for (const label of ["a", "b", "a"]) {
      const id = await submit({ command: ["echo", label], name: `task ${label}`, labels: { label } });
      const task = TaskDocument.parse(await finished(id));
      expect(task).toMatchObject({ id, status: "completed", exit_code: 0, stdout_tail: `${label}\n` });
      ids.unshift(id);
    }
    const first = await ok<List>(request("/api/v1/tasks?limit=2"));
    const second = await ok<List>(request(`/api/v1/tasks?limit=2&cursor=${first.cursor}`));
    expect([...first.tasks, ...second.tasks].map(({ id }) => id)).toEqual(ids);
    expect(second.cursor).toBeUndefined();
    const labelled = await ok<List>(request("/api/v1/tasks?label=label%3Da&status=completed"));
    expect(labelled.tasks.map(({ id }) => id)).toEqual([ids[0]!, ids[2]!]);
    expect((await ok<List>(request("/api/v1/tasks?name=task%20b"))).tasks.map(({ id }) => id)).toEqual([ids[1]!]);
    expect((await ok<List>(request("/api/v1/tasks?status=running&status=pending"))).tasks).toEqual([]);
    const { stdout } = await cluster.runCli(["show", ids[0]!, "--json"]);
    expect(await ok<object>(request(`/api/v1/tasks/${ids[0]}`))).toEqual(JSON.parse(stdout) as object);
  });

  test("an array is one task; its members are listed by it", async () => {
    const id = await submit({ shell: "echo got {}", inputs: ["x y", "z"] });
    expect(await finished(id)).toMatchObject({ array: true, counts: { total: 2, completed: 2 } });
    const { tasks } = await ok<List>(request(`/api/v1/tasks?of=${id}`));
    expect(tasks.map((task) => [task.id, task.stdout_tail])).toEqual([
      [`${id}.0`, "got x y\n"],
      [`${id}.1`, "got z\n"],
    ]);
    const counted = await submit({ noop: true, array: 1000 });
    expect(await finished(counted)).toMatchObject({ counts: { completed: 1000 } });
  });

  test("several at once are all of them or none", async () => {
    const { ids } = await ok<{ ids: string[] }>(
      send("/api/v1/batch", { tasks: [{ command: ["true"] }, { command: ["false"] }] }),
      201,
    );
    expect(await Promise.all(ids.map(async (id) => (await finished(id)).status))).toEqual(["completed", "failed"]);
    const before = (await ok<List>(request("/api/v1/tasks?limit=1000"))).tasks.length;
    const wrong = { tasks: [{ command: ["true"] }, { shell: "x", env: { LD_PRELOAD: "x" } }] };
    expect(await refused(send("/api/v1/batch", wrong))).toMatchObject({ field: "tasks.1.env.LD_PRELOAD" });
    const keyed = await send("/api/v1/batch", { tasks: [{ noop: true, key: "k" }] });
    const hint = expect.stringContaining("send each task that has one to /api/v1/tasks");
    expect(await keyed.json()).toMatchObject({ error: { code: "bad_request", field: "tasks.0.key", hint } });
    expect((await ok<List>(request("/api/v1/tasks?limit=1000"))).tasks.length).toBe(before);
  });

  test("whatever the command line can ask of a node can be asked here", async () => {
    const wanted = {
      ...{ cpu_millis: 250, memory_mib: 1, tags: [], strategy: "pack" as const, exclusive: true },
      where: [{ attribute: "os", op: "=" as const, values: [process.platform] }],
    };
    const id = await submit({ noop: true, ...wanted });
    expect((await finished(id)).specification.needs).toMatchObject(wanted);
  });

  test("a key makes one task of two requests, and no other of it", async () => {
    const task = { command: ["true"], key: "nightly" };
    const made = await ok<{ ids: string[]; existing: boolean }>(send("/api/v1/tasks", task), 201);
    const again = await ok<{ ids: string[]; existing: boolean }>(send("/api/v1/tasks", task), 200);
    expect([made.existing, again]).toEqual([false, { ids: made.ids, existing: true }]);
    expect(await refused(send("/api/v1/tasks", { command: ["false"], key: "nightly" }))).toMatchObject({ status: 409 });
  });

  test("a key is the same one from wherever it is sent, and in whichever order its names come", async () => {
    const command = ["submit", "--key", "weekly", "--label", "b=2", "--label", "a=1", "--", "true"];
    const folder = join(cluster.home, "elsewhere");
    mkdirSync(folder);
    const first = await cluster.runCli(command);
    expect(await cluster.runCli(command, { cwd: folder })).toMatchObject({ code: 0, stdout: first.stdout });
    const task = { command: ["true"], key: "weekly", labels: { a: "1", b: "2" } };
    const again = { ids: [first.stdout.trim()], existing: true };
    await finished(first.stdout.trim());
    expect(await ok<object>(send("/api/v1/tasks", task), 200)).toEqual(again);
    expect(await refused(send("/api/v1/tasks", { ...task, labels: { a: "2" } }))).toMatchObject({ field: "key" });
  });

  test("a name that JavaScript has made its own is refused, not left out", async () => {
    const named = JSON.parse('{"__proto__": 1}') as object;
    const texts = JSON.parse('{"__proto__": "x"}') as object;
    for (const [field, value] of [["resources", named] as const, ["labels", texts] as const, ["env", texts] as const]) {
      const answered = refused(send("/api/v1/tasks", { noop: true, [field]: value }));
      expect(await answered).toEqual({ status: 400, code: "bad_request", field });
    }
    const set = { set: { attributes: texts } };
    expect(await refused(send("/api/v1/nodes/worker-1", set, "PATCH"))).toMatchObject({ field: "set.attributes" });
    expect(await ok<List>(request("/api/v1/tasks?label=__proto__%3Dx"))).toEqual({ tasks: [] });
    const { code, stderr } = await cluster.runCli(["submit", "--label", "__proto__=x", "--", "true"]);
    expect([code, stderr]).toEqual([64, expect.stringContaining("--label: '__proto__' is no name")]);
  });

  const raw = (text: string): Uint8Array<ArrayBuffer> | string => Buffer.from(text, "latin1");
  test.each([
    ["POST", "/api/v1/tasks", raw('{"command":["\xff\xfe"]}'), "body"],
    ["POST", "/api/v1/tasks", raw('{"command":["echo"],"name":"\xc0\x80"}'), "body"],
    ["POST", "/api/v1/tasks", raw('{"command":["\xed\xa0\x80"]}'), "body"],
    ["POST", "/api/v1/tasks", '{"command":["echo","\\ud800"]}', "command.1"],
    ["POST", "/api/v1/tasks", '{"command":["echo","\\uDC00\\uD83D"]}', "command.1"],
    ["POST", "/api/v1/tasks", '{"noop":true,"env":{"\\ud800":"a"}}', "env"],
    ["POST", "/api/v1/tasks", '{"shell":"echo {}","inputs":["a","\\udfff"]}', "inputs.1"],
    ["POST", "/api/v1/batch", '{"tasks":[{"noop":true},{"shell":"\\ud800"}]}', "tasks.1.shell"],
    ["POST", "/api/v1/plan", '{"noop":true,"tags":["\\ud800"]}', "tags.0"],
    ["PATCH", "/api/v1/nodes/worker-1", '{"set":{"attributes":{"a":"\\ud800"}}}', "set.attributes.a"],
  ])("a text that is none is refused, not changed: %s %s %p", async (method, path, body, field) => {
    const headers = { "content-type": "application/json" };
    expect(await refused(request(path, { method, headers, body }))).toEqual({
      ...{ status: 400, code: "bad_request", field },
    });
  });

  test("a character of two halves is one, and what is no JSON still says so", async () => {
    const headers = { "content-type": "application/json" };
    const post = (body: string) => request("/api/v1/tasks", { method: "POST", headers, body });
    const { ids } = await ok<{ ids: string[] }>(post('{"command":["printf","%s","\\ud83d\\ude00\\ufffd"]}'), 201);
    await finished(ids[0]!);
    expect(await (await request(`/api/v1/tasks/${ids[0]}/logs`)).text()).toBe("\u{1f600}\ufffd");
    expect(await refused(post('{"command":["\\ud800"'))).toEqual({ status: 400, code: "bad_request" });
  });

  test("a number that no computer counts to is told the limit that counts, and a program has a name", async () => {
    const answer = async (body: string): Promise<{ error: { message: string; field: string } }> => {
      const headers = { "content-type": "application/json" };
      return (await (await request("/api/v1/tasks", { method: "POST", headers, body })).json()) as never;
    };
    for (const array of ["9007199254740993", "1000000000"]) {
      const { error } = await answer(`{"noop":true,"array":${array}}`);
      expect(error.message).toBe(`array is too large: at most ${LIMITS.array_members}`);
    }
    expect((await answer('{"noop":true,"cpu_millis":-9007199254740993}')).error.message).toBe(
      "cpu_millis is too small: at least 0",
    );
    for (const command of ['[""]', '["","a"]']) {
      const { error } = await answer(`{"command":${command}}`);
      expect(error).toMatchObject({
        field: "command.0",
        message: "command.0: a program's name must not be empty",
      });
    }
  });

  test("what the coordinator refuses is named as the body names it", async () => {
    const wrong: [object, string][] = [
      [{ command: ["a", "b\0"] }, "command"],
      [{ shell: "a\0" }, "shell"],
      [{ noop: true, cwd: "/a\0" }, "cwd"],
      [{ noop: true, tags: ["e\u0301"] }, "tags"],
      [{ noop: true, start_at: "9999-01-01T00:00:00Z" }, "start_at"],
      [{ noop: true, start_after_ms: 5, deadline_ms: 5 }, "start_after_ms"],
    ];
    for (const [body, field] of wrong) {
      const response = await send("/api/v1/tasks", body);
      const { error } = (await response.json()) as { error: { field: string; message: string } };
      expect([response.status, error.field]).toEqual([400, field]);
      expect(error.message).not.toMatch(/specification|argv|needs|folder/);
      const many = await refused(send("/api/v1/batch", { tasks: [{ noop: true }, body] }));
      expect(many).toMatchObject({ status: 400, field: `tasks.1.${field}` });
    }
    expect(await refused(send("/api/v1/plan", { noop: true, cwd: "/a\0" }))).toMatchObject({ field: "cwd" });
  });

  test("a daemon is kept running: it has no limit of retries, others say theirs", async () => {
    const daemon = { noop: true, type: "daemon", tags: ["nowhere"] };
    const limited = send("/api/v1/tasks", { ...daemon, retry: { limit: 3 } });
    expect(await refused(limited)).toMatchObject({ status: 400, field: "retry.limit" });
    const id = await submit({ ...daemon, retry: { backoff_ms: 7 } });
    await ok<object>(send(`/api/v1/tasks/${id}/cancel`));
    const unsaid = send("/api/v1/tasks", { noop: true, retry: { backoff_ms: 7 } });
    expect(await refused(unsaid)).toMatchObject({ status: 400, field: "retry.limit" });
  });

  test("are not cancelled by a request that says something else in its body", async () => {
    const id = await submit({ noop: true, tags: ["nowhere"], array: 3 });
    for (const [body, field] of [
      [{ statuses: ["running"] }, "statuses"] as const,
      [{ nosuch: 1 }, "nosuch"] as const,
    ]) {
      expect(await refused(send(`/api/v1/tasks/${id}/cancel`, body))).toEqual({
        status: 400,
        code: "bad_request",
        field,
      });
    }
    expect(await refused(send("/api/v1/nodes/worker-1", { force: true }, "DELETE"))).toMatchObject({ field: "force" });
    expect(await ok<Task>(request(`/api/v1/tasks/${id}`))).toMatchObject({ status: "pending" });
    expect(await ok<object>(send(`/api/v1/tasks/${id}/cancel`, {}))).toMatchObject({ cancelled: 3 });
  });

  test("are cancelled, and what is over runs again as another one", async () => {
    const id = await submit({ command: ["sleep", "600"], grace_ms: 100 });
    await cluster.started((await cluster.client.query("task.resolve", { refs: [id] })).refs[0]!.number);
    expect(await ok<object>(send(`/api/v1/tasks/${id}/cancel`))).toEqual({ cancelled: 0, stopping: 1, finished: 0 });
    expect(await finished(id)).toMatchObject({ status: "cancelled" });
    const failed = await submit({ command: ["false"], retry: { limit: 1, backoff_ms: 1 } });
    expect((await finished(failed)).attempts).toMatchObject([{ attempt: 1, exit_code: 1 }]);
    const again = await ok<{ id: string; count: number }>(send(`/api/v1/tasks/${failed}/retry`), 201);
    expect(await finished(again.id)).toMatchObject({ retry_of: failed, status: "failed" });
    const none = send(`/api/v1/tasks/${failed}/retry`, { statuses: ["completed"] });
    expect(await refused(none)).toEqual({ status: 409, code: "conflict", field: "statuses" });
  });

  test("their output is followed as it comes, and read afterwards", async () => {
    // A fifo: the task goes on when the test has seen what it wrote.
    const fifo = join(cluster.cwd, "go");
    expect(Bun.spawnSync(["mkfifo", fifo]).exitCode).toBe(0);
    const id = await submit({ shell: "echo one; echo two >&2; read line < go; echo three", cwd: cluster.cwd });
    const live = await request(`/api/v1/tasks/${id}/logs?follow=true&stream=stdout`);
    expect(live.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    let text = "";
    const reading = (async () => {
      for await (const part of live.body!) text += Buffer.from(part).toString();
    })();
    await until(() => text.includes("one") || undefined, "the first line");
    writeFileSync(fifo, "\n");
    await reading;
    expect(text).toBe("one\nthree\n");
    expect(await (await request(`/api/v1/tasks/${id}/logs?stream=stderr`)).text()).toBe("two\n");
    expect(await refused(request(`/api/v1/tasks/${await submit({ noop: true, array: 2 })}/logs`))).toMatchObject({
      status: 409,
      field: "id",
    });
  });

  test("of each of its attempts the output is there, however short it was", async () => {
    const fifo = join(cluster.cwd, "next");
    expect(Bun.spawnSync(["mkfifo", fifo]).exitCode).toBe(0);
    const count = "echo x >> begun; n=$(wc -l < begun); echo $n; echo err $n >&2";
    const shell = `${count}; test $n = 1 -o $n = 3 || read line < next; exit 1`;
    const id = await submit({ shell, cwd: cluster.cwd, retry: { limit: 3, backoff_ms: 1 } });
    const logs = async (query = ""): Promise<string> =>
      (await request(`/api/v1/tasks/${id}/logs?stream=stdout${query}`)).text();
    await until(async () => (await logs()).includes("2\n"), "attempt 2");
    expect(await logs()).toBe("1\n2\n");
    const following = logs("&follow=true");
    writeFileSync(fifo, "\n");
    await until(async () => (await logs()).includes("4\n"), "attempt 4");
    writeFileSync(fifo, "\n");
    expect([await following, await logs()]).toEqual(["1\n2\n3\n4\n", "1\n2\n3\n4\n"]);
    expect(await (await request(`/api/v1/tasks/${id}/logs?stream=stderr`)).text()).toBe("err 1\nerr 2\nerr 3\nerr 4\n");
  });
});

test("nodes are shown, taken out of service and back; one that is there is not removed", async () => {
  const { nodes } = await ok<{ nodes: object[] }>(request("/api/v1/nodes"));
  expect(nodes.map((node) => NodeDocument.parse(node))).toMatchObject([{ name: "worker-1", status: "online" }]);
  const drained = await ok<object>(send("/api/v1/nodes/worker-1/drain", { reason: "new disk", deadline_ms: 60_000 }));
  expect(drained).toMatchObject({ status: "maintenance", cordon: { reason: "new disk" } });
  expect(await ok<object>(send("/api/v1/nodes/worker-1/resume"))).toMatchObject({ status: "online" });
  expect(await refused(send("/api/v1/nodes/worker-1", undefined, "DELETE"))).toMatchObject({ status: 409 });
});

test("what names nothing is refused by the parameter that it stands in", async () => {
  for (const [path, field, init] of [
    ["/api/v1/nodes/worker-2", "node", {}],
    ["/api/v1/tasks/task_00000000", "id", {}],
    ["/api/v1/tasks?of=task_00000000", "of", {}],
    ["/api/v1/events?task=task_00000000", "task", {}],
    ["/api/v1/events?node=worker-2", "node", {}],
    ["/api/v1/tasks/task_00000000/cancel", "id", { method: "POST" }],
  ] as const) {
    expect([path, await refused(request(path, init))]).toEqual([path, { status: 404, code: "not_found", field }]);
  }
});

test("who sends no body may still say that it would be JSON", async () => {
  const headers = { "content-type": "application/json" };
  const failed = await submit({ command: ["false"] });
  await finished(failed);
  await ok<object>(request(`/api/v1/tasks/${failed}/retry`, { method: "POST", headers }), 201);
  await ok<object>(request("/api/v1/nodes/worker-1/resume", { method: "POST", headers }));
  expect(await refused(request("/api/v1/tasks", { method: "POST", headers }))).toMatchObject({ status: 400 });
});

describe("events", () => {
  /** Reads a stream until it has said so many events of a kind. */
  async function stream(path: string, count: number, headers: Record<string, string> = {}): Promise<EventDocument[]> {
    const stop = new AbortController();
    const response = await request(path, { headers: { accept: "text/event-stream", ...headers }, signal: stop.signal });
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    let text = "";
    const found: EventDocument[] = [];
    for await (const part of response.body!) {
      text += Buffer.from(part).toString();
      const messages = text.split("\n\n");
      text = messages.pop() ?? "";
      for (const message of messages) {
        const fields = new Map(message.split("\n").map((line) => line.split(/: (.*)/s) as [string, string]));
        if (fields.get("event") === "open" || fields.get("event") === "ping") {
          if (fields.has("id")) expect(JSON.parse(fields.get("data")!)).toEqual({ cursor: fields.get("id") });
          continue;
        }
        const event = EventDocument.parse(JSON.parse(fields.get("data")!));
        expect([fields.get("id"), fields.get("event")]).toEqual([event.id, event.type]);
        found.push(event);
      }
      if (found.length >= count) break;
    }
    stop.abort();
    return found;
  }
  test("come as a page, or as a stream that goes on where another one ended", async () => {
    const page = await ok<{ events: EventDocument[]; cursor: string }>(request("/api/v1/events?after=0&limit=1000"));
    const streamed = await stream("/api/v1/events?after=0", page.events.length);
    expect(streamed.slice(0, page.events.length)).toEqual(page.events);
    const middle = page.events[3]!.id;
    const resumed = await stream("/api/v1/events", page.events.length - 4, { "last-event-id": middle });
    expect(resumed.slice(0, page.events.length - 4)).toEqual(page.events.slice(4));
  });

  test("are told when they happen", async () => {
    const { cursor } = await ok<{ cursor: string }>(request("/api/v1/events"));
    const hearing = stream(`/api/v1/events?after=${cursor}&type=task.completed`, 1);
    const id = await submit({ noop: true });
    expect(await hearing).toMatchObject([{ type: "task.completed", task: id }]);
  });

  test("a place that is none is refused before the stream begins", async () => {
    const response = request("/api/v1/events", { headers: { accept: "text/event-stream", "last-event-id": "x" } });
    expect(await refused(response)).toMatchObject({ status: 400, field: "after" });
  });

  test("parameters that would not count are refused", async () => {
    for (const [query, field, accept] of [
      ["tail=2&after=1", "tail", "*/*"],
      ["before=5.0", "before", "*/*"],
      ["tail=2&after=1", "tail", "text/event-stream"],
      ["tail=2&before=5.0", "before", "text/event-stream"],
      ["limit=5", "limit", "text/event-stream"],
      ["wait_ms=5", "wait_ms", "text/event-stream"],
    ] as const) {
      const answered = refused(request(`/api/v1/events?${query}`, { headers: { accept } }));
      expect([query, await answered]).toEqual([query, { status: 400, code: "bad_request", field }]);
    }
    const older = await ok<{ events: EventDocument[] }>(request("/api/v1/events?tail=2&before=5.0"));
    expect(older.events).toHaveLength(2);
  });

  test("a stream that began with the newest goes on behind the last that was heard", async () => {
    const { events } = await ok<{ events: EventDocument[] }>(request("/api/v1/events?tail=4"));
    const resumed = await stream("/api/v1/events?tail=2", 3, { "last-event-id": events[0]!.id });
    expect(resumed.slice(0, 3)).toEqual(events.slice(1));
  });

  test("of a type that there is not are not waited for", async () => {
    const response = await request("/api/v1/events?type=task&type=task.fail");
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { error: { field: "type", message: "type: there are no events 'task.fail': did you mean task.failed?" } },
    ]);
  });
});

test("what a node counts as, and how tasks are placed, is set while it runs; a plan says what would come of it", async () => {
  const set = await ok<object>(send("/api/v1/nodes/worker-1", { set: { gpus: 2, tags_added: ["fast"] } }, "PATCH"));
  expect(NodeDocument.parse(set)).toMatchObject({ capacity: { gpus: 2 }, tags: ["fast"], settings: { gpus: 2 } });
  const plan = { noop: true, gpus: 2, tags: ["fast"] };
  expect(await ok<object>(send("/api/v1/plan", plan))).toMatchObject({ node_name: "worker-1" });
  await ok<object>(send("/api/v1/nodes/worker-1", { reset: true }, "PATCH"));
  const waits = await ok<{ waiting: { summary: string } }>(send("/api/v1/plan", plan));
  expect(PlanDocument.parse(waits).waiting?.summary).toContain("needs");
  const names = Object.fromEntries(Array.from({ length: LIMITS.label_count + 1 }, (_, at) => [`a${at}`, "x"]));
  expect(await refused(send("/api/v1/nodes/worker-1", { set: { attributes: names } }, "PATCH"))).toMatchObject({
    ...{ status: 400, field: "set.attributes" },
  });
  // As it is told, so it is set; what was not named stays.
  const placement = { strategy: "pack", weights: { tasks: 0.625 } };
  const cluster_now = await ok<object>(send("/api/v1/cluster", { placement }, "PATCH"));
  expect(cluster_now).toMatchObject({
    placement: { ...placement, weights: { cpu: 0.3, tasks: 0.625 }, set: placement },
  });
  const { stdout } = await cluster.runCli(["placement", "--json"]);
  expect(cluster_now).toMatchObject({ placement: JSON.parse(stdout) as object });
  await ok<object>(send("/api/v1/cluster", { reset: true }, "PATCH"));
  expect(await refused(send("/api/v1/cluster", { placement: { strategy: "fastest" } }, "PATCH"))).toMatchObject({
    field: "placement.strategy",
  });
});

test("figures are in Prometheus' format", async () => {
  const text = await (await request("/metrics")).text();
  for (const line of text.trimEnd().split("\n")) {
    expect(line).toMatch(/^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+-]+)$/);
  }
  const value = (name: string): number => Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1]);
  expect(value("claw_leader")).toBe(1);
  expect(value('claw_tasks\\{status="completed"\\}')).toBeGreaterThan(1000);
  expect(value("claw_log_append_seconds_count")).toBeGreaterThan(5);
  expect(value('claw_placement_seconds_bucket\\{le="\\+Inf"\\}')).toBe(value("claw_placement_seconds_count"));
  expect(value('claw_node_health\\{node="[^"]*",name="worker-1"\\}')).toBeGreaterThan(0);
  expect(value('claw_nodes\\{status="online"\\}')).toBe(1);
});

test("a body that is too large is refused with a word, by far or by little", async () => {
  for (const bytes of [LIMITS.message_bytes, 5 * LIMITS.message_bytes, 20 * LIMITS.message_bytes]) {
    const body = { shell: "x".repeat(bytes) };
    expect([bytes, await refused(send("/api/v1/tasks", body))]).toEqual([bytes, { status: 413, code: "too_large" }]);
  }
});

test("a method that a path has not is 405, and says which it has", async () => {
  for (const [method, path, allowed] of [
    ["PUT", "/api/v1/tasks", "GET, POST"],
    ["DELETE", "/api/v1/cluster", "GET, PATCH"],
    ["POST", "/api/v1/nodes/worker-1", "GET, PATCH, DELETE"],
  ] as const) {
    const response = await request(path, { method });
    expect([path, response.status, response.headers.get("allow")]).toEqual([path, 405, allowed]);
  }
  // Of the task that is called so; who meant to cancel one reads where.
  expect(await (await request("/api/v1/tasks/cancel", { method: "POST" })).json()).toMatchObject({
    error: { hint: "it takes GET; POST is for /api/v1/tasks/{id}/cancel, /api/v1/tasks/{id}/retry" },
  });
});

test("nobody else has the token, and it is the same after a restart", async () => {
  const path = join(cluster.folder, "http-token");
  const token = readFileSync(path, "utf8");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const url = `${cluster.coordinator.http_url}/api/v1/cluster`;
  expect((await fetch(url)).status).toBe(401);
  await cluster.stopCoordinator();
  const gone = await fetch(url).then(
    ({ status }) => status,
    () => "gone",
  );
  expect(gone).toBe("gone");
  await cluster.startCoordinator();
  expect(readFileSync(path, "utf8")).toBe(token);
  expect((await request("/readyz")).status).toBe(200);
  expect(await ok<{ epoch: number }>(request("/api/v1/cluster"))).toMatchObject({ epoch: 2 });
});
