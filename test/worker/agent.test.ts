// The agent by itself, where the simulator does not look: what it says when, and what it does when nothing comes.

import { describe, expect, test } from "bun:test";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import type { NodeInfo, Specification } from "../../src/common/models.ts";
import type { DownMessage, UpMessage } from "../../src/communication/messages.ts";
import { Agent } from "../../src/worker/agent.ts";
import type { AgentWorld } from "../../src/worker/agent-world.ts";
import type { Job } from "../../src/worker/queue.ts";
import type { ReportStore } from "../../src/worker/reporter.ts";

const HEARTBEAT_MS = 1_000;
const INCARNATION = "0123456789abcdef";
const NEEDS: Specification["needs"] = { executor: "command", cpu_millis: 1_000, memory_mib: 0, gpus: 0 };
const SPECIFICATION: Specification = { type: "batch", priority: "normal", needs: NEEDS, argv: ["true"] };
const INFO: NodeInfo = {
  name: "one",
  machine: "m",
  os: "linux",
  arch: "x64",
  version: "0",
  pid: 1,
  capacity: { cpu_millis: 2_000, memory_mib: 100, gpus: 0, resources: {} },
  tags: [],
  attributes: {},
  executors: ["command"],
};

class Bench {
  readonly sent: UpMessage[] = [];
  readonly deaf: number[] = [];
  /** When it said that its registration is not answered. */
  readonly unanswered: number[] = [];
  readonly started: Job[] = [];
  readonly superseded: string[][] = [];
  readonly looked_at: (readonly string[])[] = [];
  readonly rows = new Map<number, string>();
  full = false;
  now_ms = 0;
  #seq = 0;
  readonly agent: Agent;

