// `config init|check|show`: settings without starting anything.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  checkConfig,
  initConfig,
  type Loaded,
  loadConfig,
  type Problem,
  problemText,
  type Source,
} from "../../common/config.ts";
import type { ConfigRole } from "../../common/config-schema.ts";
import { ClawError, ERRORS } from "../../common/errors.ts";
import { resolvePaths } from "../../common/paths.ts";
import type { Io } from "../io.ts";
import { printRows } from "../output.ts";
import { oneOf } from "../specification.ts";

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

async function check(io: Io, roles: readonly ConfigRole[], options: ConfigOptions): Promise<number> {
  const problems: Problem[] = [];
  const files: string[] = [];
  for (const role of roles) {
    const file = options.config ?? join(pathsOf(io, options).config_dir, `${role}.yaml`);
    if (options.config !== undefined && !existsSync(file)) throw new ClawError("not_found", `there is no file ${file}`);
    if (!existsSync(file)) continue;
    files.push(file);
    problems.push(...checkConfig(role, readFileSync(file, "utf8"), file));
  }
  if (options.json === true) await io.out(`${JSON.stringify({ ok: problems.length === 0, files, problems })}\n`);
  else if (problems.length > 0) io.err(`${problems.map(problemText).join("\n")}\n`);
  else await io.out(files.length === 0 ? "no settings files: the defaults hold\n" : `${files.join("\n")}\nall good\n`);
  return problems.length === 0 ? 0 : ERRORS.bad_config.exit;
}

interface Row {
  role: ConfigRole;
  field: string;
  value: unknown;
  source: Source;
}

async function show(io: Io, roles: readonly ConfigRole[], options: ConfigOptions): Promise<number> {
  const rows = roles.flatMap((role) => rowsOf(io, role, options));
  await printRows(
    io,
    options.json === true ? "json" : "table",
    rows,
    [
      { title: "ROLE", value: (row) => row.role },
      { title: "FIELD", value: (row) => row.field },
      {
        title: "VALUE",
        value: (row) =>
          row.value === undefined ? "-" : typeof row.value === "string" ? row.value : JSON.stringify(row.value),
      },
      {
        title: "FROM",
        value: ({ source }) => (source.detail === undefined ? source.source : `${source.source} ${source.detail}`),
      },
    ],
    {
      id: (row) => row.field,
      json: ({ role, field, value, source }) => ({ role, field, value: value ?? null, ...source }),
      empty: "",
    },
  );
  return 0;
}

function rowsOf(io: Io, role: ConfigRole, options: ConfigOptions): Row[] {
  const load = {
    paths: pathsOf(io, options),
    env: io.env,
    ...(options.config === undefined ? {} : { file: options.config }),
  };
  const loaded: Loaded<unknown> = role === "coordinator" ? loadConfig("coordinator", load) : loadConfig("worker", load);
  return [...loaded.sources].map(([field, source]) => ({
    role,
    field,
    value: hidden(loaded.values.get(field)),
    source,
  }));
}

/** Passwords in URLs are nobody's business on a screen. */
function hidden(value: unknown): unknown {
  return typeof value === "string" ? value.replace(/(\w+:\/\/[^:/@\s]+):[^@/\s]+@/, "$1:***@") : value;
}
