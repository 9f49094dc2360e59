// argv → command. Roles are loaded when one is started: a command that asks a question does not wait for what serves.

import { readFileSync } from "node:fs";
import { runCli } from "./client/cli.ts";
import { systemRuntime as runtime } from "./common/runtime.ts";

process.exitCode = await runCli(process.argv.slice(2), {
  runtime,
  startRole: async (options) =>
    (await import("./operations/roles.ts")).startRole(options, (code) => process.exit(code)),
  rawWords: () => (process.platform === "linux" ? readFileSync("/proc/self/cmdline") : undefined),
  restore: async (call) => (await import("./operations/roles.ts")).restore(call),
});
process.exit();
