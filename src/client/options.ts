// The options that several commands share, and what they mean as settings.

import { type Command, Option } from "commander";
import { ClawError } from "../common/errors.ts";
import { STRATEGIES } from "../common/vocabulary.ts";

export interface RoleOptions {
  role: "coordinator" | "worker" | "all";
  config?: string;
  profile?: string;
  /** Settings by field path: `nats.url`. */
  flags: Record<string, unknown>;
}

type Given = Record<string, string | undefined>;

export const collect = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

/** For what must not be chosen by accident: of two values the last would be taken without a word. */
const once =
  (option: string) =>
  (value: string, before: string | undefined): string => {
    if (before === undefined || before === value) return value;
    const hint = `leave one of them away: a task has one ${option.slice(2)}`;
    throw new ClawError("usage", `${option} has two values: '${before}' and '${value}'`, { hint, field: option });
  };

export function roleOptions(command: Command): Command {
  return command
    .option("--config <file>", "settings; the examples are copied into place on first start")
    .option("--listen <host>", "where the built-in NATS listens (127.0.0.1)")
    .option("--nats <url>", "where the cluster's NATS is; for a coordinator, one of your own")
    .option("--creds <file>", "credentials for it")
    .option("--cluster <name>", "the cluster's name (default)")
    .option("--port <port>", "port of the built-in NATS (7422, or a free one)")
    .option("--http-port <port>", "port of the HTTP endpoint (7433, or a free one)")
    .option("--name <name>", "worker: what the node is called")
    .option("--log-level <level>", "debug, info, warn or error")
    .option("--profile <name>", "another cluster's files on this machine");
}

export function roleOf(role: RoleOptions["role"], given: Given): RoleOptions {
  const { config, profile, listen, nats, creds, cluster, port, httpPort, name, logLevel } = given;
  const flags = {
    listen,
    cluster,
    name,
    "nats.url": nats,
    "nats.creds": creds,
    "nats.port": numberOf(port),
    "http.port": numberOf(httpPort),
    "log.level": logLevel,
  };
  return { role, flags, ...(config === undefined ? {} : { config }), ...(profile === undefined ? {} : { profile }) };
}

function numberOf(text: string | undefined): number | string | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : text;
}

/** Which cluster a command speaks to. */
export function targetOptions(command: Command): Command {
  return command
    .option("--nats <url>", "the cluster's NATS, where it is not on this machine")
    .option("--creds <file>", "client credentials for it")
    .option("--cluster <name>", "the cluster's name")
    .option("--profile <name>", "another cluster's files on this machine");
}

export function colorOption(command: Command): Command {
  const option = new Option("--color <when>", "colours in tables; auto: on a terminal, without NO_COLOR");
  return command.addOption(option.choices(["auto", "always", "never"]));
}

export function taskOptions(command: Command): Command {
  return targetOptions(command)
    .option("--name <name>", "what the task is called")
    .option("--type <type>", "interactive, batch (the default), compute, io or daemon")
    .option("--priority <priority>", "critical, high, normal or low")
    .option("--cpu <cores>", "processors that it needs, 0.5 for half a one")
    .option("--memory <size>", "memory that it needs: 512M, 2G")
    .option("--gpu <count>", "graphics processors")
    .option("--resource <name=count>", "something a node counts, as its worker.yaml names it", collect)
    .option("--skill <skill>", "only where this skill of OpenClaw's can be used", collect)
    .option("--tag <tag>", "only on nodes with this tag", collect)
    .option("--where <condition>", "only where an attribute is so: zone=eu, zone!=eu, 'zone in eu,us', zone", collect)
    .option("--prefer <condition>", "rather where an attribute is so", collect)
    .option("--spread <by>", "no two on one node, or where this attribute is the same: node, rack")
    .option("--exclusive", "on a node of its own: nothing else runs there meanwhile")
    .option("--pids <count>", "processes and threads that it may have at a time, where the node can limit them")
    .option("--enforce", "only on a node that holds it to its --memory, --cpu and --pids (cgroup v2)")
    .option("--node <node>", "only on this node, by name or id")
    .option("--strategy <strategy>", `how the node is chosen: ${STRATEGIES.join(", ")}`)
    .option("--cwd <folder>", "in this folder, and only on nodes that have it")
    .option("--env <name=value>", "a variable for the task", collect)
    .option("--label <name=value>", "a label, to list by", collect)
    .option("--key <key>", "idempotency key: sent again with the same one, it is the same task", once("--key"))
    .option("--timeout <duration>", "end it when it has run this long: 90s, 5m, 2h")
    .option("--retries <count>", "try again at most so many times when it fails")
    .option(
      "--backoff <wait>",
      "between retries: 30s always, 1s..5m doubling up to five minutes (1s..5m); a daemon's: 100ms at least",
    )
    .option("--retry-on <reasons>", "only after these: exit codes, exit, timeout, not_found, spawn, memory", collect)
    .option("--deadline <duration>", "end it when it is not over so long after now, waiting and retries included")
    .option("--start-after <when>", "not before: 10m, or 2026-12-24T18:00:00Z")
    .option(
      "--on-lost <what>",
      "when its node is lost: retry elsewhere (the default), or fail, so that it never runs twice",
    )
    .option("--grace <duration>", "between SIGTERM and SIGKILL")
    .option("--shell", "the words are a line for sh -c")
    .option("--noop", "run nothing: measures what everything around a task costs")
    .option("--json", "JSON: one document, with --each one a line")
    .option("-q, --quiet", "no hints and no summary");
}

/** What only lines have a use for; and of it, what is for those who stay until the lines' tasks are over. */
const FOR_LINES = { argFile: "--arg-file", null: "--null", runIfEmpty: "--no-run-if-empty" };
const FOR_RESULTS = { keepOrder: "--keep-order", halt: "--halt", joblog: "--joblog", progress: "--progress" };

/** An option that would do nothing is a misunderstanding, and better said before the work than found out after it. */
export function refuseIdle(options: { each?: string; detach?: boolean; array?: string }): void {
  const typed = (names: Record<string, string>): string | undefined =>
    Object.entries(names).find(([name]) => {
      const value = (options as Record<string, unknown>)[name];
      return value !== undefined && value !== (name === "runIfEmpty");
    })?.[1];
  const { each, detach, array } = options;
  const idle = typed({ ...FOR_LINES, ...FOR_RESULTS });
  if (each === undefined && idle !== undefined) {
    throw new ClawError("usage", `${idle} without --each`, {
      hint: `claw run ${idle} … --each 'gzip -t {}'`,
      field: idle,
    });
  }
  const waits = typed(FOR_RESULTS);
  if (detach === true && waits !== undefined) {
    const hint = "leave --detach away, or that";
    throw new ClawError("usage", `${waits} with --detach: nobody stays for the results`, { hint, field: waits });
  }
  if (each !== undefined && array !== undefined) {
    const hint = "--array counts members, with --each there is one for each line";
    throw new ClawError("usage", "--array or --each, not both", { hint, field: "--array" });
  }
}

/** Whether a command stays until the work that it follows is over. */
export function followsWork(command: string, options: { detach?: boolean; follow?: boolean }): boolean {
  if (command === "run") return options.detach !== true;
  return command === "wait" || ((command === "logs" || command === "events") && options.follow === true);
}

export function eachOptions(command: Command): Command {
  return command
    .option("-a, --each <command>", "a task for each line of standard input, as GNU parallel does it")
    .option("--arg-file <file>", "with --each: the lines of this file")
    .option("-0, --null", "with --each: lines end with NUL")
    .option("-r, --no-run-if-empty", "with --each: nothing for a line that is empty or blank");
}
