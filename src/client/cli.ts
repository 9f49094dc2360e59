// The command line: what can be typed, its help, and what becomes of errors. Commands themselves are in commands/, and
// what they need is loaded only when they are called. One rule for options: claw's own stand before the command that is
// to be run, whose first word is the first that is no option (or the one behind `--`); everything after it is the
// command's.

import { Command, CommanderError, Option } from "commander";
import { ClawError, ERRORS, type WireError } from "../common/errors.ts";
import { nearest } from "../common/nearest.ts";
import type { Runtime } from "../common/runtime.ts";
import { COMMIT, VERSION } from "../common/version.ts";
import { refuseChanged } from "./arguments.ts";
import { EXAMPLES } from "./examples.ts";
import { type Io, OutputClosed, processIo } from "./io.ts";
import { nodeCommands } from "./node-commands.ts";
import type { On } from "./on.ts";
import {
  collect,
  colorOption,
  eachOptions,
  followsWork,
  type RoleOptions,
  refuseIdle,
  roleOf,
  roleOptions,
  targetOptions,
  taskOptions,
} from "./options.ts";
import { placementCommands, planCommand } from "./placement-commands.ts";
import { type RestoreCall, type RestoreOutcome, snapshotCommands } from "./snapshot-commands.ts";

export type { RoleOptions } from "./options.ts";
export type { RestoreCall, RestoreOutcome } from "./snapshot-commands.ts";

export interface CliOptions {
  runtime: Runtime;
  startRole: (options: RoleOptions) => Promise<number>;
  /** Puts a cluster back while no coordinator runs. */
  restore: (options: RestoreCall) => Promise<RestoreOutcome>;
  io?: Io;
  /** The command line as the system knows it, where it can be asked. */
  rawWords?: () => Uint8Array | undefined;
}

/** Options that may also stand before the command's name. */
interface Globals {
  nats?: string;
  creds?: string;
  cluster?: string;
  profile?: string;
  color?: string;
  /** Of `config` alone, and of roles. */
  config?: string;
}

interface State {
  /** The command that was named, once it is known. */
  command: Command | undefined;
  code: number;
  /** Help and version, printed at the end. */
  text: string;
}

const RUN_FAILED = 125;
const GROUP_HELP = "commander.help";

/** Runs one command line; resolves with the exit code and never rejects for what the world may do wrong. */
export async function runCli(argv: readonly string[], options: CliOptions): Promise<number> {
  const io = options.io ?? processIo(options.runtime);
  const state: State = { command: undefined, code: 0, text: "" };
  const program = buildProgram(io, options, state, argv);
  try {
    const [first, topic, ...more] = argv;
    const help = first === "help" && topic !== undefined;
    if (help) requireCommand(program, topic);
    requireHelpTopic(program, help ? [topic, ...more, "--help"] : argv);
    await program
      .parseAsync(help ? [topic, ...more, "--help"] : [...argv], { from: "user" })
      .catch((error: unknown) => {
        if (!(error instanceof CommanderError) || (error.exitCode !== 0 && error.code !== GROUP_HELP)) throw error;
      });
    if (state.text !== "") await io.out(state.text);
    return state.code;
  } catch (error) {
    return reportError(io, error, state.command, asksJson(argv, error, state.command));
  }
}

/** A line that could not be parsed to its end may have asked for JSON behind the mistake. */
function asksJson(argv: readonly string[], error: unknown, command: Command | undefined): boolean {
  if (command?.opts<{ json?: boolean }>().json === true) return true;
  const dashes = argv.indexOf("--");
  return error instanceof CommanderError && argv.slice(0, dashes < 0 ? undefined : dashes).includes("--json");
}

/** Says what was wrong and what to type next; gives the exit code. */
function reportError(io: Io, error: unknown, command: Command | undefined, json: boolean): number {
  if (error instanceof OutputClosed) return 0;
  const name = pathOf(command);
  const { code, ...rest } = wireOf(error, name);
  if (json) {
    io.err(`${JSON.stringify({ code: ERRORS[code].http, error: code, ...rest })}\n`);
  } else {
    io.err(`claw: ${rest.message}\n${rest.hint === undefined ? "" : `  ${rest.hint}\n`}`);
  }
  return name === "run" ? RUN_FAILED : ERRORS[code].exit;
}

