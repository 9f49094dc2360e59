// Two nodes of one name: allowed, as hostnames repeat, and told wherever somebody may wonder.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { problemsOf } from "../config/check.ts";
import { until } from "../until.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
});
afterAll(() => cluster.close());

test("is told by the joining worker's log, `claw nodes` and `claw status`, until one of them is gone", async () => {
  const [first] = cluster.workers;
  const alone = await cluster.runCli(["nodes"]);
  expect(alone.stderr).not.toContain("are called");
  const second = await cluster.addWorker({ name: "worker-1" });
  const ids = [first?.id, second.id].sort().join(", ");
  const says = `2 nodes are called worker-1 (${ids}): give each its own with name: in worker.yaml, or --name`;
  await cluster.logged(says);
  expect((await cluster.runCli(["nodes"])).stderr).toContain(`${says}\n`);
  expect((await cluster.runCli(["status"])).stdout).toContain(says);
  await second.stop();
  await until(async () => !(await cluster.runCli(["nodes"])).stderr.includes("are called"), "no more such words");
});

test.each(["two words", "tab\t", "line\n", "\u001b[2J", "\u202eexe", ""])("%j is no name", (name) => {
  const [problem] = problemsOf("worker", `name: ${JSON.stringify(name)}\n`);
  expect(problem?.message).toMatch(/^name(: must be without blanks and control characters| must not be empty)$/);
});

test("a name may be as long as others, and in any script", () => {
  expect(problemsOf("worker", `name: ${"ü".repeat(LIMITS.name_chars)}\n`)).toEqual([]);
  expect(problemsOf("worker", "name: gpu-1.example.org\n")).toEqual([]);
});
