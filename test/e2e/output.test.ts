// What a task writes, byte by byte, to whoever follows it while the coordinator and the broker are killed, stopped and
// started: nothing twice, nothing missing, each stream for itself; what a killed broker forgot is counted.

import { afterEach, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, closeMachines, type Machine, machine, type Service, until } from "./binary.ts";

afterEach(closeMachines);

const LINES = 100;
const RUN_MS = 90_000;
const STOPPED_MS = 1_500;

const line = 'i=$((i + 1)); echo "line $i" | tee -a out; echo "error $i" | tee -a err >&2';
/** Writes its lines to a file and to both streams, more slowly than they are killed. */
const SCRIPT = `i=0; while [ $i -lt ${LINES} ]; do ${line}; sleep 0.1; done`;
/** The same, but when it has written so many it waits for a file. */
const HELD = 6;
const HELD_SCRIPT = `i=0; while [ $i -lt ${LINES} ]; do ${line}; [ $i != ${HELD} ] || until [ -e go ]; do sleep 0.02; done; sleep 0.1; done`;

const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "" && !line.startsWith("claw: "));

/** What it said that is not kept. */
const missing = (text: string): number =>
  [...text.matchAll(/: (\d+) bytes? of its output are no longer kept/g)].reduce(
    (sum, [, bytes]) => sum + Number(bytes),
    0,
  );

/** Exactly what was written, but for whole lines that were said to be missing. */
function compare(here: Machine, out: string, err: string): void {
  let gone = 0;
  for (const [name, got] of [
    ["out", lines(out)],
    ["err", lines(err)],
  ] as const) {
    const written = lines(readFileSync(join(here.work, name), "utf8"));
    expect(written.length).toBe(LINES);
    const left = new Set(got);
    expect(got).toEqual(written.filter((line) => left.has(line)));
    gone += written.filter((line) => !left.has(line)).reduce((sum, line) => sum + line.length + 1, 0);
  }
  expect(gone).toBe(missing(err));
}

async function shown(run: Client, line: number): Promise<void> {
  await until(`line ${line} is shown`, () => run.seen.out.includes(`line ${line}\n`) || undefined, RUN_MS);
}

async function killBroker(here: Machine): Promise<void> {
  const pid = here.natsPid();
  process.kill(pid!, "SIGKILL");
  await until("the broker is back", () => (here.natsPid() ?? pid) !== pid || undefined);
}

async function stopBroker(here: Machine): Promise<void> {
  const pid = here.natsPid()!;
  process.kill(pid, "SIGSTOP");
  await Bun.sleep(STOPPED_MS);
  process.kill(pid, "SIGCONT");
}

test(
  "run and logs -f show each line once while coordinator and broker are killed and stopped",
  async () => {
    const here = machine();
    let coordinator: Service = await here.coordinator();
    await here.worker();
    const run = here.client(["run", "--name", "talks", "--", "sh", "-c", SCRIPT], { deadline_ms: RUN_MS });
    await shown(run, 3);
    const [task] = await here.json<{ id: string }[]>(["ls", "--name", "talks"]);
    const logs = here.client(["logs", "-f", task!.id], { deadline_ms: RUN_MS });
    // Who has not begun does not wait for a coordinator.
    await until("it is followed", () => logs.seen.out !== "" || undefined);
    for (const [index, harm] of ["coordinator", "kill", "stop", "coordinator", "kill", "stop"].entries()) {
      await shown(run, 10 + index * 14);
      if (harm === "kill") await killBroker(here);
      else if (harm === "stop") await stopBroker(here);
      else {
        await coordinator.kill();
        coordinator = await here.coordinator();
      }
    }
    const [ran, logged] = await Promise.all([run.done, logs.done]);
    expect([ran.code, logged.code]).toEqual([0, 0]);
    compare(here, ran.out, ran.err);
    compare(here, logged.out, logged.err);
    const later = await here.claw(["logs", task!.id]);
    compare(here, later.out, later.err);
  },
  RUN_MS,
);

test(
  "over HTTP each line comes once while the broker is killed and stopped",
  async () => {
    const here = machine();
    await here.coordinator();
    await here.worker();
    const run = here.client(["run", "--name", "talks", "--", "sh", "-c", SCRIPT], { deadline_ms: RUN_MS });
    await shown(run, 3);
    const [task] = await here.json<{ id: string }[]>(["ls", "--name", "talks"]);
    const token = 'authorization: Bearer $(cat "$CLAW_HOME"/data/coordinator/http-token)';
    const { http_url } = JSON.parse(readFileSync(join(here.home, "data/endpoint.json"), "utf8")) as {
      http_url: string;
    };
    const follow = (stream: string) =>
      here.bash(
        `set -o pipefail; curl -sfN -H "${token}" "${http_url}/api/v1/tasks/${task!.id}/logs?follow=true&stream=${stream}" | tee ${stream}`,
        { deadline_ms: RUN_MS },
      );
    const both = Promise.all([follow("stdout"), follow("stderr")]);
    const begun = (stream: string): boolean => Bun.file(join(here.work, stream)).size > 0;
    await until("both are followed", () => (begun("stdout") && begun("stderr")) || undefined);
    await shown(run, 20);
    await killBroker(here);
    await shown(run, 40);
    await stopBroker(here);
    const [out, err] = await both;
    const ran = await run.done;
    expect([out.code, err.code, ran.code]).toEqual([0, 0, 0]);
    compare(here, ran.out, ran.err);
    if (missing(ran.err) === 0) compare(here, out.out, err.out);
  },
  RUN_MS,
);

test(
  "what is written while coordinator and broker are away for long is there when they are back",
  async () => {
    const here = machine();
    const coordinator = await here.coordinator();
    await here.worker();
    const { out: id } = await here.claw(["submit", "--", "sh", "-c", HELD_SCRIPT]);
    const written = (): number => {
      try {
        return lines(readFileSync(join(here.work, "out"), "utf8")).length;
      } catch {
        return 0; // not begun
      }
    };
    await until("it writes", () => written() === HELD || undefined, RUN_MS);
    await coordinator.stop();
    writeFileSync(join(here.work, "go"), "");
    // For longer than a chunk waits before the next ones are kept aside.
    await until("it goes on", () => written() >= HELD + 80 || undefined, RUN_MS);
    await here.coordinator();
    expect((await here.claw(["wait", id.trim()])).code).toBe(0);
    const { out, err } = await here.claw(["logs", id.trim()]);
    expect(missing(err)).toBe(0);
    expect(err).not.toContain("were cut");
    compare(here, out, err);
  },
  RUN_MS,
);
