// The command line: what can be typed, its help, and what becomes of errors. Commands themselves are in commands/, and
// what they need is loaded only when they are called.

import { Command, CommanderError, Option } from "commander";
import { ClawError, ERRORS } from "../common/errors.ts";
import type { Runtime } from "../common/runtime.ts";
import { COMMIT, VERSION } from "../common/version.ts";
import type { RequestClient } from "../communication/request.ts";
import { EXAMPLES } from "./examples.ts";
import { type Io, OutputClosed, processIo } from "./io.ts";

export interface RoleOptions {
  role: "coordinator" | "worker" | "all";
  config?: string;
  profile?: string;
  /** Settings by field path: `nats.url`. */
  flags: Record<string, unknown>;
}

export interface CliOptions {
  runtime: Runtime;
  startRole: (options: RoleOptions) => Promise<number>;
  io?: Io;
}

interface Globals {
  nats?: string;
  creds?: string;
  cluster?: string;
  profile?: string;
  json?: boolean;
}

const EX_USAGE = 64;
const RUN_FAILED = 125;

/** Runs one command line; resolves with the exit code and never rejects for what the world may do wrong. */
export async function runCli(argv: readonly string[], options: CliOptions): Promise<number> {
  const io = options.io ?? processIo(options.runtime);
  const state = { code: 0 };
  const program = buildProgram(io, options, state);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return state.code;
  } catch (error) {
    return await reportError(io, error, argv);
  }
}

/** Says what was wrong and what to type next; gives the exit code. */
async function reportError(io: Io, error: unknown, argv: readonly string[]): Promise<number> {
  const [command] = argv;
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : command === "run" ? RUN_FAILED : EX_USAGE;
  if (error instanceof OutputClosed) return 0;
  if (!(error instanceof ClawError)) throw error;
  const before = argv.includes("--") ? argv.slice(0, argv.indexOf("--")) : argv;
  if (before.includes("--json")) {
    const { code, ...rest } = error.toWire();
    io.err(`${JSON.stringify({ code: ERRORS[code].http, error: code, ...rest })}\n`);
  } else {
    io.err(`claw: ${error.message}\n${error.hint === undefined ? "" : `  ${error.hint}\n`}`);
  }
  return command === "run" ? RUN_FAILED : ERRORS[error.code].exit;
}

type Action = (io: Io, client: RequestClient, words: string[], options: Record<string, never>) => Promise<number>;

function buildProgram(io: Io, options: CliOptions, state: { code: number }): Command {
  const program = new Command("claw");
  program
    .description("One durable task cluster out of the machines you already have.")
    .version(`claw cluster ${VERSION}${COMMIT === undefined ? "" : ` (${COMMIT})`}`, "-V, --version")
    .enablePositionalOptions()
    .showHelpAfterError("(claw --help shows what can be typed)")
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({ writeOut: (text) => process.stdout.write(text), writeErr: (text) => io.err(text) })
    .addHelpText("before", EXAMPLES["claw"] ?? "")
    .addOption(
      new Option("--role <role>", "run as a service: coordinator, worker or all").choices([
        "coordinator",
        "worker",
        "all",
      ]),
    )
    .option("--profile <name>", "another cluster's files on this machine");
  roleOptions(program);
  program.action(async (given: Record<string, string | undefined>) => {
    const { role } = given;
    if (role === undefined) {
      program.outputHelp();
      return;
    }
    state.code = await options.startRole(roleOf(role as RoleOptions["role"], given));
  });
  const up = program.command("up").description("coordinator, worker and NATS on this machine, in the foreground");
  roleOptions(up)
    .option("--profile <name>", "another cluster's files on this machine")
    .action(async (given: Record<string, string | undefined>) => {
      state.code = await options.startRole(roleOf("all", given));
    });
  up.addHelpText("before", EXAMPLES["up"] ?? "");
  const on = (command: Command, action: Action): void => {
    command.action(async (...args: unknown[]) => {
      const given = args.at(-2) as Globals & Record<string, never>;
      const words = args
        .slice(0, -2)
        .flat()
        .filter((word) => word !== undefined) as string[];
      const { connectClient } = await import("./connect.ts");
      const client = await connectClient(io, given);
      try {
        state.code = await action(io, client, words, given);
      } finally {
        await client.close();
      }
    });
  };
  taskCommands(program, on);
  clusterCommands(program, on);
  configCommands(program, io, state);
  versionCommand(program, io);
  return program;
}

