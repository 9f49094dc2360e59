// A node that the test plays itself, over a real connection with a worker's credentials: it says what the test wants it to
// say, and forgets, repeats or invents what a real one never would.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Capacity, NodeInfo, Outcome } from "../../src/common/models.ts";
import { randomHex, systemRuntime } from "../../src/common/runtime.ts";
import { connectOptions } from "../../src/communication/broker.ts";
import { WorkerBus } from "../../src/communication/bus.ts";
import { type NatsConnection, openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import type { DownMessage, Run, UpMessage } from "../../src/communication/messages.ts";
import { OutputPublisher } from "../../src/communication/output.ts";
import { Held } from "../../src/core/held.ts";
import type { Cluster } from "../cluster.ts";
import { until } from "../until.ts";

type Assign = Extract<DownMessage, { type: "task.assign" }>;
type Cancel = Extract<DownMessage, { type: "task.cancel" }>;
type Action = Extract<DownMessage, { type: "node.control" }>["action"];
type ActionOf<K extends Action["kind"]> = Extract<Action, { kind: K }>;

const CAPACITY: Capacity = { cpu_millis: 1000, memory_mib: 1000, gpus: 0, resources: {} };

export class PlayedNode {
  readonly id: string;
  readonly name: string;
  readonly #connection: NatsConnection;
  readonly #bus: WorkerBus;
  /** What came and was not asked for yet. */
  readonly #heard: DownMessage[] = [];
  incarnation = newIncarnation();
  /** Those that came with heartbeats. */
  pings = 0;
  /** Lives that are certain to be over. */
  earlier: string[] = [];
  #seq = 0;

  private constructor(connection: NatsConnection, cluster: string, id: string, name: string) {
    this.#connection = connection;
    this.id = id;
    this.name = name;
    this.#bus = new WorkerBus(connection, cluster, id, (_, why) => {
      throw new Error(why);
    });
    this.#bus.listen((message) => {
      // As a worker does: another process that takes itself for this node may be meant.
      if (message.incarnation.slice(0, 8) !== this.incarnation.slice(0, 8)) return;
      const action = message.type === "node.control" ? message.action : undefined;
      if (action?.kind === "ping" && action.answer !== true) this.pings += 1;
      else this.#heard.push(message);
    });
  }

  static async join(cluster: Cluster, name: string): Promise<PlayedNode> {
    const { creds } = await cluster.client.command("credentials.export", { v: 1, role: "worker" });
    mkdirSync(join(cluster.home, name), { recursive: true });
    const path = join(cluster.home, name, "worker.creds");
    writeFileSync(path, creds, { mode: 0o600 });
    return await PlayedNode.#connect(cluster, name, path);
  }

  /** Another process with the same key, which knows nothing of this one's lives. */
  twin(cluster: Cluster): Promise<PlayedNode> {
    return PlayedNode.#connect(cluster, this.name, join(cluster.home, this.name, "worker.creds"));
  }

  static async #connect(cluster: Cluster, name: string, path: string): Promise<PlayedNode> {
    const nats_url = cluster.coordinator.nats_url;
    const credentials = readCredentials(path);
    const connection = await openConnection(connectOptions(name, nats_url, credentials));
    return new PlayedNode(connection, cluster.client.cluster, credentials.id, name);
  }

  info(capacity: Partial<Capacity> = {}): NodeInfo {
    const executors: NodeInfo["executors"] = ["command", "shell", "noop"];
    const machine = { machine: "m", os: "linux", arch: "x64", version: "1.0.0", pid: 1 };
    return { name: this.name, ...machine, capacity: { ...CAPACITY, ...capacity }, tags: [], attributes: {}, executors };
  }

  /** What an attempt writes on its standard output. */
  async write(cluster: Cluster, number: number, attempt: number, text: string): Promise<void> {
    const publisher = new OutputPublisher(this.#connection, cluster.client.cluster, this.id, {
      runtime: systemRuntime,
    });
    const kept = await publisher.publish(number, 0, attempt, "stdout", new TextEncoder().encode(text));
    if (!kept) throw new Error("the output was not kept");
  }

  send(message: UpMessage): void {
    this.#bus.send(message);
  }

  /** Registers and does not wait for an answer. */
  claim(): void {
    const { incarnation, earlier } = this;
    this.send({ type: "node.register", v: 1, incarnation, earlier, info: this.info(), held: [] });
  }

  async register(
    more: { held?: Run[]; cluster_id?: string; capacity?: Partial<Capacity>; trouble?: string } = {},
  ): Promise<void> {
    const { held = [], cluster_id, capacity, trouble } = more;
    this.send({
      type: "node.register",
      v: 1,
      incarnation: this.incarnation,
      earlier: this.earlier,
      info: this.info(capacity),
      ...(trouble === undefined ? {} : { trouble }),
      held,
      ...(cluster_id === undefined ? {} : { cluster_id }),
    });
    await this.control("welcome");
  }

  /** A life begins anew: what the earlier one ran is gone. */
  begin(): void {
    this.earlier.unshift(this.incarnation);
    this.incarnation = newIncarnation();
    this.#heard.length = 0;
  }

  /** `p: undefined`: it heard no ping. */
  heartbeat(runs: readonly Run[], more: { p?: number | undefined; c?: number; m?: number; d?: number } = {}): void {
    const held = new Held();
    for (const run of runs) held.add(...run);
    const { p, ...load } = { p: 1, ...more };
    const heard = p === undefined ? {} : { p };
    const i = this.incarnation.slice(0, 8);
    this.send({ type: "node.heartbeat", i, n: held.count, h: held.hash, ...heard, ...load });
  }

  /** The next message that the test waits for; others that came meanwhile are kept. */
  async #next<T extends DownMessage>(fits: (message: DownMessage) => message is T, what: string): Promise<T> {
    return await until(
      () => {
        const position = this.#heard.findIndex(fits);
        return position < 0 ? undefined : (this.#heard.splice(position, 1)[0] as T);
      },
      `${what} at ${this.name}; there is ${JSON.stringify(this.#heard).slice(0, 500)}`,
    );
  }

  assigned(): Promise<Assign> {
    return this.#next((message): message is Assign => message.type === "task.assign", "an assignment");
  }

  /** The one run that the next assignment brings. */
  async run(): Promise<Run> {
    const { items } = await this.assigned();
    if (items.length !== 1) throw new Error(`not one run: ${JSON.stringify(items)}`);
    return items[0]!.run;
  }

  cancelled(): Promise<Cancel> {
    return this.#next((message): message is Cancel => message.type === "task.cancel", "a cancel");
  }

  async control<K extends Action["kind"]>(kind: K): Promise<ActionOf<K>> {
    type Control = Extract<DownMessage, { type: "node.control" }>;
    const fits = (message: DownMessage): message is Control =>
      message.type === "node.control" && message.action.kind === kind;
    return (await this.#next(fits, kind)).action as ActionOf<K>;
  }

  async acknowledged(seq: number): Promise<void> {
    type Ack = Extract<DownMessage, { type: "report.ack" }>;
    await this.#next(
      (message): message is Ack => message.type === "report.ack" && message.seqs.includes(seq),
      `ack ${seq}`,
    );
  }

  /** Reports a plain success and waits until it may be forgotten. */
  async complete([number, from, to, attempt]: Run): Promise<number> {
    this.#seq += 1;
    const seq = this.#seq;
    const at = Date.now();
    const { incarnation } = this;
    this.send({ type: "task.complete", incarnation, seq, runs: [[number, from, to, attempt, at, at]], results: [] });
    await this.acknowledged(seq);
    return seq;
  }

  async end(task: [number: number, index: number, attempt: number], outcome: Partial<Outcome> = {}): Promise<void> {
    this.#seq += 1;
    const at = Date.now();
    const whole: Outcome = { status: "failed", reason: "exit", exit_code: 1, started_at: at, ended_at: at, ...outcome };
    const { incarnation } = this;
    this.send({ type: "task.fail", incarnation, seq: this.#seq, results: [{ task, outcome: whole }], released: [] });
    await this.acknowledged(this.#seq);
  }

  async release(run: Run, why?: string): Promise<void> {
    const more = why === undefined ? {} : { why };
    this.#seq += 1;
    const { incarnation } = this;
    this.send({ type: "task.fail", incarnation, seq: this.#seq, results: [], released: [run], ...more });
    await this.acknowledged(this.#seq);
  }

  /** What came and nobody asked for. */
  get heard(): readonly DownMessage[] {
    return this.#heard;
  }

  async close(): Promise<void> {
    this.#bus.stop();
    await this.#connection.close();
  }
}

function newIncarnation(): string {
  return randomHex(systemRuntime, 8);
}
