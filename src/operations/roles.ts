// Role → wiring: what runs as a service, how it is told to end, and a cluster put back from a file.

import { hostname } from "node:os";
import type { RestoreCall, RestoreOutcome, RoleOptions } from "../client/cli.ts";
import { restoreCommand, valueIn } from "../client/start-again.ts";
import { loadConfig } from "../common/config.ts";
import { ClawError, ERRORS, messageOf } from "../common/errors.ts";
import { createLogger, type Logger } from "../common/logging.ts";
import { notify } from "../common/notify.ts";
import { type Paths, resolvePaths } from "../common/paths.ts";
import { systemRuntime } from "../common/runtime.ts";
import { type Service, stopAll } from "../common/service.ts";
import { isListening } from "../communication/connection.ts";
import { readEndpoint } from "../communication/endpoint.ts";
import { lastStart, noteStart } from "../communication/started.ts";
import { withWayOn } from "./log-lost.ts";

const runtime = systemRuntime;
/** Of a bug, by which a service is started again. */
const BUG_EXIT = 70;
/** For a NATS that was there once. */
const ANSWERS_MS = 2_000;

/** What the roles need while they run, and how they end. */
interface Running {
  services: Service[];
  logger: Logger;
  ended: Promise<number>;
  /** As it was asked to. */
  end: () => void;
  fail: (error: unknown) => void;
}

function watch(logger: Logger, exit: (code: number) => void): Running {
  const { promise, resolve } = Promise.withResolvers<number>();
  const fail = (error: unknown): void => {
    if (error instanceof ClawError) {
      logger.error(error.message, { code: error.code, hint: error.hint });
      resolve(ERRORS[error.code].exit);
    } else {
      logger.error("a bug: claw ends itself rather than go on wrong", {
        error: error instanceof Error ? error.stack : String(error),
      });
      resolve(BUG_EXIT);
    }
  };
  let asked = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (asked) exit(130);
      asked = true;
      logger.info(`stopping (${signal})`);
      resolve(0);
    });
  }
  // A terminal that goes away ends nothing that was started to serve; `claw up` in the foreground goes with it.
  process.on("SIGHUP", () => resolve(0));
  process.on("uncaughtException", fail);
  process.on("unhandledRejection", fail);
  return { services: [], logger, ended: promise, end: () => resolve(0), fail };
}

/** Serves until it is told to end; gives the exit code. `exit` is for whoever is asked twice. */
export async function startRole(options: RoleOptions, exit: (code: number) => void): Promise<number> {
  const paths = resolvePaths(process.env, options.profile === undefined ? {} : { profile: options.profile });
  const both = options.role === "all";
  const role = both ? "claw" : options.role;
  const part = options.role === "worker" ? "worker" : "coordinator";
  const first = loadConfig(part, roleConfig(part, paths, options));
  const { level, format } = first.config.log;
  const logger = createLogger({ role, level, format, runtime });
  const running = watch(logger, exit);
  try {
    const starting =
      options.role === "worker"
        ? startWorker(running, paths, options, undefined)
        : startCoordinator(running, paths, options, both);
    // A worker waits for its coordinator for as long as it takes: whoever asks it to stop does not.
    const ready = starting.then(() => notify(process.env, "READY=1"));
    const code = await Promise.race([ready.then(() => running.ended), running.ended]);
    notify(process.env, "STOPPING=1");
    await stopAll(running.services);
    return code;
  } catch (error) {
    await stopAll(running.services).catch((second: unknown) => logger.error(messageOf(second)));
    throw error;
  }
}

/** With both in one process the flags are the coordinator's, but for the name, which is the worker's; a file is one role's. */
function roleConfig(part: "coordinator" | "worker", paths: Paths, options: RoleOptions) {
  const { role, config } = options;
  const { name, ...others } = options.flags;
  const own = part === "worker" ? { name } : others;
  return {
    paths,
    env: process.env,
    init: true,
    flags: role === "all" ? own : options.flags,
    ...(config === undefined || role === "all" ? {} : { file: config }),
  };
}