function roleOptions(command: Command): Command {
  return command
    .option("--config <file>", "settings; the examples are copied into place on first start")
    .option("--listen <host>", "where the built-in NATS listens (127.0.0.1)")
    .option("--nats <url>", "worker: where the cluster is; coordinator: a NATS of your own")
    .option("--creds <file>", "credentials for it")
    .option("--cluster <name>", "the cluster's name (default)")
    .option("--port <port>", "port of the built-in NATS (7422, or a free one)")
    .option("--http-port <port>", "port of the HTTP endpoint (7433, or a free one)")
    .option("--name <name>", "worker: what the node is called")
    .option("--log-level <level>", "debug, info, warn or error");
}

function roleOf(role: RoleOptions["role"], given: Record<string, string | undefined>): RoleOptions {
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
  return {
    role,
    flags,
    ...(config === undefined ? {} : { config }),
    ...(profile === undefined ? {} : { profile }),
  };
}

function numberOf(text: string | undefined): number | string | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : text;
}

function target(command: Command): Command {
  return command
    .option("--nats <url>", "the cluster's NATS, where it is not on this machine")
    .option("--creds <file>", "client credentials for it")
    .option("--cluster <name>", "the cluster's name")
    .option("--profile <name>", "another cluster's files on this machine");
}

const collect = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

function taskOptions(command: Command): Command {
  return target(command)
    .option("--name <name>", "what the task is called")
    .option("--type <type>", "interactive, batch (the default), compute, io or daemon")
    .option("--priority <priority>", "critical, high, normal or low")
    .option("--cpu <cores>", "processors that it needs, 0.5 for half a one")
    .option("--memory <size>", "memory that it needs: 512M, 2G")
    .option("--gpu <count>", "graphics processors")
    .option("--resource <name=count>", "something a node counts, as its worker.yaml names it", collect)
    .option("--tag <tag>", "only on nodes with this tag", collect)
    .option("--node <node>", "only on this node, by name or id")
    .option("--cwd <folder>", "in this folder; nodes that lack it fail the task")
    .option("--env <name=value>", "a variable for the task", collect)
    .option("--label <name=value>", "a label", collect)
    .option("--timeout <duration>", "end it when it has run this long: 90s, 5m, 2h")
    .option("--grace <duration>", "between SIGTERM and SIGKILL")
    .option("--shell", "the words are a line for sh -c")
    .option("--noop", "run nothing: measures what everything around a task costs")
    .option("--json", "one JSON document")
    .option("--quiet", "no hints");
}

