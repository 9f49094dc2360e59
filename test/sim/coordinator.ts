// A coordinator in the simulation: the production terms, election, view, snapshots and recovery, in a process that can be
// killed, stopped and cut off.

import { dirname, join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { createLogger } from "../../src/common/logging.ts";
import type { Runtime } from "../../src/common/runtime.ts";
import type { Lease } from "../../src/communication/lease.ts";
import type { CommandType, UpMessage } from "../../src/communication/messages.ts";
import { Election } from "../../src/coordinator/election.ts";
import type { Leader } from "../../src/coordinator/leader.ts";
import { openView, renewView } from "../../src/coordinator/recovery.ts";
import { Snapshots } from "../../src/coordinator/snapshots.ts";
import { Terms, type TermsWorld } from "../../src/coordinator/term.ts";
import { Queries } from "../../src/storage/queries.ts";
import { removeDatabase } from "../../src/storage/snapshot.ts";
import type { View } from "../../src/storage/view.ts";
import { DEFAULT_PLACEMENT } from "../core/placing-model.ts";
import { Said } from "./folders.ts";
import { Heard } from "./nodes.ts";
import { Crash, SimProcess } from "./process.ts";
import { watchRows } from "./rows.ts";
import { directMaker } from "./snapshots.ts";
import type { World } from "./world.ts";

const silent = createLogger({
  role: "sim",
  level: "error",
  format: "json",
  runtime: { wall_ms: () => 0 } as Runtime,
  write: () => undefined,
});

export type Reply = (answer: object | ClawError) => void;

const LEASE_MS = 2_000;

export class SimCoordinator {
  readonly id: string;
  readonly process: SimProcess;
  readonly #world: World;
  readonly #path: string;
  #view: View | undefined;
  #terms: Terms | undefined;
  #election: Election | undefined;
  #snapshots: Snapshots | undefined;
  /** Whether it wants to be asked. */
  #leads = false;
  #heard = new Heard();
  #said = new Said();

  constructor(world: World, id: string, path: string) {
    this.#world = world;
    this.id = id;
    this.#path = path;
    this.process = new SimProcess(world);
  }

  get leader(): Leader | undefined {
    return this.#terms?.leader;
  }

  get view(): View | undefined {
    return this.#view;
  }

  /** Brings its view up to what it knows of the log. */
  flush(): void {
    this.#terms?.flush();
  }

  start(): void {
    const { life } = this.process;
    this.#live(life).catch((error: unknown) => {
      if (life === this.process.life) this.#failed(error);
    });
  }

  async #live(life: number): Promise<void> {
    const { process } = this;
    const world = this.#world;
    const runtime = process.runtime();
    const dies = (): boolean => {
      if (this.#view === undefined || life !== process.life || !world.crashNow()) return false;
      this.crash();
      return true;
    };
    const silence = (patience_ms: number) => async (name: string) => {
      await new Promise<void>((resolve) => world.clock.after(patience_ms, resolve));
      if (name === "append") return "unknown";
      throw new ClawError("broker", "cut off");
    };
    const log = process.port(world.log, dies, silence(5_000));
    const common = {
      log,
      store: process.port(world.snapshots, dies, silence(5_000)),
      maker: directMaker,
      logger: silent,
      view: this.#path,
      folder: join(dirname(this.#path), `${this.id}-snapshot-${life}`),
    };
    const recovery = {
      ...{ ...common, witness: `${this.#path}.witness`, folder: `${common.folder}-recovery` },
      stopped: () => life !== process.life,
    };
    const view = await openView(recovery);
    if (life !== process.life) {
      view.close();
      return;
    }
    this.#view = view;
    watchRows(view, (sequence, sum) => world.checkView(this.id, sequence, sum));
    this.#terms = this.#openTerms(runtime, log, view, async (why) => {
      world.tell(`${this.id}: begins anew, ${why.message}`);
      world.renewals += 1;
      await renewView(recovery, view, why);
    });
    await this.#terms.start();
    this.#election = new Election({
      ...{ runtime, id: this.id, name: this.id, lease_ms: LEASE_MS, beat: world.chance.u32(), alone: false },
      lease: this.#lease(process.port(world.lease, dies, silence(LEASE_MS))),
      lead: () => {
        world.tell(`${this.id}: has the lease`);
        this.#terms?.elect();
      },
      yield: (why) => {
        world.tell(`${this.id}: yields, ${why}`);
        this.#terms?.depose(why);
      },
      ready: () => this.#terms?.ready === true,
      silent: () => undefined,
      heard: () => undefined,
      failed: (error) => this.#failed(error),
    });
    void this.#election.start();
    this.#snapshots = new Snapshots({
      ...{ ...common, runtime },
      flush: () => this.flush(),
      leading: () => this.leader !== undefined,
      acknowledged: () => this.#terms?.sequence ?? 0,
      shrunk: () => this.#terms?.prove(),
      settings: { every_bytes: 2 ** 40, every_batches: 15, every_ms: 600_000, keep: 2 },
      margin_bytes: 4_000,
    });
    await this.#snapshots.start();
  }

  #lease(port: Lease): Lease {
    const { process } = this;
    const { life } = process;
    return {
      read: () => port.read(),
      write: (record, revision) => port.write(record, revision),
      watch: (changed) => this.#world.lease.watch(() => (process.cut ? undefined : process.run(life, changed))),
    };
  }

  #openTerms(runtime: Runtime, log: World["log"], view: View, renew: TermsWorld["renew"]): Terms {
    const world = this.#world;
    return new Terms(
      {
        ...{ runtime, log, view, logger: silent, renew },
        bus: {
          send: (node, message) => {
            if (world.crashNow()) throw new Crash();
            if (message.type === "node.control" && message.action.kind === "welcome") {
              this.#heard.welcomed(world, node, message.incarnation);
            }
            if (!this.process.cut) world.down(node, message);
          },
        },
        differs: (difference) => {
          throw difference;
        },
        trusted: () => this.#election?.trusted === true,
        committed: () => undefined,
        leads: (leads) => {
          this.#leads = leads;
          // What a term took for true may not have got into the log.
          this.#heard = new Heard();
          this.#said = new Said();
          world.tell(`${this.id}: ${leads ? "opens a term" : "its term is over"}`);
        },
        decided: (event, state) => this.#said.decided(event, state, world.clock.now_ms),
        failed: (error) => this.#failed(error),
      },
      {
        cluster: "sim",
        name: this.id,
        heartbeat_ms: 1_000,
        missed_heartbeats: 3,
        lost_after_ms: 8_000,
        retention: world.retention,
        placement: { ...DEFAULT_PLACEMENT, reserve_after_ms: 2_000 },
      },
    );
  }

  #failed(error: unknown): void {
    // At a start the broker may be away: its supervisor starts it again.
    if (error instanceof Crash || (error instanceof ClawError && error.code === "broker")) this.crash();
    else this.#world.failed(error);
  }

  /** Hands what arrives to the process, if it can hear it. */
  #hear(action: () => void): void {
    const { life } = this.process;
    if (!this.#leads || this.process.cut) return;
    this.process.run(life, () => {
      try {
        action();
      } catch (error) {
        this.#failed(error);
      }
    });
  }

  command(type: CommandType, payload: object, who: string, reply: Reply): void {
    const respond = (answer: object): void => {
      if (this.#world.crashNow()) throw new Crash();
      if (!this.process.cut) reply(answer);
    };
    this.#hear(() => this.#terms?.command(type, payload, who, JSON.stringify(payload).length, { respond }));
  }

  up(node: string, message: UpMessage): void {
    this.#hear(() => {
      const { incarnation } = this.leader?.state.nodes.get(node) ?? {};
      if (message.type === "node.heartbeat" && incarnation?.startsWith(message.i) === true) {
        this.#heard.heartbeat(node, incarnation, this.#world.clock.now_ms);
      }
      if (message.type === "node.folders") this.#said.heard(message, this.#world.clock.now_ms);
      this.#terms?.up(node, message, JSON.stringify(message).length);
    });
  }

  /** What a query would say: whether it knows the submission. Answered by who may be certain that nobody else leads. */
  query(number: number, reply: (known: boolean) => void): void {
    this.#hear(() => {
      if (this.#terms?.leader === undefined || this.#view === undefined) return;
      this.#terms.flush();
      const queries = new Queries(this.#view);
      reply(queries.submission(number) !== undefined || queries.wasPruned(number));
    });
  }

  /** Whether it has the submission now. */
  knows(number: number): boolean {
    this.flush();
    return this.#view !== undefined && new Queries(this.#view).submission(number) !== undefined;
  }

  /** kill -9, and its disk with it. */
  wipe(): void {
    this.crash();
    removeDatabase(this.#path);
  }

  /** kill -9: the view keeps what was flushed, memory is gone; it starts again a moment later. */
  crash(): void {
    this.#end();
    this.#world.crashes += 1;
    // Its disk may be lost with it: then a snapshot and what the log has behind it have to do.
    if (this.#world.befalls("disk", this.#world.chance.once(3))) removeDatabase(this.#path);
    this.#world.tell(`${this.id}: killed`);
    const { life } = this.process;
    this.#world.clock.after(this.#world.chance.between(50, 3_000), () => this.process.run(life, () => this.start()));
  }

  #end(): void {
    this.process.die();
    this.#heard = new Heard();
    this.#said = new Said();
    this.#leads = false;
    this.#terms = undefined;
    this.#election = undefined;
    this.#snapshots = undefined;
    this.#view?.close();
    this.#view = undefined;
  }

  /** A clean stop, as systemd asks for: it hands over, and starts again a moment later. */
  leave(): void {
    const [terms, election] = [this.#terms, this.#election];
    const { life } = this.process;
    if (terms === undefined || election === undefined) return;
    this.#leads = false;
    const leaving = async (): Promise<void> => {
      await terms.settled(1_000);
      await election.stop();
      if (life !== this.process.life) return;
      terms.stop();
      this.#end();
      const next = this.process.life;
      this.#world.clock.after(this.#world.chance.between(50, 3_000), () => this.process.run(next, () => this.start()));
    };
    leaving().catch((error: unknown) => this.#failed(error));
  }

  close(): void {
    this.#end();
  }
}