  constructor() {
    const requireRoom = (): void => {
      if (this.full) throw new ClawError("disk_full", "no room left");
    };
    const store: ReportStore = {
      add: (_, body) => {
        requireRoom();
        this.#seq += 1;
        this.rows.set(this.#seq, body);
        return { seq: this.#seq };
      },
      remove: (seqs) => {
        requireRoom();
        for (const seq of seqs) this.rows.delete(seq);
      },
      all: () => [],
    };
    const world: AgentWorld = {
      send: (message) => this.sent.push(message),
      start: (job) => this.started.push(job),
      stop: () => undefined,
      superseded: (jobs) => this.superseded.push(jobs.map(({ task_id }) => task_id)),
      refused: (code) => {
        throw new Error(code);
      },
      shutdown: () => undefined,
      deaf: (times) => this.deaf.push(times),
      unanswered: () => this.unanswered.push(this.now_ms),
      waiting: () => undefined,
      look: (folders) => this.looked_at.push(folders),
    };
    this.agent = new Agent(world, store, { info: INFO, incarnation: INCARNATION, earlier: [], cluster_id: undefined });
    this.agent.connected(this.now());
    this.down({ type: "node.control", incarnation: INCARNATION, action: WELCOME });
  }

  now() {
    return { wall_ms: 1_700_000_000_000 + this.now_ms, monotonic_ms: this.now_ms };
  }

  down(message: DownMessage): void {
    this.agent.down(message, this.now());
  }

  ping(): void {
    this.down({ type: "node.control", incarnation: INCARNATION, action: { kind: "ping" } });
  }

  tick(ahead_ms: number, load: Parameters<Agent["tick"]>[1] = {}): void {
    this.now_ms += ahead_ms;
    this.agent.tick(this.now(), load);
  }

  assign(from: number, to: number): void {
    const items = [{ run: [1, from, to, 1] as [number, number, number, number], spec: 0, id: 7 }];
    this.down({ type: "task.assign", incarnation: INCARNATION, specifications: [SPECIFICATION], items });
  }

  taken<T extends UpMessage["type"]>(type: T): Extract<UpMessage, { type: T }>[] {
    const found = this.sent.filter((message): message is Extract<UpMessage, { type: T }> => message.type === type);
    this.sent.splice(0, this.sent.length, ...this.sent.filter((message) => message.type !== type));
    return found;
  }
}

const WELCOME = { kind: "welcome", cluster_id: "c", heartbeat_ms: HEARTBEAT_MS } as const;

test("heartbeats say how many pings came since the one before, and of memory and the disk in turn", () => {
  const bench = new Bench();
  const load = { cpu_percent: 5, free_memory_mib: 2 ** 40, disk_free_percent: 61 };
  bench.tick(0, load);
  bench.ping();
  bench.ping();
  bench.tick(HEARTBEAT_MS, load);
  bench.tick(HEARTBEAT_MS, { free_memory_mib: 3 });
  bench.tick(HEARTBEAT_MS, { disk_free_percent: 7 });
  const beats = bench.taken("node.heartbeat").map(({ p, m, d }) => ({ p, m, d }));
  expect(beats).toEqual([
    { p: 1, m: LIMITS.heartbeat_memory_mib, d: undefined }, // the welcome counts
    { p: 2, m: undefined, d: 61 },
    { p: undefined, m: 3, d: undefined },
    { p: undefined, m: undefined, d: 7 },
  ]);
});

describe("a worker to which nothing comes", () => {
  const listen = (bench: Bench, seconds: number): void => {
    for (let second = 0; second < seconds; second++) bench.tick(1_000);
  };

  test("does something about it after three and a half intervals, and less and less often", () => {
    const bench = new Bench();
    listen(bench, 3);
    expect(bench.deaf).toEqual([]);
    listen(bench, 1);
    expect(bench.deaf).toEqual([1]);
    listen(bench, 6);
    expect(bench.deaf).toEqual([1]);
    listen(bench, 1);
    expect(bench.deaf).toEqual([1, 2]);
    listen(bench, 3_600);
    expect(bench.deaf.length).toBeWithin(60, 70); // every 56 s in the end
  });

  test("begins from the start once something came, and asks who it is meanwhile", () => {
    const bench = new Bench();
    bench.taken("node.register");
    listen(bench, 4);
    expect(bench.taken("node.register").length).toBeGreaterThan(0);
    bench.ping();
    listen(bench, 3);
    expect(bench.deaf).toEqual([1]);
    listen(bench, 1);
    expect(bench.deaf).toEqual([1, 1]);
  });

  test("what is meant for another process does not count", () => {
    const bench = new Bench();
    listen(bench, 3);
    bench.down({ type: "node.control", incarnation: "f".repeat(16), action: { kind: "ping" } });
    listen(bench, 1);
    expect(bench.deaf).toEqual([1]);
  });
});

test("a registration that stays unanswered is told once, until something comes or the connection is a new one", () => {
  const bench = new Bench();
  const wait = (): void => {
    for (let tick = 0; tick < 40; tick++) bench.tick(100);
  };
  wait();
  expect(bench.unanswered).toEqual([]); // it is welcome, and asks nothing
  bench.agent.connected(bench.now());
  wait();
  wait();
  expect(bench.unanswered).toEqual([6_000]);
  bench.agent.connected(bench.now());
  wait();
  expect(bench.unanswered).toEqual([6_000, 14_000]);
  // Who is asked to wait, or is pinged, knows that somebody is there.
  for (let tick = 0; tick < 40; tick++) {
    bench.ping();
    bench.tick(100);
  }
  expect(bench.unanswered).toHaveLength(2);
  wait();
  expect(bench.unanswered).toHaveLength(3);
  bench.down({ type: "node.control", incarnation: INCARNATION, action: WELCOME });
  wait();
  expect(bench.unanswered).toHaveLength(3);
});

describe("a worker whose checks fail", () => {
  test("says so, gives back what it has not begun, and takes nothing more until they pass", () => {
    const bench = new Bench();
    bench.assign(0, 5);
    expect(bench.started).toHaveLength(2);
    bench.taken("node.register");
    bench.agent.troubled("no room left", bench.now());
    expect(bench.taken("node.register")).toMatchObject([{ trouble: "no room left" }]);
    const why = "its node is in error: no room left";
    expect(bench.taken("task.fail")).toMatchObject([{ released: [[1, 2, 5, 1]], why }]);
    bench.assign(5, 6);
    expect(bench.taken("task.fail")).toMatchObject([{ released: [[1, 5, 6, 1]], why }]);
    // Said again it is no news.
    bench.agent.troubled("no room left", bench.now());
    expect(bench.taken("node.register")).toEqual([]);
    bench.agent.troubled(undefined, bench.now());
    expect(bench.taken("node.register")).toMatchObject([{ held: expect.any(Array) }]);
    bench.agent.ended(bench.started[0]!, { ...ENDED, status: "completed" }, bench.now());
    bench.assign(6, 7);
    expect(bench.started.at(-1)?.index).toBe(6);
  });

  test("a reason that is too long for the wire is cut", () => {
    const bench = new Bench();
    bench.taken("node.register");
    bench.agent.troubled("x".repeat(1_000), bench.now());
    expect(bench.taken("node.register")[0]?.trouble).toHaveLength(LIMITS.trouble_chars);
  });

  test("results that its outbox does not take are kept, and told when it does", () => {
    const bench = new Bench();
    bench.assign(0, 2);
    bench.full = true;
    bench.agent.ended(bench.started[0]!, ENDED, bench.now());
    bench.agent.ended(bench.started[1]!, { ...ENDED, status: "completed" }, bench.now());
    bench.tick(1_000);
    expect([bench.agent.broken, bench.rows.size]).toEqual(["no room left", 0]);
    expect([...bench.taken("task.fail"), ...bench.taken("task.complete")]).toEqual([]);
    bench.full = false;
    bench.tick(1_000);
    expect([bench.agent.broken, bench.rows.size]).toEqual([undefined, 2]);
    const [failed] = bench.taken("task.fail");
    const [completed] = bench.taken("task.complete");
    expect([failed?.results[0]?.task, completed?.results[0]?.task]).toEqual([
      [1, 0, 1],
      [1, 1, 1],
    ]);
    // Acknowledged while there is no room to forget them: they are forgotten later, and told no more.
    bench.full = true;
    bench.down({ type: "report.ack", incarnation: INCARNATION, seqs: [1, 2] });
    expect([bench.agent.unacknowledged, bench.rows.size]).toEqual([0, 2]);
    bench.full = false;
    bench.tick(1_000);
    expect(bench.rows.size).toBe(0);
  });
});

test("folders that it is asked for are looked at, and told, before its welcome too, and not when it leaves", () => {
  const bench = new Bench();
  const folders: [string, boolean][] = [["/x", true]];
  bench.down({ type: "node.control", incarnation: INCARNATION, action: { kind: "look", folders: ["/x"] } });
  bench.down({ type: "node.control", incarnation: "f".repeat(16), action: { kind: "look", folders: ["/y"] } });
  expect(bench.looked_at).toEqual([["/x"]]);
  bench.agent.connected(bench.now());
  bench.agent.looked(folders);
  expect(bench.taken("node.folders")).toEqual([{ type: "node.folders", incarnation: INCARNATION, folders }]);
  bench.agent.leave(bench.now());
  bench.agent.looked(folders);
  expect(bench.taken("node.folders")).toEqual([]);
});

test("what it stops because the cluster does not have it here is said, once", () => {
  const bench = new Bench();
  bench.assign(0, 3);
  const cancel = (reason: "cancelled" | "superseded", from: number, to: number): void =>
    bench.down({ type: "task.cancel", incarnation: INCARNATION, runs: [[1, from, to, 1]], reason });
  cancel("cancelled", 0, 1);
  expect(bench.superseded).toEqual([]);
  // The third waits for room: nobody misses it.
  cancel("superseded", 1, 3);
  cancel("superseded", 1, 3);
  expect(bench.superseded).toEqual([["task_00000007.1"]]);
});

test("what has begun is told before it leaves, however short ago", () => {
  const bench = new Bench();
  bench.assign(0, 2);
  expect(bench.started).toHaveLength(2);
  for (const job of bench.started) bench.agent.started(job, 1_700_000_000_000 + job.index);
  bench.tick(10);
  expect(bench.taken("task.start")).toEqual([]);
  bench.agent.leave(bench.now());
  const runs = [
    [1, 0, 1, 1, 1_700_000_000_000],
    [1, 1, 2, 1, 1_700_000_000_001],
  ];
  expect(bench.taken("task.start")).toEqual([{ type: "task.start", incarnation: INCARNATION, runs } as never]);
});

const ENDED = { status: "failed", reason: "exit", exit_code: 1, started_at: 1, ended_at: 2 } as const;

test("that it has no skills is told where the cluster knows of some, and only there", () => {
  const bench = new Bench();
  const none = { hash: "e".repeat(16), list: [] };
  bench.agent.found(none, bench.now());
  bench.tick(5_000);
  expect(bench.taken("skill.update")).toEqual([]);
  bench.down({ type: "node.control", incarnation: INCARNATION, action: { ...WELCOME, skills: "a".repeat(16) } });
  bench.tick(5_000);
  expect(bench.taken("skill.update")).toMatchObject([{ hash: none.hash, skills: [] }]);
  bench.down({ type: "node.control", incarnation: INCARNATION, action: { kind: "skills", hash: none.hash } });
  bench.tick(5_000);
  expect(bench.taken("skill.update")).toEqual([]);
});
