// What a task gets and how its end is told, through the binary: exit codes, environment, folders, slots, scripts.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CLAW, closeMachines, type Machine, machine } from "./binary.ts";

const SECRETS = { MY_TOKEN: "s3cret-1", AWS_SECRET_ACCESS_KEY: "s3cret-2", LD_LIBRARY_PATH: "/nowhere" };

describe("on a worker of the same machine", () => {
  let here: Machine;
  beforeAll(async () => {
    here = machine();
    await here.up({ ...SECRETS, CLAW_RESOURCES_CPUS: "2", CLAW_NAME: "testnode" });
  });
  afterAll(closeMachines);

  const sh = (script: string, more: readonly string[] = []) => here.claw(["run", ...more, "--", "sh", "-c", script]);

  test("exit codes are the task's own, 128 + n for a signal, 124 for its timeout", async () => {
    const codes = await Promise.all([
      sh("exit 0"),
      sh("exit 3"),
      sh("exit 255"),
      sh("kill -KILL $$"),
      sh("kill -SEGV $$"),
      sh("kill -TERM $$"),
      sh("sleep 60", ["--timeout", "100ms"]),
    ]);
    expect(codes.map(({ code }) => code)).toEqual([0, 3, 255, 137, 139, 143, 124]);
    for (const { err } of codes.slice(0, 3)) expect(err).toBe("");
  });

  test("both streams come back as they are", async () => {
    expect(await sh("echo out; echo err >&2; printf 'no end'")).toMatchObject({ out: "out\nno end", err: "err\n" });
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    writeFileSync(join(here.work, "blob"), bytes);
    const { out } = await here.bash(
      "claw run -- cat blob | sha256sum; claw run -- sh -c 'cat blob >&2' 2>&1 | sha256sum",
    );
    const sum = `${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}  -\n`;
    expect(out).toBe(sum + sum);
  });

  test("a program that is not found names the node and where was looked", async () => {
    const { code, err } = await here.claw(["run", "--", "no-such-program"]);
    expect([125, 127]).toContain(code);
    expect(err).toContain("no-such-program");
    expect(err).toContain("testnode");
    expect(err).toContain("/usr/bin");
    const data = await here.bash("echo x > data; claw run -- ./data");
    expect([125, 126]).toContain(data.code);
    expect(data.err).toContain("not executable");
  });

  test("the worker's environment is not the task's; the caller's is when asked", async () => {
    const { out } = await here.claw(["run", "--env", "MINE=a=b", "--", "env"], { env: { ALSO_SECRET: "s3cret-3" } });
    expect(out).not.toContain("s3cret");
    expect(out).not.toMatch(/LD_LIBRARY_PATH|CLAW_HOME|NATS/);
    const seen = Object.fromEntries(
      out.split("\n").map((line) => [line.split("=")[0], line.slice(line.indexOf("=") + 1)]),
    );
    expect(seen).toMatchObject({ MINE: "a=b", CLAW_NODE: "testnode", CLAW_TASK_INDEX: "0", TERM: "dumb" });
    expect(seen["CLAW_TASK_ID"]).toMatch(/^task_[0-9a-f]{8}$/);
  });

  test("it runs in the caller's folder, with a TMPDIR of its own that is gone afterwards", async () => {
    const deep = join(here.work, "a folder/deep");
    mkdirSync(deep, { recursive: true });
    const script = "pwd; echo $TMPDIR; touch $TMPDIR/mine; ls -A $TMPDIR";
    const { out } = await here.claw(["run", "--", "sh", "-c", script], { cwd: deep });
    const [folder, temporary = "", files] = out.split("\n");
    expect([realpathSync(folder!), files]).toEqual([realpathSync(deep), "mine"]);
    expect(temporary.startsWith(here.home)).toBe(true);
    expect(existsSync(join(temporary, "mine"))).toBe(false);
    expect((await sh("ls -A $TMPDIR")).out).toBe("");
    expect((await sh("pwd", ["--cwd", "/"])).out).toBe("/\n");
    const { code, err } = await sh("pwd", ["--cwd", "/no/such/folder", "--deadline", "6s"]);
    expect(code).toBe(124);
    expect(err).toContain("waits: needs the folder /no/such/folder, which no node has");
  });

  test("standard input is empty", async () => {
    expect(await here.claw(["run", "--", "cat"], { stdin: "not for the task" })).toMatchObject({ code: 0, out: "" });
  });

  test("never more at once than there is room for", async () => {
    mkdirSync(join(here.work, "now"));
    const script = "mkdir now/{}; ls now | wc -l; sleep 0.1; rmdir now/{}";
    const { code, out } = await here.claw(["run", "--cpu", "1", "--each", script], {
      stdin: "1\n2\n3\n4\n5\n6\n7\n8\n",
    });
    expect(code).toBe(0);
    const at_once = out.trim().split("\n").map(Number);
    expect(at_once.length).toBe(8);
    expect(Math.max(...at_once)).toBe(2);
    // What can never run says why, and does not keep what can from running.
    const id = (await here.claw(["submit", "--quiet", "--cpu", "64", "--", "true"])).out.trim();
    expect((await sh("echo next")).out).toBe("next\n");
    const { out: shown } = await here.claw(["show", id]);
    expect(shown).toMatch(/pending/);
    expect(shown).toMatch(/needs 64 cpu, .*testnode/);
    expect((await here.claw(["cancel", id])).code).toBe(0);
  });

  test("a TypeScript file runs by the binary itself", async () => {
    writeFileSync(join(here.work, "part.ts"), "export const part = (n: number): string => `part ` + n;\n");
    writeFileSync(
      join(here.work, "hello.ts"),
      `import { part } from "./part.ts";
       console.log(process.execPath, process.argv.slice(2).join("|"), part(1));
       process.exit(process.argv.length);`,
    );
    const { code, out } = await here.claw(["run", "hello.ts", "--name", "x y"]);
    expect(out).toBe(`${realpathSync(CLAW)} --name|x y part 1\n`);
    expect(code).toBe(4);
  });
});

