// The HTTP endpoint against a fuzzer that reads its description: whatever it sends, there is no 5xx, and no answer that
// /openapi.json does not promise. No worker runs, so nothing that it submits is ever executed.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readEndpoint } from "../../../src/communication/endpoint.ts";
import { type Cluster, openCluster } from "../../cluster.ts";

const program = process.env["SCHEMATHESIS"] ?? "";
const EXAMPLES = 15;
const SEED = "20261124";
/** What a description cannot say: cursors come from lists, a wait may not be shorter than the first one, keys have a length. */
const TOO_STRICT = "positive_data_acceptance";
/** Nobody waits for anything here, and the nodes that are named are there. */
const SETTINGS = `
[parameters]
wait_ms = 0
follow = "false"
"path.node" = "worker-1"

# What is wrong may be too large besides.
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 413, 429]

[[operations]]
include-method = "DELETE"
parameters = { "path.node" = "worker-2" }
`;

let cluster: Cluster;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "claw-fuzz-"));
  cluster = await openCluster({ workers: 2 });
  for (const argv of [["true"], ["false"], ["sh", "-c", "echo hi; exit 3"]]) {
    await cluster.finished((await cluster.submit({ argv })).number);
  }
  for (const worker of cluster.workers.splice(0)) await worker.stop();
});

afterAll(async () => {
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
});

test.skipIf(program === "")(
  "no 5xx, and nothing that is not described",
  async () => {
    const { http_url, token_file } = readEndpoint(cluster.paths.data_dir)!;
    const authorization = `Authorization: Bearer ${readFileSync(token_file!, "utf8").trim()}`;
    writeFileSync(join(folder, "schemathesis.toml"), SETTINGS);
    writeFileSync(join(folder, "openapi.json"), await (await cluster.http("/openapi.json")).text());
    const before = await cluster.client.query("cluster.status", {});
    const child = Bun.spawn(
      [
        ...[program, "run", "openapi.json", "--url", http_url!, "--header", authorization],
        ...["--checks", "all", "--exclude-checks", TOO_STRICT, "--suppress-health-check", "all"],
        // The same requests each time: a run that fails can be repeated, and one that was clean stays so.
        ...["--seed", SEED, "--max-examples", String(EXAMPLES), "--continue-on-failure", "--request-timeout", "30"],
      ],
      { cwd: folder, stdout: "pipe", stderr: "pipe" },
    );
    const [said, wrong, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    expect([code, code === 0 ? "" : said + wrong]).toEqual([0, ""]);
    // It got through: tasks were made, too.
    const after = await cluster.client.query("cluster.status", {});
    expect(after.status.tasks.total).toBeGreaterThan(before.status.tasks.total);
  },
  300_000,
);
