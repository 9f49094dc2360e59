import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromPublic, fromSeed } from "nkeys.js";
import { ClawError } from "../../src/common/errors.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { localNodeId, parseCreds, readCredentials } from "../../src/communication/credentials.ts";
import { readEndpoint, removeEndpoint, writeEndpoint } from "../../src/communication/endpoint.ts";
import { Identity } from "../../src/communication/identity.ts";
import { tryLock } from "../../src/communication/lock.ts";
import { createKey, keyOfSeed } from "../../src/communication/nkey.ts";
import { createPrivate } from "../../src/communication/private.ts";
import { until } from "./server-bench.ts";

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), "claw-identity-"));
  folders.push(folder);
  return folder;
}

function failureOf(action: () => unknown): ClawError {
  try {
    action();
  } catch (error) {
    if (error instanceof ClawError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

const accountOf = (identity: Identity): string => parseCreds(identity.issue("client").creds)!.claims.iss;

describe("keys", () => {
  test("are those of NATS: its own package reads them and accepts their signatures", () => {
    for (const kind of ["operator", "account", "user"] as const) {
      const key = createKey(kind);
      expect(fromSeed(new TextEncoder().encode(key.seed)).getPublicKey()).toBe(key.public_key);
      const bytes = new TextEncoder().encode("a nonce");
      expect(fromPublic(key.public_key).verify(bytes, key.sign(bytes))).toBe(true);
      expect(keyOfSeed(kind, key.seed)?.public_key).toBe(key.public_key);
    }
    const { seed } = createKey("user");
    expect(keyOfSeed("account", seed)).toBeUndefined();
    expect(keyOfSeed("user", `${seed.slice(0, 20)}${seed[20] === "A" ? "B" : "A"}${seed.slice(21)}`)).toBeUndefined();
    expect(keyOfSeed("user", "nonsense!")).toBeUndefined();
  });
});

describe("an identity", () => {
  test("is made once, for its owner only", () => {
    const folder = join(temporary(), "data");
    const first = accountOf(Identity.open(folder, "test", systemRuntime));
    expect(accountOf(Identity.open(folder, "test", systemRuntime))).toBe(first);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, "identity.json")).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(["identity.json"]);
  });

  test("made by several processes at once is one", async () => {
    const folder = temporary();
    const script = `
      const { Identity } = await import(${JSON.stringify(join(import.meta.dir, "../../src/communication/identity.ts"))});
      const { systemRuntime } = await import(${JSON.stringify(join(import.meta.dir, "../../src/common/runtime.ts"))});
      process.stdout.write("ready\\n");
      for await (const _ of process.stdin) break;
      process.stdout.write(Identity.open(${JSON.stringify(folder)}, "test", systemRuntime).issue("client").creds);`;
    const children = [1, 2, 3].map(() =>
      Bun.spawn([process.execPath, "-e", script], { stdin: "pipe", stdout: "pipe", stderr: "inherit" }),
    );
    const readers = children.map(({ stdout }) => stdout.getReader());
    for (const reader of readers) await reader.read();
    for (const { stdin } of children) {
      await stdin.write("go\n");
      await stdin.end();
    }
    const accounts = await Promise.all(
      readers.map(async (reader) => {
        let text = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) return parseCreds(text)!.claims.iss;
          text += new TextDecoder().decode(value);
        }
      }),
    );
    await Promise.all(children.map(({ exited }) => exited));
    expect(new Set(accounts)).toEqual(new Set([accountOf(Identity.open(folder, "test", systemRuntime))]));
  });

  test("that is lost or damaged is not replaced beside a store that needs it", () => {
    const folder = temporary();
    Identity.open(folder, "test", systemRuntime);
    mkdirSync(join(folder, "jetstream"));
    writeFileSync(join(folder, "identity.json"), "{}");
    expect(failureOf(() => Identity.open(folder, "test", systemRuntime)).code).toBe("bad_config");
    rmSync(join(folder, "identity.json"));
    const error = failureOf(() => Identity.open(folder, "test", systemRuntime));
    expect(error.code).toBe("bad_config");
    expect(error.hint).toContain("jetstream");
    expect(readdirSync(folder)).toEqual(["jetstream"]);
  });

  test("a file that is made once keeps its first text", () => {
    const path = join(temporary(), "once");
    createPrivate(path, "first");
    createPrivate(path, "second");
    expect(readFileSync(path, "utf8")).toBe("first");
    expect(failureOf(() => createPrivate(join(path, "below"), "x")).code).toBe("io");
  });
});

