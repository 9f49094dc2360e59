// What a coordinator whose broker lost its log says to do: in the words that go on with this cluster, on the NATS that it has.

import { restoreCommand } from "../client/start-again.ts";
import type { CoordinatorConfig } from "../common/config.ts";
import { ClawError, ERRORS } from "../common/errors.ts";
import type { Environment } from "../common/paths.ts";
import { readCredentials } from "../communication/credentials.ts";

export interface Started {
  env: Environment;
  config: CoordinatorConfig;
  /** As it was named; undefined: the one in its place. */
  file: string | undefined;
  profile: string | undefined;
}

/** The same error, with a hint that says how to go on where the log is lost. */
export function withWayOn(error: unknown, started: Started): unknown {
  if (!(error instanceof ClawError) || error.hint !== ERRORS.log_lost.hint) return error;
  const { code, message } = error;
  return new ClawError(code, message, { hint: wayOn(started), cause: error });
}

function wayOn({ env, config, file, profile }: Started): string {
  const { url, creds } = config.nats;
  const theirs = isOfClaw(creds);
  const cluster = config.cluster === "default" ? undefined : config.cluster;
  const command = restoreCommand(env, {
    ...{ file: undefined, force: false, own: theirs },
    flags: theirs || url === undefined ? { cluster } : { "nats.url": url, "nats.creds": creds, cluster },
    ...(file === undefined ? {} : { config: file }),
    ...(profile === undefined ? {} : { profile }),
  });
  const gives = `\`${command}\` goes on from all that this machine knows; its --help says what else there is`;
  if (url === undefined) return gives;
  return theirs ? `its NATS is another claw's: stop that one, then ${gives}` : `stop all coordinators, then ${gives}`;
}

/** Credentials that a claw made are for the NATS that it runs: once it is stopped, nothing can be restored into that. */
function isOfClaw(creds: string | undefined): boolean {
  try {
    return creds !== undefined && readCredentials(creds).role === "coordinator";
  } catch (error) {
    if (!(error instanceof ClawError)) throw error;
    return false; // gone since it was read: what is told is why the coordinator ends
  }
}
