// `claw plan`, `claw placement …` and `claw nodes set` as they are typed: where tasks go, and what that goes by.

import type { Command } from "commander";
import { EXAMPLES } from "./examples.ts";
import type { On } from "./on.ts";
import { collect, targetOptions, taskOptions } from "./options.ts";

export function planCommand(program: Command, on: On): void {
  const plan = taskOptions(program.command("plan [words...]"))
    .description("where a task would go now, and why: nothing is run")
    .passThroughOptions()
    .addHelpText("before", EXAMPLES["plan"] ?? "");
  on(plan, async (io, client, words, options) =>
    (await import("./commands/plan.ts")).planCommand(io, client, words, options),
  );
}

const PLACEMENT_COMMANDS = {
  show: "how a node is chosen, and what of it was set (what `claw placement` does)",
  set: "change it for the whole cluster, from now on and for good",
  reset: "back to what coordinator.yaml says",
} as const;

export function placementCommands(group: Command, on: On): void {
  group.description("how a node is chosen among those that fit").addHelpText("before", EXAMPLES["placement"] ?? "");
  for (const name of ["show", "set", "reset"] as const) {
    const command = targetOptions(group.command(name, { isDefault: name === "show" }))
      .description(PLACEMENT_COMMANDS[name])
      .option("--json", "JSON")
      .addHelpText("before", EXAMPLES["placement"] ?? "");
    if (name === "set") {
      command
        .option("--strategy <strategy>", "for tasks that have none of their own")
        .option("--weight <name=value>", "what best_fit counts: cpu, memory, tasks, affinity", collect)
        .option("--aging <duration>", "waiting so long is worth one step of priority")
        .option("--reserve-after <duration>", "a task too large for the gaps has a node emptied for it after so long");
    }
    on(command, async (io, client, _words, options) =>
      (await import("./commands/placement.ts")).placementCommand(io, client, name, options),
    );
  }
}

export function nodeSetCommand(nodes: Command, on: On): void {
  const command = targetOptions(nodes.command("set <nodes...>"))
    .description("say otherwise than their workers do, from now on and for good")
    .addHelpText("before", EXAMPLES["nodes set"] ?? "")
    .option("--cpu <cores>", "processors")
    .option("--memory <size>", "memory")
    .option("--gpu <count>", "graphics processors")
    .option("--resource <name=count>", "something that is counted", collect)
    .option("--tag <tag>", "has this tag", collect)
    .option("--without-tag <tag>", "has it not", collect)
    .option("--attribute <name=value>", "has this attribute", collect)
    .option("--without-attribute <name>", "has it not", collect)
    .option("--reset", "first of all back to what their workers say")
    .option("--json", "JSON")
    .option("-q, --quiet", "say nothing");
  on(command, async (io, client, words, options) =>
    (await import("./commands/node-set.ts")).setNodesCommand(io, client, words, options),
  );
}