describe("credentials", () => {
  test("each is its own, and says who it is", () => {
    const identity = Identity.open(temporary(), "test", systemRuntime);
    const ids = new Set<string>();
    for (const [role, prefix] of [
      ["worker", "node"],
      ["client", "client"],
      ["coordinator", "coordinator"],
    ] as const) {
      const { id, creds } = identity.issue(role);
      expect(id).toMatch(new RegExp(`^${prefix}_[0-9a-f]{8}$`));
      ids.add(id).add(identity.issue(role).id);
      expect(parseCreds(creds)!.claims.name).toBe(id);
      const read = readCredentials(identity.localCredentials(role));
      expect([read.role, read.inbox_prefix]).toEqual([role, `_INBOX_${read.id}`]);
      expect(readCredentials(identity.localCredentials(role)).id).toBe(read.id);
    }
    expect(ids.size).toBe(6);
  });

  test("another cluster's name gives the same key new permissions", () => {
    const folder = temporary();
    const before = readCredentials(Identity.open(folder, "one", systemRuntime).localCredentials("worker"));
    const path = Identity.open(folder, "two", systemRuntime).localCredentials("worker");
    expect(readCredentials(path).id).toBe(before.id);
    const allowed = parseCreds(readFileSync(path, "utf8"))!.claims.nats.pub.allow;
    expect(allowed).toContain(`claw.two.node.${before.id}.up`);
    expect(allowed?.some((subject) => subject.startsWith("claw.one."))).toBe(false);
  });

  test("that others can read, that are none, or that are not there are refused by name", () => {
    const folder = temporary();
    const file = Identity.open(folder, "test", systemRuntime).localCredentials("client");
    chmodSync(file, 0o644);
    const open = failureOf(() => readCredentials(file));
    expect([open.code, open.hint]).toEqual(["refused", `chmod 600 ${file}`]);
    chmodSync(file, 0o600);
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace(/SU[A-Z2-7]+/, createKey("user").seed));
    expect(failureOf(() => readCredentials(file)).message).toContain(file);
    writeFileSync(file, "hello");
    expect(failureOf(() => readCredentials(file)).code).toBe("bad_config");
    expect(failureOf(() => readCredentials(join(folder, "none"))).code).toBe("not_found");
  });

  test("a machine's own node id stays", () => {
    const folder = temporary();
    const id = localNodeId(folder);
    expect(id).toMatch(/^node_[0-9a-f]{8}$/);
    expect(localNodeId(folder)).toBe(id);
    writeFileSync(join(folder, "node.seed"), "nonsense");
    expect(failureOf(() => localNodeId(folder)).code).toBe("bad_config");
  });
});

describe("the endpoint's file", () => {
  const endpoint = { version: 1, cluster: "test", nats_url: "nats://127.0.0.1:1", creds: "/x" } as const;

  test("is believed while its process lives, and removed by that process only", () => {
    const folder = temporary();
    expect(readEndpoint(folder)).toBeUndefined();
    writeEndpoint(folder, { ...endpoint, pid: process.pid });
    expect(readEndpoint(folder)).toEqual({ ...endpoint, pid: process.pid });
    expect(statSync(join(folder, "endpoint.json")).mode & 0o777).toBe(0o600);
    removeEndpoint(folder, process.pid + 1);
    expect(readEndpoint(folder)?.pid).toBe(process.pid);
    removeEndpoint(folder, process.pid);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("of a process that is gone is none", async () => {
    const folder = temporary();
    const child = Bun.spawn(["sleep", "60"]);
    writeEndpoint(folder, { ...endpoint, pid: child.pid });
    expect(readEndpoint(folder)?.pid).toBe(child.pid);
    child.kill();
    await child.exited;
    expect(readEndpoint(folder)).toBeUndefined();
    writeFileSync(join(folder, "endpoint.json"), "{");
    expect(readEndpoint(folder)).toBeUndefined();
  });
});

describe("a lock", () => {
  test("is one's at a time, free when released or when its holder is killed, and a child's with its descriptor", async () => {
    const path = join(temporary(), "lock");
    const lock = tryLock(path)!;
    expect(tryLock(path)).toBeUndefined();
    const child = Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore", lock.fd] });
    const other = Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] });
    lock.release();
    lock.release();
    expect(tryLock(path)).toBeUndefined();
    child.kill("SIGKILL");
    await child.exited;
    // The other child did not get the descriptor: tasks that outlive a coordinator must not hold its locks. The kernel
    // closes the descriptors of one that was killed a moment after it says that it is gone.
    const again = await until(() => tryLock(path), "the lock");
    again.release();
    other.kill();
    await other.exited;
    expect(failureOf(() => tryLock(join(path, "below"))).code).toBe("io");
  });
});