function wireOf(error: unknown, command: string): WireError {
  const hint = `see \`claw ${command === "" ? "" : `${command} `}--help\``;
  if (error instanceof ClawError) {
    const wire = error.toWire();
    return wire.hint === ERRORS.usage.hint ? { ...wire, hint } : wire;
  }
  if (!(error instanceof CommanderError)) throw error;
  const message = error.message.replace(/^error: /, "").replace(/\s*\(Did you mean (.*)\?\)$/s, "; did you mean $1?");
  const field = error.code === "commander.excessArguments" ? undefined : /'([^' ]*)/.exec(message)?.[1];
  return { code: "usage", message, hint, ...(field === undefined ? {} : { field }) };
}

function buildProgram(io: Io, options: CliOptions, state: State, argv: readonly string[]): Command {
  const program = noted(new Command("claw"), state);
  program
    .description("One durable task cluster out of the machines you already have.")
    .version(`${versionText()}`, "-V, --version")
    .enablePositionalOptions()
    .showSuggestionAfterError(true)
    .helpCommand(true)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => {
        state.text += text;
      },
      // A group of commands alone shows what is in it.
      writeErr: (text) => {
        state.text += text;
      },
      outputError: () => undefined,
    })
    .addHelpText("before", EXAMPLES["claw"] ?? "")
    .addOption(
      new Option("--role <role>", "run as a service: coordinator, worker or all").choices([
        "coordinator",
        "worker",
        "all",
      ]),
    );
  colorOption(roleOptions(program)).action(async (given: Record<string, string | undefined>, command: Command) => {
    const [word] = command.args;
    if (word !== undefined) requireCommand(program, word);
    const { role } = given;
    if (role === undefined) program.outputHelp();
    else state.code = await options.startRole(roleOf(role as RoleOptions["role"], given));
  });
  const up = roleOptions(program.command("up"))
    .description("coordinator, worker and NATS on this machine, in the foreground")
    .addHelpText("before", EXAMPLES["up"] ?? "");
  up.action(async (given: Record<string, string | undefined>) => {
    state.code = await options.startRole(roleOf("all", { ...program.opts(), ...given }));
  });
  const on = connected(io, program, state, argv, options.rawWords);
  runCommands(program, on);
  planCommand(program, on);
  placementCommands(noted(program.command("placement"), state), on);
  taskCommands(program, on);
  clusterCommands(program, on, state);
  const snapshot = noted(program.command("snapshot"), state);
  snapshotCommands(snapshot, io, on, async (call) => {
    const { profile } = program.opts<Globals>();
    return await options.restore(profile === undefined ? call : { profile, ...call });
  });
  configCommands(program, io, state);
  versionCommand(program, io);
  refuseDashes(program);
  // Only here: a word that any other command does not know is a mistake, and commands take this over when they are made.
  return program.allowExcessArguments(true);
}

/** `--spread -- true` has no value for --spread: the dashes begin the command. (`--each` says more of it itself.) */
function refuseDashes(command: Command): void {
  for (const option of command.options.filter(({ required, optional }) => required || optional)) {
    const parse = option.parseArg;
    option.argParser((value: string, before: unknown) => {
      if (value !== "--" || option.long === "--each") return parse === undefined ? value : parse(value, before);
      const message = `error: option '${option.flags}' argument missing`;
      throw new CommanderError(1, "commander.optionMissingArgument", message);
    });
  }
  for (const below of command.commands) refuseDashes(below);
}

function requireCommand(group: Command, word: string): void {
  const names = group.commands.map((command) => command.name());
  if (names.includes(word)) return;
  const near = nearest(word, names);
  const path = pathOf(group) === "" ? "" : `${pathOf(group)} `;
  const hint = near === undefined ? `the commands are ${names.join(", ")}` : `did you mean \`claw ${path}${near}\`?`;
  throw new ClawError("usage", `there is no command '${path}${word}'`, { hint, field: word });
}

/** Help for what is no command would be that of all others, as if it were one. */
function requireHelpTopic(program: Command, argv: readonly string[]): void {
  const dashes = argv.indexOf("--");
  const words = argv.slice(0, dashes < 0 ? undefined : dashes);
  if (!words.some((word) => word === "--help" || word === "-h")) return;
  let group = program;
  for (const word of words) {
    if (word.startsWith("-") || word === "help" || group.commands.length === 0) return;
    requireCommand(group, word);
    group = group.commands.find((command) => command.name() === word) ?? group;
  }
}

