// `claw snapshot …` as it is typed.

import type { Command } from "commander";
import { ClawError } from "../common/errors.ts";
import type { TaskCounts } from "../common/models.ts";
import { resolvePaths } from "../common/paths.ts";
import { redactAddresses } from "../common/redact.ts";
import { EXAMPLES } from "./examples.ts";
import type { Io } from "./io.ts";
import type { On } from "./on.ts";
import { colorOption, targetOptions } from "./options.ts";

export interface RestoreCall {
  /** Undefined: from this machine's view. */
  file: string | undefined;
  force: boolean;
  /** Into a NATS of its own on this machine, whatever the settings say. */
  own: boolean;
  /** Settings by their paths. */
  flags: Record<string, unknown>;
  config?: string;
  profile?: string;
}

export interface RestoreOutcome {
  cluster: string;
  cluster_id: string;
  sequence: number;
  tasks: TaskCounts;
  /** Where the view that was there before is now. */
  kept: string | undefined;
  /** Workers' and clients' are still good. */
  credentials: boolean;
  /** Where it is not on this machine. */
  nats_url: string | undefined;
}

export function snapshotCommands(
  group: Command,
  io: Io,
  on: On,
  restore: (call: RestoreCall) => Promise<RestoreOutcome>,
): void {
  const examples = EXAMPLES["snapshot"] ?? "";
  group.description("the cluster's whole state: into a file and back").addHelpText("before", examples);
  const save = targetOptions(group.command("save <file>"))
    .description("take a snapshot and write it into a file, or to standard output with -")
    .option("--force", "write over a file that is there")
    .option("-y, --yes", "do not ask whether to write over one")
    .option("--json", "what it has, as JSON")
    .addHelpText("before", examples);
  on(save, async (at, client, [file = "-"], options) =>
    (await import("./commands/snapshot.ts")).saveSnapshot(at, client, file, options),
  );
  const ls = targetOptions(group.command("ls"))
    .description("the snapshots that the cluster keeps, newest first")
    .option("--json", "a JSON array")
    .option("-q, --quiet", "ids only")
    .addHelpText("before", examples);
  on(colorOption(ls), async (at, client, _words, options) =>
    (await import("./commands/snapshot.ts")).listSnapshots(at, client, options),
  );
  group
    .command("restore [file]")
    .description("put a cluster back on this machine, while no coordinator runs on it")
    .option("--from-view", "not from a file: from this machine's view, when the broker lost the log")
    .option("--force", "even over what would be lost by it")
    .option("--nats <url>", "into the log on this NATS, instead of one on this machine")
    .option("--creds <file>", "the coordinator's credentials for it")
    .option("--own", "into a log on this machine, although the coordinator was started with another NATS")
    .option("--cluster <name>", "the cluster's name (default)")
    .option("--config <file>", "the coordinator's settings")
    .option("--profile <name>", "another cluster's files on this machine")
    .option("--json", "what was restored, as JSON")
    .addHelpText("before", examples)
    .addHelpText("after", RESTORE_NOTES)
    .action(async (file: string | undefined, _given: Given, command: Command) =>
      restoreCommand(io, restore, file, command.optsWithGlobals<Given>()),
    );
}

interface Given {
  fromView?: boolean;
  force?: boolean;
  nats?: string;
  creds?: string;
  own?: boolean;
  cluster?: string;
  config?: string;
  profile?: string;
  json?: boolean;
}

const RESTORE_NOTES = `
The cluster keeps its id and its tasks; a new log begins where the restored state ends, and workers that still run
something are reconciled when they come back. What would be lost is named, and nothing is done without --force.
With a NATS of the cluster's own: stop every coordinator, restore on one machine with --nats URL, and start that one first.
--from-view without it goes on with a log on this machine, and only when nobody answers at that NATS any more.
Another one whose view knows more than was restored refuses to start, until that view is moved away as said below.
Credentials of workers and clients stay good where the cluster's keys are: identity.json in the coordinator's data folder. On
another machine, copy that file there first; without it everybody needs new ones, and what to type is said.
To go on with the log as the broker has it instead, and to lose what only the view knows: move view.sqlite and
witness.json out of the coordinator's data folder and start claw again.
`;

function newCredentials(profile: string | undefined, folder: string): string {
  const make = `claw credentials export${profile === undefined ? "" : ` --profile ${profile}`} --role`;
  return `  the cluster's keys are not on this machine, so that workers and clients elsewhere need new credentials, a file each:
    ${make} worker --out w.creds
    ${make} client --out c.creds
  or, if the old coordinator had claw's own NATS and its folder can still be read: before you start this one, move its
  jetstream away, copy the old one's identity.json into ${folder}, and restore again; then the old credentials are good
`;
}

async function restoreCommand(
  io: Io,
  restore: (call: RestoreCall) => Promise<RestoreOutcome>,
  file: string | undefined,
  { fromView, force, nats, creds, own, cluster: named, config, profile, json }: Given,
): Promise<void> {
  if ((file === undefined) !== (fromView === true)) {
    const message = file === undefined ? "from which file?" : "from a file or from the view, not from both";
    throw new ClawError("usage", message, { hint: "claw snapshot restore FILE, or claw snapshot restore --from-view" });
  }
  if (file === "-") {
    throw new ClawError("usage", "a snapshot is read twice: it has to be in a file, and - is none", {
      hint: "put what comes into one first, with `cat > cluster.snap` in this place; then `claw snapshot restore cluster.snap`",
      field: "-",
    });
  }
  if (own === true && (nats ?? creds) !== undefined) {
    throw new ClawError("usage", "--nats or --own, not both", { hint: "claw snapshot restore --help", field: "--own" });
  }
  const restored = await restore({
    file,
    force: force === true,
    own: own === true,
    flags: { "nats.url": nats, "nats.creds": creds, cluster: named },
    ...(config === undefined ? {} : { config }),
    ...(profile === undefined ? {} : { profile }),
  });
  const { cluster, cluster_id, sequence, tasks, kept, nats_url } = restored;
  if (json === true) {
    const where = nats_url === undefined ? null : redactAddresses(nats_url);
    await io.out(`${JSON.stringify({ ...restored, kept: kept ?? null, nats_url: where })}\n`);
    return;
  }
  const live = tasks.pending + tasks.scheduled + tasks.running;
  io.err(
    `claw: restored ${cluster} (${cluster_id.slice(0, 8)}) up to sequence ${sequence}: ${tasks.total} tasks, ${live} not over\n`,
  );
  if (kept !== undefined) io.err(`  the view that was there is kept as ${kept}\n`);
  const { data_dir, coordinator_dir } = resolvePaths(io.env, profile === undefined ? {} : { profile });
  if (!restored.credentials) io.err(newCredentials(profile, coordinator_dir));
  const { startCommand } = await import("./start-again.ts");
  io.err(
    `  start it again: ${startCommand({ env: io.env, data_dir, profile, cluster: named }, nats_url === undefined ? "own" : { nats_url, creds })}\n`,
  );
}
