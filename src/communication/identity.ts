// The cluster's identities with a broker of claw's own: an operator, a system account, one account for everything, and
// a key for each node and client, with permissions for exactly its own subjects. Made at the first start.

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Authenticator } from "nats";
import { z } from "zod";
import { ClawError } from "../common/errors.ts";
import type { Runtime } from "../common/runtime.ts";
import { authenticatorOf, credsText, PREFIXES, parseCreds } from "./credentials.ts";
import { accountJwt, operatorJwt, userJwt } from "./jwt.ts";
import { createKey, idOf, keyOfSeed, type NKey } from "./nkey.ts";
import { permissionsOf, type Role } from "./permissions.ts";
import { createPrivate, readPrivate, writePrivate } from "./private.ts";

interface Keys {
  operator: NKey;
  system: NKey;
  account: NKey;
}

const Seeds = z.object({
  operator: z.string(),
  system: z.string(),
  account: z.string(),
  /** The cluster that was served with them; empty: none yet. Absent where an older claw made them. */
  cluster_id: z.string().optional(),
});

const pathOf = (folder: string): string => join(folder, "identity.json");

export class Identity {
  readonly cluster: string;
  readonly #folder: string;
  readonly #keys: Keys;
  readonly #runtime: Runtime;

  private constructor(folder: string, cluster: string, keys: Keys, runtime: Runtime) {
    this.#folder = folder;
    this.cluster = cluster;
    this.#keys = keys;
    this.#runtime = runtime;
  }

  static exists(folder: string): boolean {
    return existsSync(pathOf(folder));
  }

  /**
   * Whether the keys in `folder` made the credentials of this cluster: that they are there does not say it, for whoever
   * starts in a folder without any makes new ones. Undefined where an older claw made them, which noted nothing.
   */
  static isOf(folder: string, cluster_id: string): boolean | undefined {
    const noted = readSeeds(pathOf(folder)).cluster_id;
    return noted === undefined ? undefined : noted === cluster_id;
  }

  /** Notes which cluster is served with these keys. */
  noteCluster(cluster_id: string): void {
    const path = pathOf(this.#folder);
    const seeds = readSeeds(path);
    if (seeds.cluster_id !== cluster_id) writePrivate(path, `${JSON.stringify({ ...seeds, cluster_id })}\n`, true);
  }

  /** Reads the keys in `folder`, or makes them: once for ever, since what the server stores belongs to the account's key. */
  static open(folder: string, cluster: string, runtime: Runtime): Identity {
    const path = pathOf(folder);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!existsSync(path)) makeKeys(folder, path);
    // Read even if just made: another coordinator may have been first.
    return new Identity(folder, cluster, readKeys(path), runtime);
  }

  /** The part of a nats-server configuration that trusts these identities and nobody else. */
  serverConfig(): string {
    const { operator, system, account } = this.#keys;
    const now_ms = this.#runtime.wall_ms();
    return `operator: ${operatorJwt(operator, system.public_key, now_ms)}
system_account: ${system.public_key}
resolver: MEMORY
resolver_preload: {
  ${system.public_key}: ${accountJwt(operator, system.public_key, "system", now_ms)}
  ${account.public_key}: ${accountJwt(operator, account.public_key, "claw", now_ms)}
}
`;
  }

  /** For whoever watches the server: may ask for its health and nothing else. Made anew each time, kept nowhere. */
  watcher(): Authenticator {
    const user = createKey("user");
    const permissions = { pub: { allow: ["$SYS.REQ.SERVER.*.HEALTHZ"] }, sub: { allow: ["_INBOX.>"] } };
    const jwt = userJwt(this.#keys.system, user.public_key, "watcher", permissions, this.#runtime.wall_ms());
    return authenticatorOf(jwt, user);
  }

  /** A new identity: credentials as text, and its id. */
  issue(role: Role): { creds: string; id: string } {
    const user = createKey("user");
    return { creds: this.#credsOf(role, user), id: idOf(PREFIXES[role], user.public_key) };
  }

  #credsOf(role: Role, user: NKey): string {
    const id = idOf(PREFIXES[role], user.public_key);
    const permissions = permissionsOf(role, this.cluster, id);
    return credsText(userJwt(this.#keys.account, user.public_key, id, permissions, this.#runtime.wall_ms()), user.seed);
  }

  /**
   * Path of this machine's own credentials for a role. Made once; when the keys, the cluster's name or what a role may do
   * have changed since, the same key gets a new JWT, so that the id stays.
   */
  localCredentials(role: Role): string {
    const path = join(this.#folder, "credentials", `${role}.creds`);
    const known = existsSync(path) ? parseCreds(readPrivate(path)) : undefined;
    if (known !== undefined) {
      const id = idOf(PREFIXES[role], known.key.public_key);
      const { name, iss, nats } = known.claims;
      const same = Bun.deepEquals({ pub: nats.pub, sub: nats.sub }, permissionsOf(role, this.cluster, id));
      if (name === id && iss === this.#keys.account.public_key && same) return path;
    }
    writePrivate(path, this.#credsOf(role, known?.key ?? createKey("user")), true);
    return path;
  }
}

function makeKeys(folder: string, path: string): void {
  const store = join(folder, "jetstream");
  // Looked for in this order: whoever makes both makes the keys first, and may be doing it just now.
  if (existsSync(store) && !existsSync(path)) {
    throw new ClawError(
      "bad_config",
      `there is no ${path}, and what ${store} holds cannot be reached with other keys`,
      {
        hint: `restore it from a backup, or move ${store} away to found a new cluster`,
        field: path,
      },
    );
  }
  const seeds = {
    operator: createKey("operator").seed,
    system: createKey("account").seed,
    account: createKey("account").seed,
    cluster_id: "",
  };
  createPrivate(path, `${JSON.stringify(seeds)}\n`);
}

function readKeys(path: string): Keys {
  const seeds = readSeeds(path);
  const operator = keyOfSeed("operator", seeds.operator);
  const system = keyOfSeed("account", seeds.system);
  const account = keyOfSeed("account", seeds.account);
  if (operator === undefined || system === undefined || account === undefined) throw keysLost(path);
  return { operator, system, account };
}

function readSeeds(path: string): z.infer<typeof Seeds> {
  const text = readPrivate(path);
  try {
    return Seeds.parse(JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) throw keysLost(path);
    throw error;
  }
}

function keysLost(path: string): ClawError {
  return new ClawError("bad_config", `${path} does not hold the cluster's keys`, {
    hint: "restore it from a backup: the log beside it can be read with these keys only; or begin anew in an empty folder",
    field: path,
  });
}
