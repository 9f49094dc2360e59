// `scripts/chaos`: real processes under random faults. One NATS, two coordinators, three workers, all the compiled binary's;
// they are killed, stopped and let go on again, and their disks fill up and get room again, while thousands of tasks are
// submitted whose every attempt writes a line into a file that claw knows nothing of. At the end the ledger: what was
// acknowledged is there, done and recorded once.

import { appendFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Chance } from "../sim/chance.ts";
import { closeMachines, type Machine, machine, type Service, until } from "./binary.ts";
import { can_mount, fill, makeRoom, smallDisk } from "./small-disk.ts";

const HELP = `Runs a real cluster under random faults, and then looks whether everything acknowledged was done, and recorded once.

  scripts/chaos                      one minute
  scripts/chaos --minutes 30
  scripts/chaos --seed 7             the same faults in the same order, as far as real time allows
  scripts/chaos --faults full --only nats        one kind of fault, one kind of process

  --faults LIST    of killed, stopped, full (all of them)
  --only NAMES     only to processes whose names begin so: nats, coordinator, worker, "worker 2"
`;

const FAULTS = ["killed", "stopped", "full"] as const;
type Fault = (typeof FAULTS)[number];

/** How often each of them among as many as these are together, so that a minute has each. */
const SHARES: Record<Fault, number> = { killed: 2, stopped: 2, full: 1 };

const MEMBERS = 100;
/** What fills a disk must not be what the machine works with. */
const DISK_MIB = 64;
const LOG_DISK_MIB = 256;
/** Ids that one command is given. */
const AT_ONCE = 200;
/** Everything has to be over so long after the last fault. */
const PEACE_MS = 180_000;

/** One process that is killed and started again, stopped and let go on. */
class Victim {
  readonly name: string;
  readonly #machine: Machine;
  readonly #start: (here: Machine) => Promise<Service>;
  #service: Service | undefined;
  readonly #lives: Service[] = [];
  #full = false;

  constructor(name: string, here: Machine, start: (here: Machine) => Promise<Service>) {
    this.name = name;
    this.#machine = here;
    this.#start = start;
  }

  async up(): Promise<void> {
    this.#service = await this.#start(this.#machine);
    this.#lives.push(this.#service);
  }

  get log(): string {
    return this.#service?.log ?? "";
  }

  /** What ended one of its lives, and no fault of ours may. */
  get wrong(): string | undefined {
    const lines = this.#lives.flatMap(({ log }) => log.split("\n"));
    return lines.find((line) => /"code":"(fold_differs|log_lost|wrong_cluster|io)"|a bug: /.test(line));
  }

  async kill(): Promise<void> {
    await this.#service?.kill();
  }

