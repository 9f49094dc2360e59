// `status`, `credentials export`: the cluster itself.

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { clusterDocument } from "../../common/documents.ts";
import { ClawError } from "../../common/errors.ts";
import type { ClusterState, WaitingGroup } from "../../common/models.ts";
import { writePrivate } from "../../communication/private.ts";
import type { RequestClient } from "../../communication/request.ts";
import type { Io } from "../io.ts";
import { sheet } from "../output.ts";
import { ageOf } from "../show.ts";
import { oneOf } from "../values.ts";

export async function statusCommand(io: Io, client: RequestClient, options: { json?: boolean }): Promise<number> {
  const { status } = await client.query("cluster.status", {});
  if (options.json === true) {
    await io.out(`${JSON.stringify(clusterDocument(status))}\n`);
    return 0;
  }
  const { tasks, nodes } = status;
  const lines: [string, string][] = [
    ["cluster", `${status.cluster} (${status.cluster_id.slice(0, 8)}), claw ${status.version}`],
    ["leader", `${leaderText(status)}, term ${status.epoch}, up ${ageOf(status.started_at, io.runtime.wall_ms())}`],
    ...status.coordinators
      .slice(1)
      .map((one): [string, string] => [
        "follows",
        `${one.name} (${one.id}), ${one.behind === 0 ? "up to date" : `${one.behind} batches behind`}`,
      ]),
    ["nodes", `${nodes.online} online of ${nodes.total}`],
    ["tasks", `${tasks.pending} pending, ${tasks.scheduled} scheduled, ${tasks.running} running`],
    [
      "finished",
      `${tasks.completed} completed, ${tasks.failed} failed, ${tasks.cancelled} cancelled, ${tasks.timeout} timed out`,
    ],
    ...status.waiting.map((group): [string, string] => ["waiting", waitingText(group, io.runtime.wall_ms())]),
    ["nats", `${status.nats_url} (nats-server ${status.broker.version}, sync ${status.broker.sync})`],
    ["http", status.http_url ?? "off"],
    ...status.notes.map((note): [string, string] => ["note", note]),
  ];
  await io.out(sheet(lines));
  return 0;
}

/** With its id where its name does not tell it from another. */
function leaderText({ leader, coordinators }: ClusterState): string {
  const [first, ...others] = coordinators;
  const shared = others.some(({ name }) => name === leader);
  return shared && first !== undefined ? `${leader} (${first.id})` : leader;
}

function waitingText({ needs, priority, tasks, oldest, since, why }: WaitingGroup, now: number): string {
  const first = tasks === 1 ? oldest : `${oldest} first`;
  return `${tasks} ${priority} for ${ageOf(since, now)} (${first}), each: ${needs}; ${why}`;
}

const THERE = {
  worker: "claw --role worker",
  client: "claw status",
  coordinator: "claw --role coordinator",
} as const;

export async function exportCommand(
  io: Io,
  client: RequestClient,
  options: { role?: string; out?: string; json?: boolean },
): Promise<number> {
  if (options.role === undefined)
    throw new ClawError("usage", "whose credentials?", {
      hint: "--role worker, client or coordinator",
      field: "--role",
    });
  const role = oneOf("--role", options.role, ["worker", "client", "coordinator"]);
  const path = options.out === undefined ? undefined : resolve(io.cwd, options.out);
  if (path !== undefined && existsSync(path)) {
    throw new ClawError("conflict", `${path} is there already, and may be some machine's identity`, {
      hint: "name another file, or remove that one",
      field: "--out",
    });
  }
  const { creds, id, nats_url } = await client.command("credentials.export", { v: 1, role });
  if (path !== undefined) writePrivate(path, creds, true);
  if (options.json === true)
    await io.out(`${JSON.stringify({ id, nats_url, ...(path === undefined ? { creds } : {}) })}\n`);
  else {
    if (path === undefined) await io.out(creds);
    const there = `${THERE[role]} --nats ${nats_url.replace("127.0.0.1", "HOST")} --creds ${options.out ?? "FILE"}`;
    io.err(`claw: credentials of ${id}; one file a machine, mode 0600. There: ${there}\n`);
  }
  return 0;
}
