// `config init|check|show`: settings without starting anything.

import { existsSync } from "node:fs";
import { describeConfig, initConfig, type Loaded, loadConfig, type SettingRow } from "../../common/config.ts";
import { ConfigError, type Problem, problemText } from "../../common/config-problem.ts";
import type { ConfigRole } from "../../common/config-schema.ts";
import { ClawError, ERRORS } from "../../common/errors.ts";
import { resolvePaths } from "../../common/paths.ts";
import type { Io } from "../io.ts";
import { printRows } from "../output.ts";
import { oneOf } from "../values.ts";

const ROLES: readonly ConfigRole[] = ["coordinator", "worker"];

export interface ConfigOptions {
  config?: string;
  profile?: string;
  json?: boolean;
}

export async function configCommand(
  io: Io,
  action: "init" | "check" | "show",
  role: string | undefined,
  options: ConfigOptions,
): Promise<number> {
  const roles = role === undefined ? ROLES : [oneOf<ConfigRole>("role", role, ROLES)];
  if (options.config !== undefined && role === undefined) {
    throw new ClawError("usage", "whose settings is this file?", {
      hint: `claw config ${action} worker --config FILE`,
    });
  }
  switch (action) {
    case "init":
      return await init(io, roles, options);
    case "check":
      return await check(io, roles, options);
    case "show":
      return await show(io, roles, options);
  }
}

function pathsOf(io: Io, options: ConfigOptions) {
  return resolvePaths(io.env, options.profile === undefined ? {} : { profile: options.profile });
}

async function init(io: Io, roles: readonly ConfigRole[], options: ConfigOptions): Promise<number> {
  const made = roles.map((role) => initConfig(role, pathsOf(io, options).config_dir));
  if (options.json === true) await io.out(`${JSON.stringify(made)}\n`);
  else
    await io.out(made.map(({ file, created }) => `${file}${created ? "" : " (was there, left as it is)"}\n`).join(""));
  return 0;
}

/** Every problem of the files, the environment included: what `claw --role …` would refuse. */
async function check(io: Io, roles: readonly ConfigRole[], options: ConfigOptions): Promise<number> {
  const problems: Problem[] = [];
  const files: string[] = [];
  const ignored = new Set<string>();
  for (const role of roles) {
    try {
      const loaded = load(io, role, options);
      if (existsSync(loaded.file)) files.push(loaded.file);
      for (const name of loaded.ignored) ignored.add(name);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
    }
  }
  if (options.json === true) {
    const report = { ok: problems.length === 0, files, problems, ignored: [...ignored] };
    await io.out(`${JSON.stringify(report)}\n`);
  } else {
    for (const name of ignored) io.err(`claw: ${name} is no setting and means nothing here\n`);
    if (problems.length > 0) io.err(`${problems.map(problemText).join("\n")}\n`);
    else
      await io.out(files.length === 0 ? "no settings files: the defaults hold\n" : `${files.join("\n")}\nall good\n`);
  }
  return problems.length === 0 ? 0 : ERRORS.bad_config.exit;
}

interface Row extends SettingRow {
  role: ConfigRole;
}

async function show(io: Io, roles: readonly ConfigRole[], options: ConfigOptions): Promise<number> {
  const rows = roles.flatMap((role): Row[] => describeConfig(load(io, role, options)).map((row) => ({ role, ...row })));
  await printRows(
    io,
    options.json === true ? "json" : "table",
    rows,
    [
      { title: "ROLE", value: ({ role }) => role },
      { title: "FIELD", value: ({ field }) => field },
      { title: "VALUE", value: ({ value }) => valueText(value) },
      { title: "FROM", value: ({ source, detail }) => (detail === undefined ? source : `${source} ${detail}`) },
    ],
    { id: ({ field }) => field, json: (row) => row, empty: "there are no settings" },
  );
  return 0;
}

function valueText(value: unknown): string {
  if (value === null) return "-";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function load(io: Io, role: ConfigRole, options: ConfigOptions): Loaded<unknown> {
  const file = options.config === undefined ? {} : { file: options.config };
  return loadConfig(role, { paths: pathsOf(io, options), env: io.env, ...file });
}
