// The HTTP endpoint of a coordinator that leads a cluster: what it tells is what the command line tells.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ClusterState, NodeView, TaskView } from "../../../src/common/models.ts";
import { type Cluster, openCluster } from "../../cluster.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await openCluster({ workers: 1 });
});

afterAll(() => cluster.close());

async function get<T>(path: string): Promise<T> {
  const response = await cluster.http(path);
  expect([path, response.status]).toEqual([path, 200]);
  return (await response.json()) as T;
}

test("status, nodes and tasks, with a list that is filtered and goes on where it ended", async () => {
  const noop = { argv: [], needs: { executor: "noop" as const } };
  const ids: string[] = [];
  for (const label of ["a", "b", "a"]) {
    const { number } = await cluster.submit({ ...noop, name: `task ${label}`, labels: { label } });
    ids.unshift((await cluster.finished(number)).id);
  }
  const status = await get<ClusterState>("/api/v1/status");
  expect(status).toMatchObject({ nodes: { total: 1, online: 1 }, http_url: cluster.coordinator.http_url! });
  expect(status.tasks.completed).toBe(3);
  const [node] = await get<NodeView[]>("/api/v1/nodes");
  expect(node).toMatchObject({ name: "worker-1", status: "online", completed: 3 });
  type List = { tasks: TaskView[]; cursor?: string };
  const first = await get<List>("/api/v1/tasks?limit=2");
  const second = await get<List>(`/api/v1/tasks?limit=2&cursor=${first.cursor}`);
  expect([...first.tasks, ...second.tasks].map(({ id }) => id)).toEqual(ids);
  expect(second.cursor).toBeUndefined();
  const labelled = await get<List>("/api/v1/tasks?label=label%3Da&status=completed");
  expect(labelled.tasks.map(({ id }) => id)).toEqual([ids[0]!, ids[2]!]);
  expect((await get<List>("/api/v1/tasks?name=task%20b")).tasks.map(({ id }) => id)).toEqual([ids[1]!]);
  expect((await get<List>("/api/v1/tasks?status=running")).tasks).toEqual([]);
  const refused = await cluster.http("/api/v1/tasks?cursor=1.-5");
  expect([refused.status, await refused.json()]).toEqual([
    400,
    { error: expect.objectContaining({ field: "cursor" }) },
  ]);
});

test("nobody else has the token, and it is the same after a restart", async () => {
  const path = join(cluster.folder, "http-token");
  const token = readFileSync(path, "utf8");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const url = `${cluster.coordinator.http_url}/api/v1/status`;
  expect((await fetch(url)).status).toBe(401);
  await cluster.stopCoordinator();
  expect(
    await fetch(url).then(
      ({ status }) => status,
      () => "gone",
    ),
  ).toBe("gone");
  await cluster.startCoordinator();
  expect(readFileSync(path, "utf8")).toBe(token);
  expect((await cluster.http("/readyz")).status).toBe(200);
  expect((await get<ClusterState>("/api/v1/status")).epoch).toBe(2);
});
