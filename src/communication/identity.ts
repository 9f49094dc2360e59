// The cluster's identities with a broker of claw's own: an operator, a system account, one account for everything, and
// a key for each node and client, with permissions for exactly its own subjects. Made at the first start.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createAccount, createOperator, createUser, fromSeed, type KeyPair } from "nkeys.js";
import type { Runtime } from "../common/runtime.ts";
import { idOf, writePrivate } from "./credentials.ts";
import { accountJwt, credsText, operatorJwt, userJwt } from "./jwt.ts";
import { permissionsOf, type Role } from "./permissions.ts";

interface Keys {
  operator: KeyPair;
  system: KeyPair;
  account: KeyPair;
}

const seedOf = (pair: KeyPair): string => new TextDecoder().decode(pair.getSeed());
const pairOf = (seed: string): KeyPair => fromSeed(new TextEncoder().encode(seed));

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

  /** Reads the keys in `folder`, or makes them. */
  static open(folder: string, cluster: string, runtime: Runtime): Identity {
    const path = join(folder, "identity.json");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!existsSync(path)) {
      const seeds = {
        operator: seedOf(createOperator()),
        system: seedOf(createAccount()),
        account: seedOf(createAccount()),
      };
      writePrivate(path, `${JSON.stringify(seeds)}\n`);
    }
    const seeds = JSON.parse(readFileSync(path, "utf8")) as Record<keyof Keys, string>;
    const keys = { operator: pairOf(seeds.operator), system: pairOf(seeds.system), account: pairOf(seeds.account) };
    return new Identity(folder, cluster, keys, runtime);
  }

  /** The part of a nats-server configuration that trusts these identities and nobody else. */
  serverConfig(): string {
    const { operator, system, account } = this.#keys;
    const now = this.#runtime.wall_ms();
    return `operator: ${operatorJwt(operator, system.getPublicKey(), now)}
system_account: ${system.getPublicKey()}
resolver: MEMORY
resolver_preload: {
  ${system.getPublicKey()}: ${accountJwt(operator, system.getPublicKey(), "SYS", false, now)}
  ${account.getPublicKey()}: ${accountJwt(operator, account.getPublicKey(), "claw", true, now)}
}
`;
  }

  /** A new identity: credentials as text, and its id. */
  issue(role: Role): { creds: string; id: string } {
    const user = createUser();
    const id = idOf(role === "worker" ? "node" : role, user.getPublicKey());
    const permissions = permissionsOf(role, this.cluster, id);
    const jwt = userJwt(this.#keys.account, user.getPublicKey(), id, permissions, this.#runtime.wall_ms());
    return { creds: credsText(jwt, seedOf(user)), id };
  }

  /** Path of this machine's own credentials for a role, made once. */
  localCredentials(role: Role): string {
    const path = join(this.#folder, "credentials", `${role}.creds`);
    if (!existsSync(path)) writePrivate(path, this.issue(role).creds);
    return path;
  }
}