async function startCoordinator(running: Running, paths: Paths, options: RoleOptions, both: boolean): Promise<void> {
  const begun_ms = runtime.monotonic_ms();
  const { Coordinator } = await import("../coordinator/coordinator.ts");
  const { config } = loadConfig("coordinator", roleConfig("coordinator", paths, options));
  const { logger } = running;
  const file = both ? undefined : options.config;
  const explained = (error: unknown) => withWayOn(error, { env: process.env, config, file, profile: options.profile });
  const onFailed = (error: unknown): void => running.fail(explained(error));
  const coordinator = new Coordinator({ runtime, config, paths, logger, name: hostname(), onFailed });
  running.services.push(coordinator);
  await coordinator.start().catch((error: unknown) => {
    throw explained(error);
  });
  const { url } = config.nats;
  const where = url === undefined ? { follows: false } : { follows: true, nats_url: url };
  noteStart(paths.data_dir, { version: 1, words: process.argv.slice(2), ...where });
  if (both) {
    const creds = coordinator.workerCredentials();
    await startWorker(running, paths, options, { url: coordinator.login_url, creds, cluster: config.cluster });
  }
  const took_ms = Math.round(runtime.monotonic_ms() - begun_ms);
  logger.info(`${both ? "claw is up" : "coordinator is up"} after ${took_ms} ms`, {
    cluster: config.cluster,
    nats: coordinator.nats_url,
    http: coordinator.http_url,
    data: paths.data_dir,
  });
  const which = options.profile === undefined ? "" : ` --profile ${options.profile}`;
  if (both) logger.info(`try next: claw run${which} -- uname -a; claw nodes${which}; claw status${which}`);
}

async function startWorker(
  running: Running,
  paths: Paths,
  options: RoleOptions,
  local: { url: string; creds: string | undefined; cluster: string } | undefined,
): Promise<void> {
  const { Worker } = await import("../worker/worker.ts");
  const { config: own } = loadConfig("worker", roleConfig("worker", paths, options));
  // Beside its coordinator it is of the same cluster, whichever of the two files names it.
  const config = local === undefined ? own : { ...own, cluster: local.cluster };
  const target = local ?? workerTarget(paths, config.nats);
  const worker = new Worker({
    runtime,
    config,
    paths,
    logger: running.logger,
    url: target.url,
    creds: target.creds,
    domain: config.nats.domain,
    onFailed: running.fail,
    onShutdown: (message) => {
      running.logger.info(`the worker ends: ${message}`);
      // The coordinator of `claw up` goes on.
      if (local === undefined) running.end();
      else void worker.stop().catch(running.fail);
    },
  });
  running.services.push(worker);
  await worker.start();
  // Whoever waits for this is told when it ends before.
  await worker.welcomed;
  running.logger.info("worker has joined", { node: worker.id, nats: target.url });
}

/** Where a worker finds its cluster: its settings, or the coordinator on this machine. */
function workerTarget(
  paths: Paths,
  nats: { url?: string | undefined; creds?: string | undefined },
): { url: string; creds: string | undefined } {
  if (nats.url !== undefined) return { url: nats.url, creds: nats.creds };
  const endpoint = readEndpoint(paths.data_dir);
  if (endpoint === undefined) {
    throw new ClawError("no_coordinator", "no coordinator runs on this machine, and nats.url is not set", {
      hint: "on the coordinator's machine: claw credentials export --role worker --out w.creds; here: claw --role worker --nats nats://HOST:7422 --creds w.creds",
    });
  }
  const creds = nats.creds ?? endpoint.creds.replace(/client\.creds$/, "worker.creds");
  return { url: endpoint.nats_url, creds: creds === "" ? undefined : creds };
}

/** Puts a cluster back while no coordinator runs. */
export async function restore(call: RestoreCall): Promise<RestoreOutcome> {
  const { file, force, own, flags, profile } = call;
  const paths = resolvePaths(process.env, profile === undefined ? {} : { profile });
  const settings = { paths, env: process.env, flags, ...(call.config === undefined ? {} : { file: call.config }) };
  const { config } = loadConfig("coordinator", settings);
  if (own) config.nats.url = undefined;
  else if (config.nats.url === undefined) await requireOwn(paths, file === undefined);
  const logger = createLogger({ role: "restore", level: "error", format: config.log.format, runtime });
  const forced = restoreCommand(process.env, { ...call, force: true });
  const { restoreCluster } = await import("./restore.ts");
  const asked = { ...{ runtime, config, paths, logger }, file, force, forced };
  const { manifest, tasks, kept, credentials } = await restoreCluster(asked);
  const { cluster, cluster_id, sequence } = manifest;
  return { cluster, cluster_id, sequence, tasks, kept, credentials, nats_url: config.nats.url };
}

/**
 * A second log would part the cluster in two. A view whose NATS is gone goes on without being told where: that is how a hot
 * copy takes over.
 */
async function requireOwn({ data_dir }: Paths, from_view: boolean): Promise<void> {
  const last = lastStart(data_dir);
  if (last?.follows !== true) return;
  const nats_url = last.nats_url ?? valueIn(last.words, "--nats");
  if (from_view && nats_url !== undefined && !(await isListening(nats_url, runtime, ANSWERS_MS))) return;
  throw new ClawError(
    "usage",
    "the coordinator here was started with a NATS that is not its own: restore into which?",
    {
      hint: "--nats URL restores into that one; --own makes one on this machine, as when the other is gone for good",
      field: "--nats",
    },
  );
}
