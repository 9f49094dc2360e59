// What a local client finds: the coordinator that runs, never one that is gone, and never somebody else's.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { type Endpoint, readEndpoint, removeEndpoint, writeEndpoint } from "../../src/communication/endpoint.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "claw-endpoint-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function endpointOf(pid: number): Endpoint {
  return { version: 1, cluster: "test", nats_url: "nats://127.0.0.1:7422", pid, creds: "/c/client.creds" };
}

const path = (): string => join(folder, "endpoint.json");

async function endedProcess(): Promise<number> {
  const child = Bun.spawn(["true"]);
  await child.exited;
  return child.pid;
}

describe("an endpoint", () => {
  test("is read as it was written, by its user only", () => {
    const written = { ...endpointOf(process.pid), http_url: "http://127.0.0.1:7433", token_file: "/c/token" };
    writeEndpoint(folder, written);
    expect(readEndpoint(folder)).toEqual(written);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
  });

  test("is none where there is none, or something else", () => {
    expect(readEndpoint(folder)).toBeUndefined();
    for (const text of ["", "{", "[]", '{"version":2}']) {
      writeFileSync(path(), text, { mode: 0o600 });
      expect(readEndpoint(folder)).toBeUndefined();
    }
  });

  test("is not believed when its process is gone", async () => {
    const child = Bun.spawn(["sleep", "60"]);
    writeEndpoint(folder, endpointOf(child.pid));
    expect(readEndpoint(folder)?.pid).toBe(child.pid);
    child.kill("SIGKILL");
    await child.exited;
    expect(readEndpoint(folder)).toBeUndefined();
    writeEndpoint(folder, endpointOf(await endedProcess()));
    expect(readEndpoint(folder)).toBeUndefined();
  });

  test("is not believed when another process has its number now", () => {
    writeEndpoint(folder, endpointOf(process.pid));
    const written = JSON.parse(readFileSync(path(), "utf8")) as { life: string };
    writeFileSync(path(), JSON.stringify({ ...written, life: `${written.life}0` }), { mode: 0o600 });
    expect(readEndpoint(folder)).toBeUndefined();
  });

  test("that others could have changed is refused, and how to mend it is said", () => {
    writeEndpoint(folder, endpointOf(process.pid));
    chmodSync(path(), 0o622);
    try {
      readEndpoint(folder);
      throw new Error("it was read");
    } catch (error) {
      if (!(error instanceof ClawError)) throw error;
      expect(error.code).toBe("refused");
      expect(error.hint).toBe(`chmod 600 ${path()}`);
    }
  });

  test("is removed by the process that it names only", () => {
    writeEndpoint(folder, endpointOf(process.pid));
    removeEndpoint(folder, process.pid + 1);
    expect(existsSync(path())).toBe(true);
    removeEndpoint(folder, process.pid);
    expect(existsSync(path())).toBe(false);
    removeEndpoint(folder, process.pid);
  });
});
