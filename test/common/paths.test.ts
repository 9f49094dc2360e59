import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { type Environment, ensureFolder, resolvePaths } from "../../src/common/paths.ts";

let scratch = "";
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "claw-paths-"));
});
afterAll(() => rmSync(scratch, { recursive: true }));

function refusal(action: () => unknown): ClawError {
  try {
    action();
  } catch (error) {
    if (error instanceof ClawError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

function folders(env: Environment, profile?: string): [string, string] {
  const { config_dir, data_dir } = resolvePaths(env, profile === undefined ? {} : { profile });
  return [config_dir, data_dir];
}

describe("where things are kept", () => {
  test("CLAW_HOME holds everything, whatever else is set", () => {
    const env = { CLAW_HOME: "/c", HOME: "/h", XDG_DATA_HOME: "/x", STATE_DIRECTORY: "/var/lib/claw" };
    expect(resolvePaths(env)).toEqual({
      config_dir: "/c/config",
      data_dir: "/c/data",
      coordinator_dir: "/c/data/coordinator",
      worker_dir: "/c/data/worker",
    });
    expect(folders(env, "two")).toEqual(["/c/two/config", "/c/two/data"]);
  });

  test("a relative CLAW_HOME counts from here, and not from where a child is started", () => {
    expect(folders({ CLAW_HOME: "c" })).toEqual([join(process.cwd(), "c/config"), join(process.cwd(), "c/data")]);
  });

  test("an empty variable is one that is not set", () => {
    const env = { CLAW_HOME: "", STATE_DIRECTORY: "", XDG_CONFIG_HOME: "", XDG_DATA_HOME: "", HOME: "/h" };
    expect(folders(env)).toEqual(["/h/.config/claw", "/h/.local/share/claw"]);
  });

  test("systemd's folders, when they are claw's", () => {
    const env = { STATE_DIRECTORY: "/var/lib/claw", CONFIGURATION_DIRECTORY: "/etc/claw", HOME: "/h" };
    expect(folders(env)).toEqual(["/etc/claw", "/var/lib/claw"]);
    expect(folders({ STATE_DIRECTORY: "/var/lib/claw" })).toEqual(["/etc/claw", "/var/lib/claw"]);
    expect(folders({ STATE_DIRECTORY: "/var/lib/other:/var/lib/claw-b" })[1]).toBe("/var/lib/claw-b");
  });

  test("another service's folders are left to it", () => {
    const env = {
      STATE_DIRECTORY: "/var/lib/backup:/var/lib/clawed",
      CONFIGURATION_DIRECTORY: "/etc/backup",
      HOME: "/h",
    };
    expect(folders(env)).toEqual(["/h/.config/claw", "/h/.local/share/claw"]);
  });

  test("the user's folders, or those that XDG names", () => {
    expect(folders({ HOME: "/h" })).toEqual(["/h/.config/claw", "/h/.local/share/claw"]);
    expect(folders({ XDG_CONFIG_HOME: "/x/c", XDG_DATA_HOME: "/x/d" })).toEqual(["/x/c/claw", "/x/d/claw"]);
    expect(folders({ HOME: "/h", XDG_CONFIG_HOME: "x", XDG_DATA_HOME: "./y" })[0]).toBe("/h/.config/claw");
  });

  test("profiles keep clusters apart, everywhere", () => {
    const places: Environment[] = [
      { HOME: "/h" },
      { CLAW_HOME: "/c" },
      { STATE_DIRECTORY: "/var/lib/claw", CONFIGURATION_DIRECTORY: "/etc/claw" },
    ];
    for (const env of places) {
      const all = [folders(env), folders(env, "a"), folders(env, "b")].flat();
      expect(new Set(all).size).toBe(6);
    }
    expect(folders({ HOME: "/h" }, "a")).toEqual(["/h/.config/claw-a", "/h/.local/share/claw-a"]);
  });

  test.each(["", "..", "../x", "a/b", "A", "-a", "a".repeat(33)])("the profile %j is refused", (profile) => {
    const error = refusal(() => folders({ HOME: "/h" }, profile));
    expect([error.code, error.field]).toEqual(["usage", "--profile"]);
  });

  test.each([{}, { HOME: "" }, { HOME: "relative" }])("%j leaves no place to keep anything", (env) => {
    const error = refusal(() => folders(env));
    expect([error.code, error.field]).toEqual(["bad_config", "HOME"]);
    expect(error.hint).toContain("CLAW_HOME");
  });
});

describe("ensureFolder", () => {
  test("only the owner may enter what it makes; the second time nothing happens", () => {
    const path = join(scratch, "one/two");
    ensureFolder(path);
    ensureFolder(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(statSync(join(scratch, "one")).mode & 0o777).toBe(0o700);
  });

  test("says which folder it could not make, and why", () => {
    const file = join(scratch, "file");
    writeFileSync(file, "");
    for (const path of [file, join(file, "below")]) {
      const error = refusal(() => ensureFolder(path));
      expect(error.code).toBe("io");
      expect(error.message).toContain(path);
      expect(error.message).toMatch(/EEXIST|ENOTDIR/);
      expect(error.cause).toBeDefined();
    }
  });
});
