// Files on a disk that is full, and on one that is mounted read only; run by database.test.ts in a mount namespace of its
// own. Prints what was refused, as JSON.

import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError, messageOf } from "../../src/common/errors.ts";
import type { Manifest } from "../../src/common/snapshot.ts";
import { Outbox } from "../../src/storage/outbox.ts";
import { pack, unpack } from "../../src/storage/packed.ts";
import { View } from "../../src/storage/view.ts";

const [folder = ""] = process.argv.slice(-1);
const said: Record<string, [string, string]> = {};

function mount(...args: string[]): void {
  const { exitCode } = Bun.spawnSync(["mount", ...args, folder], { stderr: "inherit" });
  if (exitCode !== 0) throw new Error(`mount ${args.join(" ")}: ${exitCode}`);
}

function refused(name: string, action: () => unknown): void {
  try {
    action();
    said[name] = ["taken", ""];
  } catch (error) {
    said[name] = [error instanceof ClawError ? error.code : "a bug", messageOf(error)];
  }
}

function fill(): void {
  try {
    for (let bytes = 1024 * 1024; bytes >= 1; bytes = bytes > 1 ? bytes / 2 : 0) {
      writeFileSync(join(folder, "ballast"), Buffer.alloc(bytes), { flag: "a" });
    }
  } catch {
    // full
  }
  try {
    for (;;) writeFileSync(join(folder, "ballast"), Buffer.alloc(512), { flag: "a" });
  } catch {
    // to the last page
  }
}

mount("-t", "tmpfs", "-o", "size=2m", "none");
const [view, path] = [join(folder, "view.sqlite"), join(folder, "outbox.sqlite")];
const outbox = new Outbox(path);
for (const body of ["1", "2", "3"]) outbox.add("task.complete", body);
fill();
refused("full_open", () => new View(view));
refused("full_add", () => outbox.add("task.complete", "x".repeat(100_000)));
// What does not get smaller.
const large = join(tmpdir(), `large-${process.pid}`);
writeFileSync(large, crypto.getRandomValues(new Uint8Array(65_536)));
refused("full_pack", () => pack(large, join(folder, "large.zst")));
const manifest = { ...pack(large, `${large}.zst`) } as unknown as Manifest;
refused("full_unpack", () => unpack(`${large}.zst`, join(folder, "large"), manifest, false));
for (const file of [large, `${large}.zst`]) rmSync(file);
for (const file of ["large", "large.zst"]) rmSync(join(folder, file), { force: true });
rmSync(join(folder, "ballast"));
for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(`${view}${suffix}`, { force: true });
said["kept"] = [`${outbox.all().length} reports`, ""];
outbox.close();
new View(view).close();
mount("-o", "remount,ro");
refused("readonly_add", () => new Outbox(path).add("task.fail", "x"));
refused("readonly_open", () => new View(view).flush());
console.log(JSON.stringify(said));
