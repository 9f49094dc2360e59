// The command that would bring back a coordinator on this machine: the one that ran here last, or `claw up`; and the one
// that puts a cluster back on it.

import type { Environment } from "../common/paths.ts";
import { redactAddresses } from "../common/redact.ts";
import { lastStart } from "../communication/started.ts";
import type { RestoreCall } from "./snapshot-commands.ts";

export interface Where {
  env: Environment;
  data_dir: string;
  profile: string | undefined;
  /** Where it was named. */
  cluster?: string | undefined;
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
    `when that NATS is gone for good: \`${restoreFromView(where, last.words)}\` goes on with what this machine has`
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
export function startCommand({ env, data_dir, profile, cluster }: Where, log?: "own" | Broker): string {
  const named = [...option("--profile", profile), ...option("--cluster", cluster)];
  const words = wordsOf(lastStart(data_dir)?.words ?? ["up", ...named], log, named);
  return typed(env, words.map(redactAddresses));
}

/** The restore of this call, whole: with less it may be another cluster's files, or another log, that it restores into. */
export function restoreCommand(env: Environment, { file, force, own, flags, config, profile }: RestoreCall): string {
  const said = (path: string): string | undefined => flags[path] as string | undefined;
  const url = said("nats.url");
  return typed(env, [
    ...["snapshot", "restore", file ?? "--from-view"],
    ...option("--nats", url === undefined ? undefined : redactAddresses(url)),
    ...option("--creds", said("nats.creds")),
    ...(own ? ["--own"] : []),
    ...option("--cluster", said("cluster")),
    ...option("--config", config),
    ...option("--profile", profile),
    ...(force ? ["--force"] : []),
  ]);
}

function restoreFromView({ env, profile }: Where, words: readonly string[]): string {
  const flags = { cluster: valueIn(words, "--cluster") };
  const config = valueIn(words, "--config");
  return restoreCommand(env, {
    ...{ file: undefined, force: false, own: false, flags },
    ...(config === undefined ? {} : { config }),
    ...(profile === undefined ? {} : { profile }),
  });
}

/** Of an option among words that were typed. */
export function valueIn(words: readonly string[], name: string): string | undefined {
  const at = words.indexOf(name);
  return at < 0 ? words.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1) : words[at + 1];
}

function option(name: string, value: string | undefined): string[] {
  return value === undefined ? [] : [name, value];
}

function typed(env: Environment, words: readonly string[]): string {
  const home = env["CLAW_HOME"];
  const where = home === undefined || home === "" ? "" : `CLAW_HOME=${quote(home)} `;
  return `${where}claw ${words.map(quote).join(" ")}`;
}

function wordsOf(last: string[], log: "own" | Broker | undefined, named: string[]): string[] {
  if (log === undefined) return last;
  if (log === "own") return withoutBroker(last);
  if (last.some((word) => word === log.nats_url || word === `--nats=${log.nats_url}`)) return last;
  return ["--role", "coordinator", "--nats", log.nats_url, ...option("--creds", log.creds), ...named];
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
