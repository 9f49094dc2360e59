// Skills from a worker's folders to the command line, the API, and where tasks run.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LIMITS } from "../../src/common/limits.ts";
import type { SkillView } from "../../src/common/skills.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";

let cluster: Cluster;
let folder: string;

function put(name: string, metadata = ""): void {
  mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(join(folder, name, "SKILL.md"), `---\nname: ${name}\ndescription: Does ${name}.\n${metadata}---\n`);
}

const needs = (...skills: string[]): string =>
  `metadata: { "claw": { "requires": { "skills": ${JSON.stringify(skills)} } } }\n`;

async function skills(): Promise<SkillView[]> {
  const { stdout } = await cluster.runCli(["skills", "--json"]);
  return JSON.parse(stdout) as SkillView[];
}

beforeAll(async () => {
  cluster = await openCluster({ workers: 0 });
  folder = join(cluster.home, "skills");
  put("weather");
  put("video", 'metadata: { "openclaw": { "requires": { "bins": ["no-such-program-anywhere"] } } }\n');
  put("report", needs("weather"));
  put("movie", needs("video"));
  put("round", needs("trip"));
  put("trip", needs("round"));
  put("alone", needs("nobody-has-this"));
  await cluster.addWorker({
    "skills.enabled": true,
    "skills.folders": [folder],
    "skills.openclaw": join(cluster.home, "x"),
  });
  await cluster.addWorker();
  await until(async () => ((await skills()).length === 7 ? true : undefined), "the skills");
});

afterAll(() => cluster.close());

test("the registry says where each can be used, and why not elsewhere", async () => {
  const found = await skills();
  expect(found.map(({ name, nodes }) => [name, nodes[0]!.usable])).toEqual([
    ["alone", false],
    ["movie", false],
    ["report", true],
    ["round", false],
    ["trip", false],
    ["video", false],
    ["weather", true],
  ]);
  expect(found.find(({ name }) => name === "video")!.nodes).toMatchObject([
    { node_name: "worker-1", missing: ["bin no-such-program-anywhere"], source: "config" },
  ]);
  const { stdout } = await cluster.runCli(["skills", "show", "movie"]);
  expect(stdout).toContain("which needs video: it has the skill video, which lacks bin no-such-program-anywhere");
  const table = (await cluster.runCli(["skills"])).stdout;
  expect(table).toMatch(/^SKILL +USABLE ON +NOT ON +DESCRIPTION\n/);
  expect(table).toMatch(/^weather +worker-1 +- +Does weather\.$/m);
  const unknown = await cluster.runCli(["skills", "show", "wether"]);
  expect([unknown.code, unknown.stderr]).toEqual([66, expect.stringContaining("did you mean weather?")]);
  const listed = (await (await cluster.http("/api/v1/skills?limit=2")).json()) as {
    skills: SkillView[];
    cursor: string;
  };
  expect([listed.skills.length, listed.cursor]).toEqual([2, "movie"]);
  expect(await (await cluster.http("/api/v1/skills/weather")).json()).toEqual(found.at(-1)!);
  expect((await cluster.http("/api/v1/skills/none")).status).toBe(404);
});

test("a task runs where its skill can be used, with all that it needs", async () => {
  for (let at = 0; at < 4; at++) {
    const { number } = await cluster.submit({ needs: { skills: ["report", "weather"] } });
    expect(await cluster.finished(number)).toMatchObject({ status: "completed", node_name: "worker-1" });
  }
  const run = await cluster.runCli(["run", "--skill", "weather", "--", "sh", "-c", "echo $CLAW_NODE_NAME"]);
  expect(run.code).toBe(0);
});

test("one that lacks something waits and says what; it begins when that is there", async () => {
  const { number } = await cluster.submit({ needs: { skills: ["movie"] } });
  const { waiting } = await cluster.show(number);
  expect(waiting?.summary).toBe(
    "needs the skill movie, which no node can use: on worker-1 it needs video: it has the skill video, which lacks bin no-such-program-anywhere",
  );
  const reasons = Object.fromEntries(waiting!.nodes.map(({ node, reason }) => [node, reason]));
  expect(reasons["worker-1"]).toContain("which lacks bin no-such-program-anywhere");
  expect(reasons["worker-2"]).toBe("has no skill movie");
  put("video");
  expect(await cluster.finished(number)).toMatchObject({ status: "completed", node_name: "worker-1" });
});

test("what can never be used is refused by name, and nothing is submitted", async () => {
  for (const [skill, why] of [
    ["round", "the skill round needs itself: round needs trip needs round"],
    ["alone", "alone needs nobody-has-this, and no node has a skill of that name"],
  ] as const) {
    const { code, stderr } = await cluster.runCli(["submit", "--skill", skill, "--", "true"]);
    expect([code, stderr]).toEqual([65, expect.stringContaining(why)]);
  }
  const { code, stderr } = await cluster.runCli(["submit", "--skill", "No Name", "--", "true"]);
  expect([code, stderr]).toEqual([64, expect.stringContaining("--skill")]);
});

test("a skill that goes away is noticed, and a new coordinator knows what there is", async () => {
  rmSync(join(folder, "alone"), { recursive: true });
  // The second change within minutes is held back, so that the log does not grow with each.
  const deadline_ms = LIMITS.skills_pause_ms + 20_000;
  await until(async () => !(await skills()).some(({ name }) => name === "alone"), "its end", deadline_ms);
  const before = await skills();
  await cluster.stopCoordinator();
  await cluster.startCoordinator();
  expect(await skills()).toMatchObject(before.map(({ name, description }) => ({ name, description })));
  const { stdout } = await cluster.runCli(["events", "--type", "node.skills", "--json"]);
  expect((JSON.parse(stdout) as { count: number }[]).at(-1)).toMatchObject({ count: 6 });
});
