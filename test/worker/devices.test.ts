// Graphics processors are told apart: no two tasks at a time have the same, and each is told which are its own.

import { afterEach, expect, test } from "bun:test";
import { Devices, deviceVariables } from "../../src/worker/devices.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { Notes } from "../coordinator/notes.ts";

const clusters: Cluster[] = [];
afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

test("the lowest numbers that nobody has are given, and again when they come back", () => {
  const devices = new Devices();
  expect([devices.take(1), devices.take(2), devices.take(0)]).toEqual([["0"], ["1", "2"], []]);
  devices.release(["1"]);
  expect(devices.take(2)).toEqual(["1", "3"]);
});

test("those that the worker may see are given, and beyond them numbers that are none of them", () => {
  const devices = new Devices(["2", "GPU-a", "0"]);
  expect([devices.take(1), devices.take(1)]).toEqual([["2"], ["GPU-a"]]);
  devices.release(["2"]);
  expect(devices.take(4)).toEqual(["2", "0", "1", "3"]);
});

test("who has none is told nothing, and a task's own word counts", () => {
  expect(deviceVariables([])).toEqual({});
  expect(deviceVariables(["1", "3"])).toEqual({ CUDA_VISIBLE_DEVICES: "1,3", HIP_VISIBLE_DEVICES: "1,3" });
});

test("tasks side by side have processors of their own", async () => {
  const cluster = await openCluster({ worker: { "resources.gpus": 3, "resources.cpus": 8 } });
  clusters.push(cluster);
  const notes = new Notes(cluster, "gpus");
  const line = 'note "$(printenv CUDA_VISIBLE_DEVICES || echo none)"; until [ -e go ]; do sleep 0.01; done';
  const task = (gpus: number, env?: Record<string, string>) =>
    cluster.submit({
      ...notes.task(`cd '${cluster.cwd}'; ${line}`, { needs: { cpu_millis: 100, gpus } }),
      ...(env === undefined ? {} : { env }),
    });
  const tasks = [await task(1)];
  await notes.written(1);
  tasks.push(await task(2));
  await notes.written(2);
  tasks.push(await task(0), await task(0, { CUDA_VISIBLE_DEVICES: "mine" }));
  expect((await notes.written(4)).sort()).toEqual(["0", "1,2", "mine", "none"]);
  await Bun.write(`${cluster.cwd}/go`, "");
  for (const { number } of tasks) await cluster.finished(number);
});

test("tasks have those that the worker may see", async () => {
  process.env["CUDA_VISIBLE_DEVICES"] = "3,GPU-5a";
  try {
    const cluster = await openCluster({ worker: { "resources.gpus": 2 } });
    clusters.push(cluster);
    const notes = new Notes(cluster, "seen");
    const task = notes.task('note "$CUDA_VISIBLE_DEVICES $HIP_VISIBLE_DEVICES"', {
      needs: { cpu_millis: 100, gpus: 2 },
    });
    await cluster.finished((await cluster.submit(task)).number);
    expect(notes.lines).toEqual(["3,GPU-5a 3,GPU-5a"]);
  } finally {
    delete process.env["CUDA_VISIBLE_DEVICES"];
  }
});
