// Every option of every command that takes an amount, as the help lists them, given what is none: refused by its name,
// before anything is done. Whoever adds an option adds these cases with it.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { View } from "../../src/storage/view.ts";
import { type Cluster, openCluster, runCli } from "../cluster.ts";
import { knowledge } from "../sim/canonical.ts";

/** What the help calls amounts. */
const AMOUNTS = new Set(["count", "size", "duration", "cores", "wait"]);
const ABSURD = ["-1", "NaN", "1e308", "9007199254740993", "", "0x10", "１２", "12\u200b"];

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster({ workers: 1 });
  await cluster.submit({ needs: { tags: ["nowhere"] } }, { inputs: ["a"], open: true });
});
afterAll(() => cluster.close());

interface Option {
  command: string[];
  name: string;
  /** Something that the command takes, and would do something with. */
  operands: string[];
}

/** By what the usage says: ids that may be left out are, where an amount may stand for them. */
async function operandsOf(usage: string): Promise<string[]> {
  if (usage.includes("[words...]")) return ["true"];
  if (usage.includes("<nodes...>") || usage.includes("<node>")) return ["worker-1"];
  if (!usage.includes("<ids...>")) return [];
  const { tasks } = await cluster.client.query("task.list", { limit: 1 });
  return tasks.map(({ id }) => id);
}

async function helpOf(command: readonly string[]): Promise<string> {
  return (await runCli([...command, "--help"])).stdout;
}

/** Those of a command, and of the commands below it. */
async function optionsOf(command: string[]): Promise<Option[]> {
  const help = await helpOf(command);
  const operands = await operandsOf(/^Usage: .*$/m.exec(help)?.[0] ?? "");
  if (help.includes("--yes")) operands.push("--yes");
  const found = [...help.matchAll(/^ +(?:-\w, )?(--[a-z-]+) <([a-z]+)>/gm)]
    .filter(([, , amount = ""]) => AMOUNTS.has(amount))
    .map(([, name = ""]) => ({ command, name, operands }));
  const below = help.split(/^Commands:$/m)[1] ?? "";
  for (const [, name = ""] of below.matchAll(/^ {2}([a-z]+)/gm)) {
    if (name !== "help") found.push(...(await optionsOf([...command, name])));
  }
  return found;
}

async function state(): Promise<string> {
  await cluster.client.query("cluster.status", {});
  const view = new View(join(cluster.folder, "view.sqlite"));
  const text = knowledge(view);
  view.close();
  return text;
}

test("amounts that are none are refused by the option's name, and nothing is done", async () => {
  // What a role is started with is configuration, and refused as such (test/config).
  const options = (await optionsOf([])).filter(({ command }) => command.length > 0 && command[0] !== "up");
  const names = new Set(options.map(({ name }) => name));
  for (const name of ["--cpu", "--memory", "--timeout", "--retries", "--limit", "--tail"]) {
    expect([name, names.has(name)]).toEqual([name, true]);
  }
  const before = await state();
  for (const { command, name, operands } of options) {
    for (const text of ABSURD) {
      const words = [...command, `${name}=${text}`, ...(command[0] === "run" ? ["-d"] : []), ...operands];
      const { code, stdout, stderr } = await cluster.runCli(words);
      const line = words.join(" ");
      expect([line, code, stdout]).toEqual([line, command[0] === "run" ? 125 : 64, ""]);
      expect([line, stderr]).toEqual([line, expect.stringMatching(new RegExp(`^claw: .*${name}`))]);
      expect([line, / at .*\.ts:|a bug/.test(stderr)]).toEqual([line, false]);
    }
  }
  expect(await state()).toBe(before);
}, 120_000);
