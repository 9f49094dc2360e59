// Arrays over HTTP that are not over, or were cut short: what is said of them before and after their end.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { readEndpoint } from "../../../src/communication/endpoint.ts";
import { formatTaskId } from "../../../src/core/ids.ts";
import { type Cluster, openCluster, type Submitted } from "../../cluster.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
});
afterAll(() => cluster.close());

async function ask(path: string, method = "GET"): Promise<{ status: number; document: Record<string, unknown> }> {
  const { http_url, token_file } = readEndpoint(cluster.paths.data_dir)!;
  const authorization = `Bearer ${readFileSync(token_file!, "utf8").trim()}`;
  const answered = await fetch(`${http_url}/api/v1/tasks/${path}`, { method, headers: { authorization } });
  return { status: answered.status, document: (await answered.json()) as Record<string, unknown> };
}

/** An array whose members are over, and to which more may come. */
async function open(command: string): Promise<Submitted> {
  const array = await cluster.submit({ argv: [command, "{}"], each: true }, { inputs: ["a", "b"], open: true });
  for (const index of [0, 1]) await cluster.finished(array.number, index);
  return array;
}

test("a wait that ran out names what failed so far, as does an answer at once", async () => {
  const { id, number } = await open("false");
  const name = formatTaskId(id);
  const { document: at_once } = await ask(name);
  expect(at_once["failures"]).toMatchObject([{ id: `${name}.0` }, { id: `${name}.1` }]);
  expect((await ask(`${name}?wait_ms=1`)).document["failures"]).toEqual(at_once["failures"]);
  await cluster.client.command("task.cancel", { v: 1, targets: [{ number, from: 0 }] });
  expect((await ask(`${name}?wait_ms=20000`)).document["failures"]).toEqual(at_once["failures"]);
});

test("a retry of one that was cut short after its members had succeeded says so", async () => {
  const { id, number } = await open("true");
  await cluster.client.command("task.cancel", { v: 1, targets: [{ number, from: 0 }] });
  const name = formatTaskId(id);
  expect((await ask(name)).document).toMatchObject({ status: "cancelled" });
  const { status, document } = await ask(`${name}/retry`, "POST");
  expect(status).toBe(409);
  const why = "closed after 2 inputs: it was cancelled before its client had closed it";
  expect(document["error"]).toMatchObject({
    code: "conflict",
    message: `${name} is cancelled because inputs may be missing (${why}): all of its members succeeded`,
    hint: "submit the inputs that are missing as an array of their own",
  });
});

test("a cancel says that it closed one", async () => {
  const name = formatTaskId((await open("true")).id);
  const none = { cancelled: 0, stopping: 0 };
  expect((await ask(`${name}/cancel`, "POST")).document).toEqual({ ...none, finished: 2, closed: 1 });
  // An array that is over counts as one.
  expect((await ask(`${name}/cancel`, "POST")).document).toEqual({ ...none, finished: 1 });
});