describe("on a worker that lacks things", () => {
  afterEach(closeMachines);

  test("without a PATH: scripts run, and programs of the system", async () => {
    const here = machine();
    await here.coordinator();
    await here.worker([], { PATH: "", HOME: "" });
    writeFileSync(join(here.work, "hello.js"), "console.log('hello', Bun.which('node') === null || 'not needed');\n");
    expect((await here.claw(["run", "hello.js"])).out).toMatch(/^hello /);
    expect((await here.claw(["run", "--", "uname"])).code).toBe(0);
  });

  const UNSHARE = ["unshare", "--mount", "--map-root-user", "sh", "-c"];
  const HIDE = "mount --bind /dev/null /proc/meminfo && mount --bind /dev/null /proc/stat";
  const can_hide =
    process.platform === "linux" &&
    Bun.which("unshare") !== null &&
    Bun.spawnSync([...UNSHARE, HIDE], { stderr: "ignore", cwd: tmpdir() }).exitCode === 0;

  test.skipIf(!can_hide)("where nothing can be measured: said once, and it works", async () => {
    const here = machine();
    await here.coordinator();
    const worker = here.beginOther([...UNSHARE, `${HIDE} && exec "$0" --role worker`, CLAW]);
    await worker.says("worker has joined");
    expect((await here.claw(["run", "--", "echo", "works"])).out).toBe("works\n");
    expect((await here.claw(["run", "--each", "true {}"], { stdin: "1\n2\n3\n4\n" })).code).toBe(0);
    expect(worker.running).toBe(true);
    expect(worker.log).not.toMatch(/ at .*\.ts:|a bug/);
  });
});

test("a script that needs what nobody has says so with its own file and line", async () => {
  const here = machine();
  await here.up();
  writeFileSync(join(here.work, "broken.ts"), "const x = 1;\nimport y from './missing.ts';\nconsole.log(x, y);\n");
  const { code, err } = await here.claw(["run", "broken.ts"]);
  expect(code).toBe(125);
  expect(err).toMatch(/broken\.ts:2/);
  expect(readdirSync(here.work)).toEqual(["broken.ts"]);
  expect(readFileSync(join(here.work, "broken.ts"), "utf8")).toContain("missing");
  await closeMachines();
});
