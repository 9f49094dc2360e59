// The shell functions of scripts/tools.sh, run by bash in a copy of what they need: what they find, what they keep where,
// and the one line that they say when something is missing. Nothing here builds or downloads.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
/** What tools.sh itself calls; neither npm nor bun nor go is among it. */
const PROGRAMS = "bash basename cat cut dirname env flock head mkdir mv rm sed sha256sum sort tr uname awk tar".split(
  " ",
);

let checkout: string;
let bin: string;

beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), "tools-"));
  bin = join(checkout, "bin");
  mkdirSync(join(checkout, "scripts"));
  mkdirSync(bin);
  for (const name of ["scripts/tools.sh", "package.json", "package-lock.json"]) {
    cpSync(join(ROOT, name), join(checkout, name));
  }
  cpSync(join(ROOT, "scripts/nats-server"), join(checkout, "scripts/nats-server"), { recursive: true });
  for (const program of PROGRAMS) {
    const path = Bun.which(program);
    if (path !== null) symlinkSync(path, join(bin, program));
  }
});

afterEach(() => rmSync(checkout, { recursive: true, force: true }));

function program(name: string, text: string): string {
  const path = join(bin, name);
  writeFileSync(path, `#!${join(bin, "bash")}\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

async function bash(script: string, env: Record<string, string> = {}) {
  const child = Bun.spawn(["bash", "-c", `set -euo pipefail; source scripts/tools.sh; ${script}`, "this-script"], {
    cwd: checkout,
    env: { PATH: bin, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { out: out.trim(), err: err.trim(), code: child.exitCode };
}

describe("what is missing is said in one line", () => {
  test("neither npm nor Bun", async () => {
    const { err, code } = await bash("use_packages");
    expect(err.split("\n").at(-1)).toBe(
      "this-script: neither npm nor bun is on the PATH: install Node.js (with npm) or Bun",
    );
    expect(code).toBe(69);
  });

  test("neither Go nor nats-server nor the network", async () => {
    program("curl", "exit 6");
    const { err, code } = await bash("use_nats_server");
    expect(err.split("\n").at(-1)).toBe(
      "this-script: no nats-server: install Go or nats-server 2.14.5 or newer, or let this machine reach the network",
    );
    expect(code).toBe(69);
  });

  test("packages that do not install", async () => {
    program("npm", "exit 1");
    const { err, code } = await bash("use_packages");
    expect(err).toContain("this-script: npm ci failed (see above): is the network there?");
    expect(code).toBe(69);
  });
});

describe("nats-server", () => {
  test("of the PATH is taken when it is new enough", async () => {
    const path = program("nats-server", "echo 'nats-server: v2.14.5'");
    expect(await bash("use_nats_server; echo $NATS_SERVER")).toMatchObject({ out: path, code: 0 });
  });

  test("of the PATH is refused when it is too old, 2.9 being older than 2.14", async () => {
    program("curl", "exit 6");
    program("nats-server", "echo 'nats-server: v2.9.30'");
    expect((await bash("use_nats_server")).code).toBe(69);
  });

  test("of the PATH does not serve another platform", async () => {
    program("curl", "exit 6");
    program("nats-server", "echo 'nats-server: v2.15.2'");
    expect((await bash("nats_server_for plan9 arm64")).code).toBe(69);
  });

  test("of a release with another checksum is not kept", async () => {
    program("curl", 'while [ $# -gt 0 ]; do [ "$1" = -o ] && printf "%064d  wrong" 0 >"$2"; shift; done');
    const { err, code } = await bash("nats_server_for linux amd64");
    expect(err).toContain("does not have the release's checksum");
    expect(code).toBe(69);
    expect(readdirSync(join(checkout, ".tools")).sort()).toEqual(["home"]);
  });

  test("that was built before is used as it is", async () => {
    mkdirSync(join(checkout, ".tools"));
    cpSync(join(bin, "cat"), join(checkout, ".tools/nats-server-2.15.2-linux-arm64"), { dereference: true });
    const { out } = await bash("nats_server_for linux arm64");
    expect(out).toBe(join(checkout, ".tools/nats-server-2.15.2-linux-arm64"));
  });
});

describe("packages", () => {
  const install = `mkdir -p node_modules/.bin; echo run >>installs
    printf '#!%s\\necho 1.4.4\\n' "$BASH" >node_modules/.bin/bun; chmod +x node_modules/.bin/bun`;

  test("are installed once, and again when the lockfile changed", async () => {
    program("npm", install);
    program("chmod", `exec ${Bun.which("chmod")} "$@"`);
    const first = await bash("use_packages; use_packages; echo $BUN; cat installs");
    expect(first).toMatchObject({ out: `${join(checkout, "node_modules/.bin/bun")}\nrun`, code: 0 });
    writeFileSync(join(checkout, "package-lock.json"), "{}");
    expect((await bash("use_packages; cat installs")).out).toBe("run\nrun");
  });
});

describe("where things are kept", () => {
  for (const [what, env] of [
    ["no HOME", {}],
    ["an empty HOME", { HOME: "" }],
    ["a HOME that is not there", { HOME: "/nonexistent/home" }],
  ] as const) {
    test(`in the checkout, with ${what}`, async () => {
      const names = ["HOME", "npm_config_cache", "BUN_INSTALL_CACHE_DIR", "GOPATH", "GOMODCACHE", "GOCACHE"];
      const { out, code } = await bash(`printf '%s\\n' ${names.map((name) => `"$${name}"`).join(" ")}`, env);
      expect(code).toBe(0);
      for (const path of out.split("\n")) expect(path).toStartWith(`${join(checkout, ".tools")}/`);
      expect(out.split("\n")).toHaveLength(names.length);
    });
  }

  test("the user's own settings are still read", async () => {
    const home = join(checkout, "user");
    mkdirSync(join(home, ".config/go"), { recursive: true });
    writeFileSync(join(home, ".npmrc"), "");
    writeFileSync(join(home, ".config/go/env"), "");
    const { out } = await bash('echo "$npm_config_userconfig $GOENV"', { HOME: home });
    expect(out).toBe(`${home}/.npmrc ${home}/.config/go/env`);
  });
});
