// `claw nodes …` as it is typed: looking at nodes, and taking them out of service and back.

import type { Command } from "commander";
import { EXAMPLES } from "./examples.ts";
import type { On } from "./on.ts";
import { targetOptions } from "./options.ts";
import { nodeSetCommand } from "./placement-commands.ts";

const NODE_COMMANDS = {
  cordon: "give them no new work; what runs there goes on",
  drain: "give them no new work; what waits there runs elsewhere, what runs may end, until --deadline",
  shutdown: "drain them and end their workers, which stay ended until somebody starts them again",
  resume: "give them work again, and forget deadline and reason",
  rm: "forget nodes that are offline",
} as const;

export function nodeCommands(nodes: Command, on: On): void {
  const make = (usage: string, description: string): Command =>
    targetOptions(nodes.command(usage))
      .description(description)
      .addHelpText("before", EXAMPLES["nodes"] ?? "");
  const show = make("show <nodes...>", "everything about nodes, and what they run").option("--json", "JSON");
  on(show, async (io, client, words, options) =>
    (await import("./commands/nodes.ts")).showNodesCommand(io, client, words, options),
  );
  nodeSetCommand(nodes, on);
  for (const [name, description] of Object.entries(NODE_COMMANDS)) {
    const command = make(`${name} <nodes...>`, description)
      .option("--json", "JSON")
      .option("-q, --quiet", "say nothing");
    if (name === "drain" || name === "shutdown") {
      command
        .option("--deadline <duration>", "stop what still runs then; it runs elsewhere")
        .option("--wait", name === "drain" ? "until they are empty" : "until their workers have ended")
        .option("--timeout <duration>", "with --wait: for so long at most; then exit code 75");
    }
    if (name !== "resume" && name !== "rm") command.option("--reason <text>", "why, for those who wonder");
    if (name === "shutdown" || name === "rm") command.option("-y, --yes", "do not ask");
    const action = name === "rm" ? "remove" : (name as "cordon" | "drain" | "shutdown" | "resume");
    on(command, async (io, client, words, options) =>
      (await import("./commands/node-manage.ts")).manageCommand(io, client, action, words, options),
    );
  }
}
