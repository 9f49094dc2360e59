// Which machine this is: told apart without telling its own id to anybody.

import { readFileSync } from "node:fs";
import * as os from "node:os";

export type ReadText = (path: string) => string | undefined;

export const readText: ReadText = (path) => {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined; // not on this system
  }
};

/** The same for every process on this machine, and nothing that tells which machine it is. */
export function machineHash(read: ReadText = readText): string {
  const id = read("/etc/machine-id") ?? read("/var/lib/dbus/machine-id") ?? "";
  return new Bun.CryptoHasher("sha256").update(`${id}\n${os.hostname()}`).digest("hex").slice(0, 16);
}
