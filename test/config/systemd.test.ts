// The units that people copy by hand: each line that a promise of claw's hangs on, and systemd's own opinion of the whole.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ERRORS } from "../../src/common/errors.ts";
import { resolvePaths } from "../../src/common/paths.ts";

const FOLDER = join(import.meta.dir, "../../config/systemd");
const ROLES = ["coordinator", "worker"] as const;
const analyze = Bun.which("systemd-analyze");
const scratch = mkdtempSync(join(tmpdir(), "claw-units-"));
afterAll(() => rmSync(scratch, { recursive: true }));

type Unit = Map<string, string[]>;

function textOf(role: string): string {
  return readFileSync(join(FOLDER, `claw-${role}.service`), "utf8");
}

/** `Section.Name` → its values; anything that is neither a comment nor a section nor an assignment fails the test. */
function parseUnit(text: string): Unit {
  const unit: Unit = new Map();
  let section = "";
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const header = /^\[(\w+)\]$/.exec(line);
    if (header !== null) {
      section = header[1]!;
      continue;
    }
    const [, name, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new Error(`not a line of a unit: ${line}`);
    const key = `${section}.${name}`;
    unit.set(key, [...(unit.get(key) ?? []), value]);
  }
  return unit;
}

describe.each(ROLES)("claw-%s.service", (role) => {
  const unit = parseUnit(textOf(role));
  const service = (name: string): string[] => unit.get(`Service.${name}`) ?? [];

  test("every setting stands once", () => {
    expect([...unit].filter(([, values]) => values.length !== 1)).toEqual([]);
  });

  test("starts this role and waits until it says that it is ready", () => {
    expect(service("Type")).toEqual(["notify"]);
    expect(service("ExecStart")).toEqual([`/usr/local/bin/claw --role ${role}`]);
    expect(unit.get("Install.WantedBy")).toEqual(["multi-user.target"]);
  });

  test("asks the process first, then ends whatever is left", () => {
    expect(service("KillMode")).toEqual(["mixed"]);
    expect(Number(service("TimeoutStopSec")[0])).toBeGreaterThanOrEqual(30);
  });

  test("is started again for as long as it takes, but not on a bad configuration, or a state that differs", () => {
    // A worker that somebody shut down by the cluster ends with 0, and stays ended.
    expect(service("Restart")).toEqual([role === "worker" ? "on-failure" : "always"]);
    expect(service("RestartSec")).toEqual(["2"]);
    const { usage, fold_differs, bad_config } = ERRORS;
    const lasting = role === "worker" ? [usage, bad_config] : [usage, fold_differs, bad_config];
    expect(service("RestartPreventExitStatus")).toEqual([lasting.map(({ exit }) => exit).join(" ")]);
    // What ends elsewhere is waited for: a login, a node or a cluster that is refused, a log that another one restores, a bug.
    const { refused, node_taken, wrong_cluster, log_lost } = ERRORS;
    for (const { exit } of [refused, node_taken, wrong_cluster, log_lost]) {
      expect(lasting.map((one) => one.exit as number)).not.toContain(exit);
    }
    expect(unit.get("Unit.StartLimitIntervalSec")).toEqual(["0"]);
  });

  test("keeps everything in the folders that systemd makes for it, as a user that is not root", () => {
    expect(service("StateDirectory")).toEqual(service("User"));
    expect(service("StateDirectoryMode")).toEqual(["0700"]);
    expect(service("ConfigurationDirectory")).toEqual(["claw"]);
    expect(service("User")).toEqual([role === "worker" ? "claw-worker" : "claw"]);
    expect(service("NoNewPrivileges")).toEqual(["yes"]);
  });

  test("allows a just-in-time compiler", () => {
    expect(service("MemoryDenyWriteExecute")).toEqual([]);
  });

  test.skipIf(analyze === null)("systemd has nothing to say about it", () => {
    const file = join(scratch, `claw-${role}.service`);
    // claw is not installed on the machine of the tests, and systemd looks whether the program is there.
    writeFileSync(file, textOf(role).replace("/usr/local/bin/claw", process.execPath));
    const verify = Bun.spawnSync([analyze ?? "", "verify", "--man=no", file], { stderr: "pipe", stdout: "pipe" });
    const about = `${verify.stdout}${verify.stderr}`.split("\n").filter((line) => line.includes(`claw-${role}`));
    expect(about).toEqual([]);
    expect(verify.exitCode).toBe(0);
  });
});

describe("the worker's unit", () => {
  const unit = parseUnit(textOf("worker"));

  test("leaves control groups and memory to the worker", () => {
    expect(unit.get("Service.Delegate")).toEqual(["yes"]);
    expect(unit.get("Service.OOMPolicy")).toEqual(["continue"]);
    expect(unit.get("Service.TasksMax")).toEqual(["infinity"]);
    expect(unit.has("Service.ProtectControlGroups")).toBe(false);
  });

  test("keeps the coordinator's keys from tasks: another user, another folder", () => {
    const coordinator = parseUnit(textOf("coordinator"));
    for (const name of ["User", "Group", "StateDirectory"]) {
      expect(unit.get(`Service.${name}`)).not.toEqual(coordinator.get(`Service.${name}`));
    }
  });

  test("claw takes the folders that systemd makes for it", () => {
    const env = { STATE_DIRECTORY: "/var/lib/claw-worker", CONFIGURATION_DIRECTORY: "/etc/claw" };
    expect(resolvePaths(env)).toMatchObject({ data_dir: "/var/lib/claw-worker", config_dir: "/etc/claw" });
  });

  test("takes nothing from tasks that they may need", () => {
    for (const name of ["ProtectHome", "PrivateDevices", "PrivateTmp", "PrivateNetwork", "SystemCallFilter", "UMask"]) {
      expect([name, unit.has(`Service.${name}`)]).toEqual([name, false]);
    }
  });
});

describe("the coordinator's unit", () => {
  const unit = parseUnit(textOf("coordinator"));

  test("is closed to everything but its data and the network", () => {
    expect(unit.get("Service.ProtectSystem")).toEqual(["strict"]);
    expect(unit.get("Service.ProtectHome")).toEqual(["yes"]);
    expect(unit.get("Service.CapabilityBoundingSet")).toEqual([""]);
    expect(unit.get("Service.RestrictAddressFamilies")?.[0]?.split(" ")).toContain("AF_UNIX");
  });

  test("starts before a worker of the same machine", () => {
    expect(parseUnit(textOf("worker")).get("Unit.After")?.[0]?.split(" ")).toContain("claw-coordinator.service");
  });
});