/** Notes which command is meant, so that an error can name its help. */
function noted(command: Command, state: State): Command {
  return command.hook("preSubcommand", (_group, sub) => {
    state.command = sub;
  });
}

/** `nodes ls`. */
function pathOf(command: Command | undefined): string {
  if (command?.parent == null) return "";
  return `${pathOf(command.parent)} ${command.name()}`.trim();
}

/** Gives an action its connection to the cluster, and closes it. */
function connected(
  io: Io,
  program: Command,
  state: State,
  argv: readonly string[],
  rawWords: CliOptions["rawWords"],
): On {
  return (command, action) => {
    command.action(async (...args: unknown[]) => {
      refuseChanged(argv, rawWords ?? (() => undefined));
      const given = args.at(-2) as Record<string, never>;
      const { nats, creds, cluster, profile, color } = program.opts<Globals>();
      const words = args
        .slice(0, -2)
        .flat()
        .filter((word) => word !== undefined) as string[];
      const { connectClient } = await import("./connect.ts");
      const client = await connectClient(io, {
        ...{ nats, creds, cluster, profile, ...given },
        follows: followsWork(command.name(), given),
      });
      try {
        const wanted = color === undefined ? given : { color, ...given };
        state.code = await action(io, client, words, { ...wanted, ...verbatim(argv, words) } as Record<string, never>);
      } finally {
        await client.close();
      }
    });
  };
}

/** Words behind `--` are a command as they are: one with a space in it is the name of a program, not a shell line. */
function verbatim(argv: readonly string[], words: readonly string[]): { verbatim?: never } {
  const dashes = argv.indexOf("--");
  const same = dashes >= 0 && argv.length - dashes - 1 === words.length && words.at(-1) === argv.at(-1);
  return same && words.length > 0 ? { verbatim: true as never } : {};
}

function runCommands(program: Command, on: On): void {
  const run = eachOptions(taskOptions(program.command("run [words...]")))
    .description("run a command, a shell line or a TypeScript file, follow its output, exit with its code")
    .passThroughOptions()
    .option("-d, --detach", "print the id and leave")
    .option("-k, --keep-order", "with --each: output in the order of the lines")
    .option("--halt <when>", "with --each: soon,fail=1 sends no more, now,fail=1 stops all (never)")
    .option("--joblog <file>", "with --each: a line a task, in GNU parallel's columns")
    .option("--progress", "with --each: progress even when standard error is no terminal")
    .addHelpText("before", EXAMPLES["run"] ?? "")
    .addHelpText("after", RUN_NOTES);
  on(run, async (io, client, words, options) => {
    const { each } = options as { each?: string };
    refuseIdle(options);
    if (each !== undefined) {
      const { eachCommand } = await import("./commands/each.ts");
      return await eachCommand(io, client, each, words, options);
    }
    const { runCommand } = await import("./commands/run.ts");
    return await runCommand(io, client, words, options);
  });
  const submit = eachOptions(taskOptions(program.command("submit [words...]")))
    .description("submit a task, or one for each line, and print its id")
    .passThroughOptions()
    .option("--array <count>", "that many members, told apart by CLAW_TASK_INDEX")
    .addHelpText("before", EXAMPLES["submit"] ?? "");
  on(submit, async (io, client, words, options) => {
    const { each } = options as { each?: string };
    refuseIdle(options);
    if (each !== undefined) {
      const { eachCommand } = await import("./commands/each.ts");
      return await eachCommand(io, client, each, words, Object.assign(options, { detach: true }));
    }
    const { submitCommand } = await import("./commands/run.ts");
    return await submitCommand(io, client, words, options);
  });
}

const RUN_NOTES = `
The task's standard input is empty: give it files, arguments, or lines with --each.
Ctrl-C cancels what was submitted and waits for its end; a second one leaves it alone. A terminal that closes, SIGTERM,
or a reader that goes away (claw run … | head) only end this command: the work goes on, and a last line says its id.
Exit code: the task's own; 128+n for a signal, 124 when its --timeout ended it, 125 when claw itself failed; with --each
0 when all succeeded, else 1.
`;

