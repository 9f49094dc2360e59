// `snapshot save`, `ls` and `restore` as they are typed; what a restored cluster is like: e2e/snapshot.test.ts.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { readManifest } from "../../src/storage/packed.ts";
import { checkSnapshot } from "../../src/storage/snapshot.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { within } from "../until.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
  await cluster.runCli(["run", "--", "true"]);
});
afterAll(() => cluster.close());

const cli = (...words: string[]) => cluster.runCli(["snapshot", ...words]);
const path = (name: string): string => join(cluster.cwd, name);

/** Throws when it is not the state that it says it is. */
function check(name: string): void {
  const to = path(`${name}.unpacked`);
  checkSnapshot({ manifest: readManifest(path(name)), path: path(name), headed: true, to });
  expect(existsSync(to)).toBe(true);
}

describe("save", () => {
  test("makes a private file that holds what it says; over one that was there only when told to", async () => {
    writeFileSync(path("a.snap"), "old");
    const refused = await cli("save", "a.snap");
    expect([refused.code, refused.stderr]).toEqual([
      65,
      "claw: a.snap is there already\n  add --force to write over it\n",
    ]);
    const terminal = { in: true, err: true };
    const no = await cluster.runCli(["snapshot", "save", "a.snap"], { terminal, stdin: "n\n" });
    expect([no.code, no.stderr]).toEqual([1, "write over a.snap? [y/N] "]);
    expect(readFileSync(path("a.snap"), "utf8")).toBe("old");
    for (const option of ["--yes", "--force"]) expect((await cli("save", "a.snap", option)).code).toBe(0);
    expect((await cluster.runCli(["snapshot", "save", "a.snap"], { terminal, stdin: "y\n" })).code).toBe(0);
    rmSync(path("a.snap"));
    const { code, stdout, stderr } = await cli("save", "a.snap");
    expect([code, stdout]).toEqual([0, ""]);
    expect(stderr).toMatch(/^claw: saved everything up to sequence \d+ \(\d+ rows, [\d.]+K\) in a\.snap\n$/);
    expect(statSync(path("a.snap")).mode & 0o777).toBe(0o600);
    check("a.snap");
  });

  test("with - gives the same to standard output, but never to a terminal", async () => {
    const { code, stdout_bytes, stderr } = await cli("save", "-");
    expect([code, stderr.includes(" in ")]).toEqual([0, false]);
    writeFileSync(path("b.snap"), stdout_bytes);
    check("b.snap");
    const terminal = await cluster.runCli(["snapshot", "save", "-"], { terminal: { out: true } });
    expect([terminal.code, terminal.stdout]).toEqual([64, ""]);
    expect(terminal.stderr).toContain("a snapshot is no text for a terminal");
  });

  test("--json says what it has, and wants standard output for itself", async () => {
    const { code, stdout, stderr } = await cli("save", "--json", "c.snap");
    expect([code, stderr]).toEqual([0, ""]);
    const { id, sequence, created_at } = JSON.parse(stdout) as Record<string, unknown>;
    expect(id).toBe(readManifest(path("c.snap")).id);
    expect(sequence).toBeNumber();
    expect(created_at).toMatch(/^20.*Z$/);
    const both = await cli("save", "--json", "-");
    expect([both.code, both.stdout]).toEqual([64, ""]);
  });

  test("where nothing can be written: says so, takes none, and leaves nothing", async () => {
    const taken = async (): Promise<string> => (await cli("ls", "-q")).stdout;
    const kept = await taken();
    const nowhere = await cli("save", "no/such/x.snap");
    expect([nowhere.code, nowhere.stdout]).toEqual([74, ""]);
    expect(nowhere.stderr).toStartWith(`claw: cannot write ${path("no/such/x.snap")}: `);
    mkdirSync(path("folder"));
    const before = readdirSync(cluster.cwd).sort();
    const folder = await cli("save", "folder");
    expect([folder.code, folder.stderr.includes(`cannot write ${path("folder")}: it is a folder`)]).toEqual([74, true]);
    expect((await cli("save", "a.snap/x.snap")).code).toBe(74);
    if (process.getuid?.() !== 0) {
      chmodSync(path("folder"), 0o500);
      expect((await cli("save", "folder/x.snap")).code).toBe(74);
    }
    expect(readdirSync(cluster.cwd).sort()).toEqual(before);
    expect(await taken()).toBe(kept);
  });

  test("goes into what is no file, and never takes its place", async () => {
    const pipe = path("pipe");
    expect(Bun.spawnSync(["mkfifo", pipe]).exitCode).toBe(0);
    const reader = Bun.spawn(["cat", pipe], { stdout: Bun.file(path("piped.snap")) });
    try {
      expect((await cli("save", "pipe")).code).toBe(0);
      await within(reader.exited, "the end of the reader");
    } finally {
      reader.kill();
    }
    expect(statSync(pipe).isFIFO()).toBe(true);
    check("piped.snap");
  });

  test("follows a link, asks as for what it leads to, and leaves it a link", async () => {
    writeFileSync(path("real.snap"), "old");
    symlinkSync("real.snap", path("link.snap"));
    expect((await cli("save", "link.snap")).stderr).toContain("link.snap is there already");
    expect((await cli("save", "link.snap", "--force")).code).toBe(0);
    expect(lstatSync(path("link.snap")).isSymbolicLink()).toBe(true);
    check("real.snap");
    symlinkSync("nowhere", path("dangling.snap"));
    const refused = await cli("save", "dangling.snap");
    expect([refused.code, refused.stderr.includes("a link to what is not there")]).toEqual([65, true]);
    expect(existsSync(path("nowhere"))).toBe(false);
  });

  test("of a reader that goes away ends quietly", async () => {
    const run = cluster.startCli(["snapshot", "save", "-"]);
    run.closeOutput();
    const { code, stderr } = await run.done;
    expect([code, stderr]).toEqual([0, ""]);
  });
});

