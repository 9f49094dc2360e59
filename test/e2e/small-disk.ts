// A disk that can be filled: a small tmpfs under a machine's data folder, in a mount namespace of its own. Not every machine
// lets a test mount something.

import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { type Machine, machine } from "./binary.ts";

const UNSHARE = ["unshare", "--mount", "--map-root-user", "sh", "-c"];
export const can_mount =
  process.platform === "linux" &&
  Bun.which("unshare") !== null &&
  Bun.which("nsenter") !== null &&
  Bun.spawnSync([...UNSHARE, 'mount -t tmpfs -o size=1m none "$0"', tmpdir()], { stderr: "ignore" }).exitCode === 0;

/** A machine whose data folder lies on so small a disk, which lives as long as the process that mounted it. */
export async function smallDisk(size_mib: number): Promise<Machine> {
  const here = machine();
  mkdirSync(here.home);
  const mount = `mount -t tmpfs -o size=${size_mib}m none "$0" && echo mounted >&2 && exec sleep 86400`;
  const holder = here.beginOther([...UNSHARE, mount, here.home]);
  await holder.says("mounted");
  here.within = (cwd) => [
    "nsenter",
    ...["--target", String(holder.pid), "--user", "--preserve-credentials", "--mount", `--wdns=${cwd}`, "--"],
  ];
  return here;
}

/** To the last byte. */
export const fill = (here: Machine) => here.bash('head -c 1000000000 /dev/zero > "$CLAW_HOME/ballast"');
export const makeRoom = (here: Machine) => here.bash('rm -f "$CLAW_HOME/ballast"');
