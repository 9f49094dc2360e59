// A task that wants a folder (`--cwd`): it waits where no node has it and says so, begins when one has it, and a plan tells
// before. Two workers on one machine have the same folders; that only one has it is in e2e/folder.test.ts.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { readEndpoint } from "../../src/communication/endpoint.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";

const OLD_MS = 10_000;

let cluster: Cluster;
let folder: string;
beforeAll(async () => {
  cluster = await openCluster({ workers: 2 });
  folder = join(cluster.cwd, "wanted");
});
afterAll(() => cluster.close());

async function planOverHttp(cwd: string): Promise<{ status: number; body: unknown }> {
  const { http_url, token_file } = readEndpoint(cluster.paths.data_dir)!;
  const token = readFileSync(token_file!, "utf8").trim();
  const answer = await fetch(`${http_url}/api/v1/plan`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ command: ["true"], cwd }),
  });
  return { status: answer.status, body: await answer.json() };
}

test("run says why it waits, plan says it before, and it begins where the folder comes to be", async () => {
  const why = `needs the folder ${folder}, which no node has`;
  const planned = await cluster.runCli(["plan", "--cwd", "wanted", "--", "pwd"]);
  expect(planned.stdout).toContain(
    `would wait  ${why}\nwould help  that folder on a node that suits otherwise: mkdir -p `,
  );
  expect(planned.stdout).toContain(`  worker-2  has no folder ${folder}\n`);
  expect(await planOverHttp(folder)).toMatchObject({ status: 200, body: { waiting: { summary: why } } });
  expect(await planOverHttp("wanted")).toMatchObject({ status: 400, body: { error: { field: "cwd" } } });
  const run = cluster.startCli(["run", "--cwd", "wanted", "--", "pwd"]);
  await run.says(` waits: ${why}\n`, "stderr");
  mkdirSync(folder);
  cluster.runtime.skip(OLD_MS);
  expect(await run.done).toMatchObject({ code: 0, stdout: `${folder}\n` });
  cluster.runtime.skip(OLD_MS);
  expect((await cluster.runCli(["plan", "--cwd", "wanted", "--", "pwd"])).stdout).toMatch(/^would go to {2}worker-\d /);
});

test("one that goes between the answer and the start fails it, and is asked for anew", async () => {
  mkdirSync(folder, { recursive: true });
  const wants = ["--cwd", "wanted", "--", "pwd"];
  await until(async () => (await cluster.runCli(["run", ...wants])).code === 0, "a run in it");
  rmdirSync(folder);
  const { code, stderr } = await cluster.runCli(["run", ...wants]);
  expect(code).toBe(125);
  expect(stderr).toContain(`the folder ${folder} does not exist on this node`);
  expect(stderr).toContain(`which ones have it now: claw plan --cwd ${folder} -- true\n`);
  mkdirSync(folder);
  expect(await cluster.runCli(["run", ...wants])).toMatchObject({ code: 0, stdout: `${folder}\n` });
});