  signal(name: "SIGSTOP" | "SIGCONT"): void {
    if (this.#service?.running === true) process.kill(this.#service.pid, name);
  }

  async fill(): Promise<void> {
    this.#full = true;
    await fill(this.#machine);
  }

  /** What ended itself meanwhile is started again, as its supervisor would; a NATS whose disk was full, as it asks for. */
  async heal(): Promise<void> {
    this.signal("SIGCONT");
    if (this.#full) {
      await makeRoom(this.#machine);
      if (this.name === "nats") await this.kill();
      this.#full = false;
    }
    if (this.#service?.running !== true) await this.up();
  }
}

interface Acknowledged {
  key: string;
  id: string;
}

class Chaos {
  readonly #chance: Chance;
  readonly #began_ms = performance.now();
  readonly #client: Machine;
  readonly #ledger: string;
  readonly #acknowledged: Acknowledged[] = [];
  readonly faults = new Map<string, number>();
  #url = "";
  #victims: Victim[] = [];
  #peace = false;
  #problem: string | undefined;

  constructor(seed: number) {
    this.#chance = new Chance(seed);
    this.#client = machine();
    this.#ledger = join(this.#client.folder, "ledger");
    appendFileSync(this.#ledger, "");
    mkdirSync(`${this.#ledger}.marks`);
  }

  #say(what: string): void {
    console.log(`${((performance.now() - this.#began_ms) / 1000).toFixed(1).padStart(7)} s  ${what}`);
  }

  async #nats(here: Machine): Promise<Service> {
    const folder = join(here.folder, "nats");
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    const server = process.env["NATS_SERVER"] ?? "nats-server";
    const port = this.#url === "" ? "-1" : new URL(this.#url).port;
    const settings = join(here.folder, "nats.conf");
    // More than the disk has: what claw reserves for output is not what it needs here.
    writeFileSync(settings, "jetstream { max_file: 4GB }\n");
    const args = [
      "-c",
      settings,
      "-js",
      "-sd",
      join(here.home, "store"),
      "-a",
      "127.0.0.1",
      "-p",
      port,
      "--ports_file_dir",
      folder,
    ];
    const service = here.beginOther([...here.within(here.folder), server, ...args]);
    this.#url = await until("the server's port", () => {
      const file = readdirSync(folder).find((name) => name.endsWith(".ports"));
      const text = file === undefined ? "" : readFileSync(join(folder, file), "utf8");
      return text === "" ? undefined : (JSON.parse(text) as { nats: string[] }).nats[0];
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${service.log}`);
    });
    return service;
  }

  async start(): Promise<void> {
    const disk = (mib: number) => (can_mount ? smallDisk(mib) : machine());
    if (!can_mount) this.#say("no full disks: this machine does not let anybody mount one");
    const nats = new Victim("nats", await disk(LOG_DISK_MIB), (here) => this.#nats(here));
    await nats.up();
    const others: Victim[] = [];
    for (const [kind, count] of [
      ["coordinator", 2],
      ["worker", 3],
    ] as const) {
      for (let at = 1; at <= count; at++) {
        const start = (here: Machine) => Promise.resolve(here.begin(["--role", kind, "--nats", this.#url]));
        others.push(new Victim(`${kind} ${at}`, await disk(DISK_MIB), start));
      }
    }
    this.#victims = [nats, ...others];
    for (const one of others) await one.up();
    for (const one of others) {
      await until(`${one.name} is ready`, () => /is up|has joined/.test(one.log) || undefined).catch(
        (error: unknown) => {
          throw new Error(`${String(error)}\n${one.log}`);
        },
      );
    }
  }

  /** Submits arrays one after the other; under one key each, so that whatever is in doubt can be sent again. */
  async load(client: number): Promise<void> {
    const env = { CLAW_NATS_URL: this.#url };
    // A tenth fails at its first attempt with 7, which is worth another one, and then with 8, which is not. What a full
    // disk keeps from starting is tried again for as long as it takes.
    const line = `echo "$CLAW_TASK_ID" >> ${this.#ledger}; [ $((CLAW_TASK_INDEX % 10)) = 9 ] || exit 0
      mkdir "${this.#ledger}.marks/$CLAW_TASK_ID" 2>/dev/null && exit 7; exit 8`;
    const retry = ["--retries", "100", "--retry-on", "7,spawn", "--backoff", "100ms"];
    for (let at = 0; !this.#peace; at++) {
      const key = `chaos-${client}-${at}`;
      const words = ["submit", "--json", "--key", key, "--array", String(MEMBERS), ...retry];
      for (;;) {
        const { code, out, err } = await this.#client.claw([...words, "--shell", line], { env, deadline_ms: 120_000 });
        if (code === 0) {
          this.#acknowledged.push({ key, id: (JSON.parse(out) as { id: string }).id });
          break;
        }
        // No coordinator for now: as good as a pause. Anything else is none of the faults'.
        if (code === 69 || code === 75) continue;
        this.#problem ??= `a submission ended with ${code}: ${err}`;
        return;
      }
      await Bun.sleep(this.#chance.between(400, 2_000));
    }
  }

  async faultsFor(duration_ms: number, faults: readonly Fault[], only: string): Promise<void> {
    const end_ms = performance.now() + duration_ms;
    const names = only.split(",");
    const victims = this.#victims.filter(({ name }) => names.some((one) => name.startsWith(one)));
    const shares = faults.flatMap((fault) => Array.from({ length: SHARES[fault] }, () => fault));
    let left = [...shares];
    while (performance.now() < end_ms && this.#problem === undefined) {
      await Bun.sleep(this.#chance.between(500, 3_000));
      const victim = victims[this.#chance.below(victims.length)];
      if (left.length === 0) left = [...shares];
      const [fault] = left.splice(this.#chance.below(left.length), 1);
      if (victim === undefined || fault === undefined)
        throw new Error("there is nothing to do harm to, or no harm to do");
      const pause_ms = this.#chance.between(100, 5_000);
      const what = `${victim.name}: ${fault}`;
      this.#say(`${what} for ${pause_ms} ms`);
      this.faults.set(what, (this.faults.get(what) ?? 0) + 1);
      if (fault === "killed") await victim.kill();
      else if (fault === "full") await victim.fill();
      else victim.signal("SIGSTOP");
      await Bun.sleep(pause_ms);
      await victim.heal();
    }
    for (const victim of this.#victims) await victim.heal();
    this.#peace = true;
  }

  /** The ledger; throws what is wrong with it. */
  async settle(): Promise<string> {
    if (this.#problem !== undefined) throw new Error(this.#problem);
    const env = { CLAW_NATS_URL: this.#url };
    this.#say(`peace: ${this.#acknowledged.length} arrays of ${MEMBERS} were acknowledged`);
    const ids = this.#acknowledged.map(({ id }) => id);
    if (new Set(ids).size !== ids.length) throw new Error("two keys have one task");
    const every: { id: string; counts?: Record<string, number> }[] = [];
    for (let at = 0; at < ids.length; at += AT_ONCE) {
      const some = ids.slice(at, at + AT_ONCE);
      const waited = await this.#client.claw(["wait", ...some], { env, deadline_ms: PEACE_MS });
      if (waited.code !== 1) throw new Error(`wait ended with ${waited.code}, not 1: ${waited.err}`);
      every.push(...(await this.#client.json<typeof every>(["show", ...some], { env })));
    }
    const executed = new Map<string, number>();
    for (const line of readFileSync(this.#ledger, "utf8").split("\n")) {
      if (line !== "") executed.set(line, (executed.get(line) ?? 0) + 1);
    }
    const { tasks: counted } = await this.#client.json<{ tasks: Record<string, number> }>(["status"], { env });
    const total = ids.length * MEMBERS;
    if (counted["total"] !== total) throw new Error(`${total} tasks were acknowledged, ${counted["total"]} are there`);
    let [again, tasks] = [0, 0];
    for (const id of ids) {
      const counts = every.find((one) => one.id === id)?.counts;
      const [completed, failed] = [counts?.["completed"], counts?.["failed"]];
      if (completed !== MEMBERS * 0.9 || failed !== MEMBERS * 0.1) {
        throw new Error(
          `${id}: ${completed} succeeded and ${failed} failed of ${MEMBERS}, a tenth of them should have`,
        );
      }
      for (let index = 0; index < MEMBERS; index++) {
        const times = executed.get(`${id}.${index}`) ?? 0;
        // Who fails is tried once more.
        const wanted = index % 10 === 9 ? 2 : 1;
        if (times < wanted) throw new Error(`${id}.${index} is recorded and was run ${times} times, not ${wanted}`);
        again += times - wanted;
        tasks += 1;
      }
    }
    const lines = [
      `submitted and acknowledged   ${tasks}`,
      `recorded                     ${tasks}, each once`,
      `lost                         0`,
      `executed more than once      ${again} (allowed: a worker died, or was not heard, while they ran)`,
      `faults                       ${[...this.faults].map(([what, times]) => `${what} ${times}`).join(", ")}`,
    ];
    // The books may be right all the same: they are shown.
    for (const { name, wrong } of this.#victims) {
      if (wrong !== undefined) throw new Error(`${name} ended itself: ${wrong}\n${lines.join("\n")}`);
    }
    return lines.join("\n");
  }
}

async function main(argv: string[]): Promise<number> {
  const options = {
    minutes: { type: "string" },
    seed: { type: "string" },
    faults: { type: "string" },
    only: { type: "string" },
    help: { type: "boolean", short: "h" },
  } as const;
  const { values } = parseArgs({ args: argv, options });
  if (values.help === true) {
    console.log(HELP);
    return 0;
  }
  const [minutes, seed] = [Number(values.minutes ?? 1), Number(values.seed ?? 1)];
  if (!(minutes > 0 && minutes <= 24 * 60) || !Number.isSafeInteger(seed)) {
    process.stderr.write(
      "chaos: --minutes is a number from 0 to 1440, --seed a whole one\n  see scripts/chaos --help\n",
    );
    return 64;
  }
  const named = values.faults?.split(",") ?? FAULTS;
  const faults = FAULTS.filter((fault) => named.includes(fault) && (fault !== "full" || can_mount));
  if (named.some((name) => !(FAULTS as readonly string[]).includes(name)) || faults.length === 0) {
    process.stderr.write(`chaos: --faults is of ${FAULTS.join(", ")}\n  see scripts/chaos --help\n`);
    return 64;
  }
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => void closeMachines().finally(() => process.exit(130)));
  }
  try {
    const chaos = new Chaos(seed);
    await chaos.start();
    const loads = [1, 2].map((client) => chaos.load(client));
    await chaos.faultsFor(minutes * 60_000, faults, values.only ?? "");
    await Promise.all(loads);
    console.log(await chaos.settle());
    return 0;
  } finally {
    await closeMachines();
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`chaos: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