function taskCommands(program: Command, on: On): void {
  const make = (usage: string, description: string): Command => {
    const command = targetOptions(program.command(usage)).description(description);
    return command.addHelpText("before", EXAMPLES[command.name()] ?? "");
  };
  const ls = make("ls", "list tasks, newest first")
    .option("--status <status>", "only these: pending,scheduled,running,completed,failed,cancelled,timeout", collect)
    .option("--name <name>", "only tasks of this name")
    .option("--label <name=value>", "only tasks with this label", collect)
    .option("--since <duration>", "only tasks submitted within so long")
    .option("--limit <count>", "at most so many (50)")
    .option("--json", "a JSON array")
    .option("-q, --quiet", "ids only");
  on(colorOption(ls), async (io, client, _words, options) =>
    (await import("./commands/tasks.ts")).listCommand(io, client, options),
  );
  const show = make("show <ids...>", "everything about tasks: where, when, why they wait").option("--json", "JSON");
  on(show, async (io, client, words, options) =>
    (await import("./commands/tasks.ts")).showCommand(io, client, words, options),
  );
  const logs = make(
    "logs <ids...>",
    "tasks' output; of an array, its members' in their order, each line with its index",
  );
  logs.option("-f, --follow", "until they are over").option("--json", "pieces as a JSON array, with -f one a line");
  on(logs, async (io, client, words, options) =>
    (await import("./commands/tasks.ts")).logsCommand(io, client, words, options),
  );
  const wait = make("wait <ids...>", "wait for tasks: 0 all succeeded, 1 one did not, 75 some still run at --timeout")
    .option("--timeout <duration>", "give up after this long")
    .option("--json", "the tasks as a JSON array")
    .option("-q, --quiet", "say nothing");
  on(wait, async (io, client, words, options) =>
    (await import("./commands/tasks.ts")).waitCommand(io, client, words, options),
  );
  const selecting = (command: Command): Command =>
    command
      .option("--name <name>", "instead of ids: tasks of this name")
      .option("--label <name=value>", "instead of ids: tasks with this label", collect)
      .option("--since <duration>", "instead of ids: tasks submitted within so long")
      .option("-y, --yes", "do not ask");
  const cancel = selecting(make("cancel [ids...]", "cancel tasks; what runs is stopped"))
    .option("--status <status>", "only what is pending, scheduled or running", collect)
    .option("--json", "counts as JSON")
    .option("-q, --quiet", "say nothing");
  on(cancel, async (io, client, words, options) =>
    (await import("./commands/tasks.ts")).cancelCommand(io, client, words, options),
  );
  const retry = selecting(make("retry [ids...]", "what is over, anew, as new tasks; prints their ids"))
    .option(
      "--status <status>",
      "only what ended so: failed,timeout,cancelled (these three unless told), completed",
      collect,
    )
    .option("--again", "with --status, --name, --label or --since: also what was retried already")
    .option("--json", "ids and counts as a JSON array")
    .option("-q, --quiet", "ids only");
  on(retry, async (io, client, words, options) =>
    (await import("./commands/retry.ts")).retryCommand(io, client, words, options),
  );
}

function clusterCommands(program: Command, on: On, state: State): void {
  const nodes = noted(program.command("nodes"), state).description("the nodes, their load and what they did");
  nodes.addHelpText("before", EXAMPLES["nodes"] ?? "");
  const ls = targetOptions(nodes.command("ls", { isDefault: true }))
    .description("list them (what `claw nodes` does)")
    .allowExcessArguments(true)
    .addHelpText("before", EXAMPLES["nodes"] ?? "")
    .option("--json", "a JSON array")
    .option("-q, --quiet", "ids only");
  on(colorOption(ls), async (io, client, _words, options) => {
    const [word] = ls.args;
    if (word !== undefined) {
      throw new ClawError("usage", `there is no command 'nodes ${word}'`, { hint: "try `claw nodes`", field: word });
    }
    return await (await import("./commands/nodes.ts")).nodesCommand(io, client, options);
  });
  nodeCommands(nodes, on);
  const status = targetOptions(program.command("status")).description("the cluster in a few lines");
  on(
    status.option("--json", "JSON").addHelpText("before", EXAMPLES["status"] ?? ""),
    async (io, client, _words, options) => (await import("./commands/cluster.ts")).statusCommand(io, client, options),
  );
  eventsCommand(program, on);
  skillsCommands(program, on, state);
  const credentials = noted(program.command("credentials"), state).description("credentials for other machines");
  credentials.addHelpText("before", EXAMPLES["credentials"] ?? "");
  const exporting = targetOptions(credentials.command("export"))
    .description("print credentials for one worker, client or second coordinator")
    .option("--role <role>", "worker, client or coordinator")
    .option("--out <file>", "into this file, which only its owner can read, instead of standard output")
    .option("--json", "JSON")
    .addHelpText("before", EXAMPLES["credentials"] ?? "");
  on(exporting, async (io, client, _words, options) =>
    (await import("./commands/cluster.ts")).exportCommand(io, client, options),
  );
}

