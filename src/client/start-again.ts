// The command that would bring back a coordinator on this machine: the one that ran here last, or `claw up`.

import type { Environment } from "../common/paths.ts";
import { redactAddresses } from "../common/redact.ts";
import { lastStart } from "../communication/started.ts";

export interface Where {
  env: Environment;
  data_dir: string;
  profile: string | undefined;
}

/** A NATS that the cluster has of its own. */
interface Broker {
  nats_url: string;
  creds?: string | undefined;
}

/** What to do when none runs. */
export function remedy(where: Where): string {
  const command = `\`${startCommand(where)}\``;
  const last = lastStart(where.data_dir);
  if (last === undefined) return `start one on this machine with ${command}`;
  if (!last.follows) return `start it again with ${command}`;
  return (
    `does the NATS run that it follows? Then start it again with ${command}; ` +
    "when that NATS is gone for good: `claw snapshot restore --from-view` goes on with what this machine has"
  );
}

/** What to do when NATS is not there and the coordinator, this process, lives: no other one can be started beside it. */
export function remedyBesideIt(where: Where, pid: number): string {
  if (lastStart(where.data_dir)?.follows === true) {
    return `does the NATS run that its coordinator (process ${pid}) follows? As soon as it does, this works again`;
  }
  return `its coordinator (process ${pid}) lives: see its log, or end that process and start it again with \`${startCommand(where)}\``;
}

/** As it was started last, but for `log`: with one on this machine, or one on that NATS, whatever it followed before. */
export function startCommand({ env, data_dir, profile }: Where, log?: "own" | Broker): string {
  const home = env["CLAW_HOME"];
  const where = home === undefined || home === "" ? "" : `CLAW_HOME=${quote(home)} `;
  const named = profile === undefined ? [] : ["--profile", profile];
  const words = wordsOf(lastStart(data_dir)?.words ?? ["up", ...named], log, named);
  return `${where}claw ${words.map((word) => quote(redactAddresses(word))).join(" ")}`;
}

function wordsOf(last: string[], log: "own" | Broker | undefined, named: string[]): string[] {
  if (log === undefined) return last;
  if (log === "own") return withoutBroker(last);
  if (last.some((word) => word === log.nats_url || word === `--nats=${log.nats_url}`)) return last;
  const creds = log.creds === undefined ? [] : ["--creds", log.creds];
  return ["--role", "coordinator", "--nats", log.nats_url, ...creds, ...named];
}

function withoutBroker(words: readonly string[]): string[] {
  const theirs = ["--nats", "--creds"];
  return words.filter(
    (word, at) =>
      !theirs.includes(word) &&
      !theirs.includes(words[at - 1] ?? "") &&
      !theirs.some((option) => word.startsWith(`${option}=`)),
  );
}

function quote(word: string): string {
  return /^[\w./:@%+,=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