function taskCommands(program: Command, on: (command: Command, action: Action) => void): void {
  const run = taskOptions(program.command("run [words...]"))
    .description("run a command, a shell line or a TypeScript file, follow its output, exit with its code")
    .passThroughOptions()
    .option("-d, --detach", "print the id and leave")
    .option("-a, --each", "a task for each line of standard input, as GNU parallel does")
    .option("-k, --keep-order", "with --each: output in the order of the lines")
    .option("-0, --null", "with --each: lines end with NUL")
    .option("--progress", "with --each: progress even when standard error is no terminal")
    .addHelpText("before", EXAMPLES["run"] ?? "");
  on(run, async (io, client, words, options) => {
    if ((options as { each?: boolean }).each === true) {
      const { eachCommand } = await import("./commands/each.ts");
      return await eachCommand(io, client, words, options);
    }
    const { runCommand } = await import("./commands/run.ts");
    return await runCommand(io, client, words, options);
  });
  const submit = taskOptions(program.command("submit [words...]"))
    .description("submit a task and print its id")
    .passThroughOptions()
    .option("--array <count>", "that many members, told apart by CLAW_TASK_INDEX")
    .addHelpText("before", EXAMPLES["submit"] ?? "");
  on(submit, async (io, client, words, options) => {
    const { submitCommand } = await import("./commands/run.ts");
    return await submitCommand(io, client, words, options);
  });
  const ls = target(program.command("ls"))
    .description("list tasks, newest first")
    .option("--status <status>", "only these: pending,scheduled,running,completed,failed,cancelled,timeout", collect)
    .option("--name <name>", "only tasks of this name")
    .option("--limit <count>", "at most so many (50)")
    .option("--json", "a JSON array")
    .option("--quiet", "ids only")
    .addHelpText("before", EXAMPLES["ls"] ?? "");
  on(ls, async (io, client, _words, options) => (await import("./commands/tasks.ts")).listCommand(io, client, options));
  const show = target(program.command("show <ids...>")).description(
    "everything about tasks: where, when, why they wait",
  );
  on(show.option("--json", "JSON").addHelpText("before", EXAMPLES["show"] ?? ""), async (io, client, words, options) =>
    (await import("./commands/tasks.ts")).showCommand(io, client, words, options),
  );
  const logs = target(program.command("logs <ids...>")).description("a task's output");
  on(
    logs.option("-f, --follow", "while it runs").addHelpText("before", EXAMPLES["logs"] ?? ""),
    async (io, client, words, options) => (await import("./commands/tasks.ts")).logsCommand(io, client, words, options),
  );
  const wait = target(program.command("wait <ids...>"))
    .description("wait for tasks: 0 all succeeded, 1 one did not, 75 some still run at --timeout")
    .option("--timeout <duration>", "give up after this long")
    .option("--json", "the tasks as a JSON array")
    .option("--quiet", "say nothing")
    .addHelpText("before", EXAMPLES["wait"] ?? "");
  on(wait, async (io, client, words, options) =>
    (await import("./commands/tasks.ts")).waitCommand(io, client, words, options),
  );
  const cancel = target(program.command("cancel <ids...>")).description("cancel tasks; what runs is stopped");
  on(
    cancel
      .option("--json", "counts as JSON")
      .option("--quiet", "say nothing")
      .addHelpText("before", EXAMPLES["cancel"] ?? ""),
    async (io, client, words, options) =>
      (await import("./commands/tasks.ts")).cancelCommand(io, client, words, options),
  );
}

function clusterCommands(program: Command, on: (command: Command, action: Action) => void): void {
  const nodes = target(program.command("nodes [ls]")).description("the nodes, their load and what they did");
  on(
    nodes
      .option("--json", "a JSON array")
      .option("--quiet", "ids only")
      .addHelpText("before", EXAMPLES["nodes"] ?? ""),
    async (io, client, _words, options) => (await import("./commands/cluster.ts")).nodesCommand(io, client, options),
  );
  const status = target(program.command("status")).description("the cluster in a few lines");
  on(
    status.option("--json", "JSON").addHelpText("before", EXAMPLES["status"] ?? ""),
    async (io, client, _words, options) => (await import("./commands/cluster.ts")).statusCommand(io, client, options),
  );
  const credentials = program.command("credentials").description("credentials for other machines");
  const exporting = target(credentials.command("export"))
    .description("print credentials for one worker or client")
    .option("--role <role>", "worker or client")
    .option("--json", "JSON")
    .addHelpText("before", EXAMPLES["credentials"] ?? "");
  on(exporting, async (io, client, _words, options) =>
    (await import("./commands/cluster.ts")).exportCommand(io, client, options),
  );
}

function configCommands(program: Command, io: Io, state: { code: number }): void {
  const config = program.command("config").description("settings: make, check and show them");
  config.addHelpText("before", EXAMPLES["config"] ?? "");
  for (const name of ["init", "check", "show"] as const) {
    config
      .command(`${name} [role]`)
      .description(
        {
          init: "copy the examples into place",
          check: "name every mistake",
          show: "every value and where it came from",
        }[name],
      )
      .option("--config <file>", "this file")
      .option("--profile <name>", "another cluster's files on this machine")
      .option("--json", "JSON")
      .action(async (role: string | undefined, options: Record<string, never>) => {
        const commands = await import("./commands/config.ts");
        state.code = await commands.configCommand(io, name, role, options);
      });
  }
}

function versionCommand(program: Command, io: Io): void {
  program
    .command("version")
    .description("claw's version")
    .option("--json", "with the version of what --json prints")
    .action(async (options: { json?: boolean }) => {
      if (options.json === true)
        await io.out(
          `${JSON.stringify({ name: "claw cluster", version: VERSION, commit: COMMIT ?? null, json_schema: 1 })}\n`,
        );
      else await io.out(`claw cluster ${VERSION}${COMMIT === undefined ? "" : ` (${COMMIT})`}\n`);
    });
}