describe("ls", () => {
  test("newest first: a table, ids, JSON", async () => {
    const { id } = JSON.parse((await cli("save", "--json", "d.snap")).stdout) as { id: string };
    const table = (await cli("ls")).stdout.trimEnd().split("\n");
    expect(table[0]).toMatch(/^SNAPSHOT +SEQUENCE +AGE +ROWS +SIZE$/);
    expect(table[1]).toStartWith(id);
    const ids = (await cli("ls", "-q")).stdout.trimEnd().split("\n");
    expect(ids[0]).toBe(id);
    const all = JSON.parse((await cli("ls", "--json")).stdout) as { id: string; created_at: string }[];
    expect(all.map((one) => one.id)).toEqual(ids);
  });

  test("of none says how to make one", async () => {
    const empty = await openCluster({ workers: 0 });
    try {
      const { code, stdout, stderr } = await empty.runCli(["snapshot", "ls"]);
      expect([code, stdout]).toEqual([0, ""]);
      expect(stderr).toContain("claw snapshot save FILE");
    } finally {
      await empty.close();
    }
  });
});

describe("restore", () => {
  test("wants a file or the view, not both and not neither", async () => {
    for (const words of [[], ["x.snap", "--from-view"]]) {
      const { code, stdout, stderr } = await cli("restore", ...words);
      expect([code, stdout]).toEqual([64, ""]);
      expect(stderr).toContain("claw snapshot restore FILE, or claw snapshot restore --from-view");
    }
  });

  test("wants a file that is none of a pipe, and says how to come to one", async () => {
    const { code, stdout, stderr } = await cli("restore", "-");
    expect([code, stdout]).toEqual([64, ""]);
    expect(stderr).toContain("`cat > cluster.snap` in this place; then `claw snapshot restore cluster.snap`\n");
  });

  test("says who needs new credentials, and what else could be done", async () => {
    const tasks = { total: 0, pending: 0, scheduled: 0, running: 0, completed: 0, failed: 0, cancelled: 0, timeout: 0 };
    const outcome = {
      cluster: "default",
      cluster_id: "4e43608a",
      sequence: 7,
      tasks,
      kept: undefined,
      nats_url: undefined,
    };
    const said = async (credentials: boolean, ...words: string[]) => {
      const restored = () => Promise.resolve({ ...outcome, credentials });
      return await cluster.runCli(["snapshot", "restore", "x.snap", ...words], { restore: restored });
    };
    const { stderr } = await said(false);
    expect(stderr).toContain("    claw credentials export --role worker --out w.creds\n");
    expect(stderr).toContain("    claw credentials export --role client --out c.creds\n");
    expect(stderr).toContain("or, if the old coordinator had claw's own NATS and its folder can still be read:");
    expect(stderr).toContain(`identity.json into ${cluster.folder}, and restore again`);
    expect((await said(true)).stderr).not.toContain("credentials");
    expect(JSON.parse((await said(false, "--json")).stdout)).toMatchObject({ credentials: false });
  });
});
