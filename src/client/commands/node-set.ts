// `nodes set`: what of a node is otherwise than its worker says.

import { ClawError } from "../../common/errors.ts";
import type { NodeSettings } from "../../common/settings.ts";
import { parseSize } from "../../common/units.ts";
import type { RequestClient } from "../../communication/request.ts";
import type { Io } from "../io.ts";
import { distinct, number, quantity } from "../values.ts";
import { allOrNone, nodesNamed } from "./nodes.ts";

interface SetOptions {
  cpu?: string;
  memory?: string;
  gpu?: string;
  resource?: string[];
  tag?: string[];
  withoutTag?: string[];
  attribute?: string[];
  withoutAttribute?: string[];
  reset?: boolean;
  json?: boolean;
  quiet?: boolean;
}

const MIB = 1024 * 1024;

function settingsOf(options: SetOptions): NodeSettings {
  const { cpu, memory, gpu, resource, tag, withoutTag, attribute, withoutAttribute = [] } = options;
  const resources = distinct("--resource", resource);
  const attributes: Record<string, string | null> = { ...distinct("--attribute", attribute) };
  for (const name of withoutAttribute) attributes[name] = null;
  for (const [option, given] of Object.entries({ "--tag": tag, "--without-tag": withoutTag })) {
    if (given?.includes("") === true) throw new ClawError("usage", `${option} must not be empty`, { field: option });
  }
  return {
    ...(cpu === undefined ? {} : { cpu_millis: Math.round(number("--cpu", cpu, 10_000) * 1000) }),
    ...(memory === undefined ? {} : { memory_mib: Math.floor(quantity("--memory", memory, parseSize) / MIB) }),
    ...(gpu === undefined ? {} : { gpus: number("--gpu", gpu, 1024, true) }),
    ...(resources === undefined ? {} : { resources: counts(resources) }),
    ...(tag === undefined ? {} : { tags_added: tag }),
    ...(withoutTag === undefined ? {} : { tags_removed: withoutTag }),
    ...(Object.keys(attributes).length === 0 ? {} : { attributes }),
  };
}

function counts(resources: Record<string, string>): Record<string, number> {
  const counted = Object.entries(resources).map(([name, text]) => [name, number("--resource", text, 2 ** 31, true)]);
  return Object.fromEntries(counted) as Record<string, number>;
}

export async function setNodesCommand(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: SetOptions,
): Promise<number> {
  const set = settingsOf(options);
  if (Object.keys(set).length === 0 && options.reset !== true) {
    throw new ClawError("usage", "what shall be set?", { hint: "claw nodes set NODE --tag gpu --attribute zone=eu" });
  }
  const nodes = await allOrNone(words, () => nodesNamed(client, words));
  const ids = nodes.map(({ id }) => id);
  const reset = options.reset === true ? { reset: true } : {};
  await allOrNone(words, () => client.command("node.configure", { v: 1, nodes: ids, ...reset, set }));
  const after = await nodesNamed(client, ids);
  if (options.json === true) {
    const rows = after.map(({ id, name, settings = {} }) => ({ id, name, settings }));
    await io.out(`${JSON.stringify(rows)}\n`);
  } else if (options.quiet !== true) {
    for (const { name, settings } of after) {
      io.err(
        `claw: ${name} is ${settings === undefined ? "as its worker says" : "set otherwise than its worker says"}\n`,
      );
    }
  }
  return 0;
}
