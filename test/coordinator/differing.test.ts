// Batches that their writer folded to something else: who follows or catches up ends with what he got instead, or goes on
// with it when he was told to.

import { afterEach, expect, test } from "bun:test";
import { FoldDiffers } from "../../src/coordinator/differing.ts";
import type { Batch } from "../../src/core/event.ts";
import { FOLD_VERSION, type Fold } from "../../src/core/fold.ts";
import { submission } from "../cluster.ts";
import { until } from "../until.ts";
import { Coordinator } from "./lone-coordinator.ts";
import { ScriptedLog } from "./scripted-log.ts";

const started: Coordinator[] = [];

function coordinator(log: ScriptedLog, name?: string): Coordinator {
  const made = new Coordinator(log, name);
  started.push(made);
  return made;
}

async function serving(log: ScriptedLog, name?: string): Promise<Coordinator> {
  const made = coordinator(log, name);
  await made.serve();
  return made;
}

afterEach(() => {
  for (const { terms, view, runtime, failures } of started.splice(0)) {
    terms.stop();
    view.close();
    expect([runtime.waiting, failures]).toEqual([[], []]);
  }
});

async function refusal(promise: Promise<unknown>): Promise<FoldDiffers> {
  const error: unknown = await promise.catch((reason: unknown) => reason);
  if (error instanceof FoldDiffers) return error;
  throw new Error(`another end: ${String(error)}`);
}

const noop = () => submission({ needs: { executor: "noop" }, argv: [] }).request;

const otherwise = (batch: Batch): object => ({ ...batch, fold: { ...batch.fold, state: "0123456789abcd" } });

test("ends whoever catches up, with what he got instead, and the view stays where they agreed", async () => {
  const log = new ScriptedLog();
  const one = await serving(log);
  await one.ask("task.submit", noop()).answered();
  log.rewrite(2, otherwise);
  const late = coordinator(log, "late");
  const refused = await refusal(late.begin());
  expect(refused.message).toBe("batch 2 gives another state here than it gave one");
  expect([refused.code, refused.sequence, late.view.witness().sequence]).toEqual(["fold_differs", 2, 0]);
  expect(refused.dump).toMatchObject({
    differs: "state",
    theirs: { state: "0123456789abcd" },
    ours: { v: FOLD_VERSION, state: expect.stringMatching(/^[0-9a-f]{14}$/) },
    batch: { events: [{ t: "submitted" }] },
    rows: { submissions: [{ number: 1 }] },
  });
});

test("ends whoever follows; his view has all that was before it", async () => {
  const log = new ScriptedLog();
  const one = await serving(log);
  const follower = coordinator(log, "follower");
  await follower.terms.start();
  log.hold();
  one.ask("task.submit", noop());
  await log.arrived();
  log.releaseAs(otherwise);
  expect(await until(() => follower.failures.shift(), "a failure")).toMatchObject({ code: "fold_differs" });
  expect([follower.view.witness().sequence, follower.terms.sequence]).toEqual([1, 1]);
});

test("is taken with what it gives here by one who was told to, and he leads from there", async () => {
  const log = new ScriptedLog();
  const one = await serving(log);
  await one.ask("task.submit", noop()).answered();
  const before = one.rows;
  one.terms.stop();
  log.rewrite(2, otherwise);
  const late = coordinator(log, "late");
  late.forgiving = true;
  await late.terms.start();
  const rows = (text: string): string => text.slice(0, text.indexOf('["meta"'));
  expect(rows(late.rows)).toBe(rows(before));
  late.terms.elect();
  await late.terms.serving;
  expect(await late.ask("task.submit", noop()).answered()).toMatchObject({ number: 2 });
  const next = coordinator(log, "next");
  next.forgiving = true;
  await next.begin();
  expect(next.view.witness().fold).toEqual(log.batch(4).fold as Fold);
});

const skipped: [string, (batch: Batch) => object][] = [
  ["by an older claw, which says nothing", ({ fold: _, ...batch }) => batch],
  ["by a claw that folds otherwise", (batch) => ({ ...batch, fold: { v: 99, state: "x", changes: "y", more: 1 } })],
];
test.each(skipped)("cannot be compared when it was written %s", async (_, change) => {
  const log = new ScriptedLog();
  const one = await serving(log);
  await one.ask("task.submit", noop()).answered();
  one.terms.stop();
  log.rewrite(2, change);
  const late = await serving(log, "late");
  expect(late.view.witness().fold?.v ?? FOLD_VERSION).toBe(FOLD_VERSION);
  await late.ask("task.submit", noop()).answered();
  // The next one is compared again.
  log.rewrite(4, otherwise);
  expect((await refusal(coordinator(log).begin())).code).toBe("fold_differs");
});
