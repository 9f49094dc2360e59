// A coordinator in the simulation: the production leader, view and catching up, around it a shell that can crash between
// any two of its effects.

import { dirname, join } from "node:path";
import type { ClawError } from "../../src/common/errors.ts";
import { createLogger } from "../../src/common/logging.ts";
import type { Runtime } from "../../src/common/runtime.ts";
import type { CommandType, UpMessage } from "../../src/communication/messages.ts";
import { Leader } from "../../src/coordinator/leader.ts";
import { leaderView } from "../../src/coordinator/leader-view.ts";
import { openView } from "../../src/coordinator/recovery.ts";
import { catchUp } from "../../src/coordinator/replica.ts";
import { Snapshots } from "../../src/coordinator/snapshots.ts";
import { Queries } from "../../src/storage/queries.ts";
import { removeDatabase } from "../../src/storage/snapshot.ts";
import type { View } from "../../src/storage/view.ts";
import { directMaker, mortal } from "./snapshots.ts";
import type { World } from "./world.ts";

const silent = createLogger({
  role: "sim",
  level: "error",
  format: "json",
  runtime: { wall_ms: () => 0 } as Runtime,
  write: () => undefined,
});

/** Thrown between two effects: everything that was only in memory is gone. */
export class Crash extends Error {}

export type Reply = (answer: object | ClawError) => void;

export class SimCoordinator {
  readonly #world: World;
  readonly #path: string;
  #view: View | undefined;
  #leader: Leader | undefined;
  #life = 0;
  #settling = false;
  #snapshots: Snapshots | undefined;
  #died = Promise.withResolvers<void>();

  constructor(world: World, path: string) {
    this.#world = world;
    this.#path = path;
  }

  get leader(): Leader | undefined {
    return this.#leader;
  }

  get view(): View | undefined {
    return this.#view;
  }

  /** Resolves when it leads, or has died on the way: what a dead process waited for never comes. */
  async start(): Promise<void> {
    this.#life += 1;
    this.#died = Promise.withResolvers<void>();
    await Promise.race([this.#live(this.#life), this.#died.promise]);
  }

  async #live(life: number): Promise<void> {
    const view = await openView(this.#common(life));
    if (life !== this.#life) {
      view.close();
      return;
    }
    this.#view = view;
    await this.#begin(life, view);
    await this.#keepSnapshots(life, view);
  }

  /** What recovery and snapshots need, in a life that may end at each of their calls to the world. */
  #common(life: number) {
    const { log, snapshots } = this.#world;
    const dies = (): boolean => {
      if (life === this.#life && this.#view !== undefined && this.#world.crashNow()) this.crash();
      return life !== this.#life;
    };
    return {
      view: this.#path,
      witness: `${this.#path}.witness`,
      folder: join(dirname(this.#path), `snapshot-${life}`),
      log: mortal(log, () => life !== this.#life),
      store: mortal(snapshots, dies),
      maker: directMaker,
      logger: silent,
    };
  }

  async #keepSnapshots(life: number, view: View): Promise<void> {
    if (life !== this.#life) return;
    const { clock, chance } = this.#world;
    const runtime: Runtime = {
      wall_ms: () => this.#world.now().wall_ms,
      monotonic_ms: () => clock.now_ms,
      random_bytes: (length) => Buffer.from(chance.hex(length), "hex"),
      after(delay_ms, action) {
        let wanted = true;
        clock.after(delay_ms, () => (wanted && life === alive() ? action() : undefined));
        return {
          cancel: () => {
            wanted = false;
          },
        };
      },
      soon: (action) => clock.after(0, action),
    };
    const alive = (): number => this.#life;
    this.#snapshots = new Snapshots({
      ...this.#common(life),
      runtime,
      flush: () => view.flush(),
      leading: () => life === this.#life && this.#leader?.serving === true,
      settings: { every_bytes: 2 ** 40, every_batches: 15, every_ms: 600_000, keep: 2 },
      margin_bytes: 4_000,
    });
    await this.#snapshots.start();
  }

  async #begin(life: number, view: View): Promise<void> {
    const { log, chance } = this.#world;
    const { state, tail } = await catchUp(view, log);
    if (life !== this.#life) return;
    const queries = new Queries(view.database);
    const nonce = chance.hex(8);
    const term = { over: false };
    const effect = (action: () => void): void => {
      if (this.#world.crashNow()) throw new Crash();
      action();
    };
    const open = () =>
      new Leader(
        state,
        tail,
        leaderView(view, queries),
        {
          append: (batch) =>
            effect(() => {
              void log.append(batch.sequence, nonce, batch.payload).then((result) => {
                if (life !== this.#life || term.over) return;
                if (result === "stored") this.#guard(() => this.#leader?.stored(batch.sequence, this.#world.now()));
                else {
                  term.over = true;
                  this.#leader = undefined;
                  this.#world.clock.after(250, () => (life === this.#life ? this.#begin(life, view) : undefined));
                }
              });
            }),
          committed: (committed) => {
            view.enqueue(committed.changes, {
              stream_created: log.created,
              sequence: committed.sequence,
              hash: committed.hash,
            });
          },
          reply: (token, answer) => effect(() => (token as Reply)(answer)),
          send: (node, message) => effect(() => this.#world.down(node, message)),
        },
        {
          name: "simulated",
          cluster: "sim",
          fresh_cluster_id: chance.hex(16),
          heartbeat_ms: 1_000,
          missed_heartbeats: 3,
          lost_after_ms: 8_000,
          abandoned_after_ms: 600_000,
          chance: () => chance.u32() / 2 ** 32,
        },
        this.#world.now(),
      );
    this.#guard(() => {
      this.#leader = open();
    });
    const leader = this.#leader;
    if (leader !== undefined) this.#tick(life, leader);
  }

  #tick(life: number, leader: Leader): void {
    if (life !== this.#life || leader !== this.#leader) return;
    this.#guard(() => {
      leader.tick(this.#world.now());
      if (this.#world.chance.once(3)) {
        this.#view?.flush();
        leader.flushed(this.#view?.flushed ?? 0);
      }
    });
    this.#world.clock.after(500, () => this.#tick(life, leader));
  }

  command(type: CommandType, payload: object, who: string, reply: Reply): void {
    this.#guard(() =>
      this.#leader?.command(type, payload, who, reply, JSON.stringify(payload).length, this.#world.now()),
    );
    this.#settle();
  }

  up(node: string, message: UpMessage): void {
    this.#guard(() => this.#leader?.up(node, message, JSON.stringify(message).length, this.#world.now()));
    this.#settle();
  }

  #settle(): void {
    if (this.#settling) return;
    this.#settling = true;
    this.#world.clock.after(0, () => {
      this.#settling = false;
      this.#guard(() => this.#leader?.settle(this.#world.now()));
    });
  }

  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      this.crash();
    }
  }

  /** kill -9: the view keeps what was flushed, memory is gone; it starts again a moment later. */
  crash(): void {
    this.#life += 1;
    this.#died.resolve();
    this.#leader = undefined;
    this.#view?.close();
    this.#view = undefined;
    this.#world.crashes += 1;
    const life = this.#life;
    // Its disk may be lost with it: then a snapshot and what the log has behind it have to do.
    if (this.#world.chance.once(3)) removeDatabase(this.#path);
    this.#world.clock.after(this.#world.chance.between(50, 3_000), () =>
      life === this.#life ? this.start() : undefined,
    );
  }

  close(): void {
    this.#life += 1;
    this.#leader = undefined;
    this.#view?.close();
    this.#view = undefined;
  }
}