function skillsCommands(program: Command, on: On, state: State): void {
  const skills = noted(program.command("skills"), state).description("OpenClaw's skills on the nodes");
  skills.addHelpText("before", EXAMPLES["skills"] ?? "");
  const ls = targetOptions(skills.command("ls", { isDefault: true }))
    .description("list them (what `claw skills` does)")
    .addHelpText("before", EXAMPLES["skills"] ?? "")
    .option("--json", "a JSON array")
    .option("--quiet", "names only");
  on(colorOption(ls), async (io, client, _words, options) =>
    (await import("./commands/skills.ts")).skillsCommand(io, client, options),
  );
  const show = targetOptions(skills.command("show <skills...>"))
    .description("where a skill can be used, and what it lacks elsewhere")
    .addHelpText("before", EXAMPLES["skills"] ?? "")
    .option("--json", "JSON");
  on(show, async (io, client, words, options) =>
    (await import("./commands/skills.ts")).showSkillsCommand(io, client, words, options),
  );
}

function eventsCommand(program: Command, on: On): void {
  const events = targetOptions(program.command("events [tasks...]"))
    .description("what happened to tasks, nodes and coordinators, in the order of the log")
    .addHelpText("before", EXAMPLES["events"] ?? "")
    .option("-f, --follow", "and what happens from now on")
    .option("--tail <count>", "begin with so many (50; with -f 10)")
    .option("--after <id>", "begin behind this event")
    .option("--type <type>", "only these: task, node, task.failed, …", collect)
    .option("--node <node>", "only what this node did")
    .option("--json", "a JSON array, with -f an object a line");
  on(events, async (io, client, words, options) =>
    (await import("./commands/events.ts")).eventsCommand(io, client, words, options),
  );
}

const CONFIG_COMMANDS = {
  init: "copy the examples into place",
  check: "name every mistake",
  show: "every value and where it came from",
} as const;

function configCommands(program: Command, io: Io, state: State): void {
  const config = noted(program.command("config"), state).description("settings: make, check and show them");
  config.addHelpText("before", EXAMPLES["config"] ?? "");
  for (const name of ["init", "check", "show"] as const) {
    const command = config.command(`${name} [role]`).description(CONFIG_COMMANDS[name]);
    command
      .option("--config <file>", "this file")
      .option("--profile <name>", "another cluster's files on this machine")
      .option("--json", "JSON")
      .addHelpText("before", EXAMPLES["config"] ?? "");
    command.action(async (role: string | undefined, given: Record<string, never>) => {
      // Either may also stand before the command.
      const { config: file, profile } = program.opts<Globals>();
      const commands = await import("./commands/config.ts");
      const globals = {
        ...(file === undefined ? {} : { config: file }),
        ...(profile === undefined ? {} : { profile }),
      };
      const options = { ...globals, ...given };
      state.code = await commands.configCommand(io, name, role, options);
    });
  }
}

function versionText(): string {
  return `claw cluster ${VERSION}${COMMIT === undefined ? "" : ` (${COMMIT})`}`;
}

function versionCommand(program: Command, io: Io): void {
  program
    .command("version")
    .description("claw's version")
    .option("--json", "with the version of what --json prints")
    .addHelpText("before", EXAMPLES["version"] ?? "")
    .action(async (options: { json?: boolean }) => {
      const json = { name: "claw cluster", version: VERSION, commit: COMMIT ?? null, json_schema: 1 };
      await io.out(`${options.json === true ? JSON.stringify(json) : versionText()}\n`);
    });
}
