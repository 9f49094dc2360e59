// What is said when nobody answered: what is known of NATS and of the cluster, in the words of who asked.

import { ClawError, messageOf } from "../common/errors.ts";

export interface Asker {
  cluster: string;
  /** For people. */
  nats_url: string;
  /** A coordinator that passes on what it was asked, and so speaks of itself; otherwise a client. */
  coordinator?: { managed: boolean };
}

/** silent: connected, and nothing comes. */
export type Link = "there" | "silent" | "lost";

export const AWAY = "the connection was lost and did not come back";

export function unanswered(asker: Asker, link: Link, error: unknown): ClawError {
  const [why, hint] = asker.coordinator === undefined ? toClient(asker, link, error) : toCaller(asker, link, error);
  return new ClawError("no_coordinator", why, { hint, cause: error });
}

function toClient({ cluster, nats_url }: Asker, link: Link, error: unknown): [why: string, hint: string] {
  if (link === "lost") return [AWAY, "does the coordinator still run? its log says why it ended"];
  if (link === "silent") {
    const hint = "the connection to it is there, and nothing comes: does its machine still run, and the network to it?";
    return [`NATS at ${nats_url} does not answer`, hint];
  }
  if (isUnheard(error)) {
    const name = "NATS is there: is the name of the cluster right (--cluster, CLAW_CLUSTER)?";
    return [nobody(cluster), `${name} Then see its coordinator's log, or start it again`];
  }
  return [late("the coordinator", error), "NATS is there: see the coordinator's log, or start it again"];
}

function toCaller(asker: Asker, link: Link, error: unknown): [why: string, hint: string] {
  const { cluster, nats_url, coordinator } = asker;
  if (link !== "there") {
    const away = link === "lost" ? "has no connection to NATS" : "hears nothing from NATS";
    const hint =
      coordinator?.managed === true
        ? "it starts its nats-server again by itself; if this stays so, see its log, and nats-server.log in its data folder"
        : "does that NATS run, and does this machine reach it? As soon as it does, this works again";
    return [`this coordinator ${away} at ${nats_url}`, hint];
  }
  if (isUnheard(error)) {
    return [nobody(cluster), "send it again: another one takes over; if none does, the coordinators' logs say why"];
  }
  return [late("the coordinator that leads", error), "NATS is there: see the log of the coordinator that leads"];
}

/** NATS says that nobody listens there. */
function isUnheard(error: unknown): boolean {
  return codeOf(error) === "503";
}

/** Nobody says more about it within the time that was waited. */
export function isLate(error: unknown): boolean {
  return codeOf(error) === "TIMEOUT";
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string } | undefined)?.code;
}

export function nobody(cluster: string): string {
  return `no coordinator of cluster '${cluster}' answers`;
}

function late(who: string, error: unknown): string {
  return isLate(error) ? `${who} did not answer in time` : `${who} did not answer: ${messageOf(error)}`;
}
