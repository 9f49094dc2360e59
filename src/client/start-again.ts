// The command that would bring back a coordinator on this machine: the one that ran here last, or `claw up`.

import type { Environment } from "../common/paths.ts";
import { redactAddresses } from "../common/redact.ts";
import { lastStart } from "../communication/started.ts";

export interface Where {
  env: Environment;
  data_dir: string;
  profile: string | undefined;
}

/** What to do when none runs, or its NATS is gone. */
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

/** `own`: with a log on this machine, whatever it followed before. */
export function startCommand({ env, data_dir, profile }: Where, own = false): string {
  const home = env["CLAW_HOME"];
  const where = home === undefined || home === "" ? "" : `CLAW_HOME=${quote(home)} `;
  const words = lastStart(data_dir)?.words;
  if (words === undefined) return `${where}claw up${profile === undefined ? "" : ` --profile ${profile}`}`;
  const kept = own ? withoutBroker(words) : words;
  return `${where}claw ${kept.map((word) => quote(redactAddresses(word))).join(" ")}`;
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
