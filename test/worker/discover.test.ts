import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { LIMITS } from "../../src/common/limits.ts";
import { machineHash } from "../../src/common/machine.ts";
import { NodeInfo } from "../../src/common/models.ts";
import { groupFolders } from "../../src/worker/cgroup.ts";
import { cpuLimitMillis, discoverNode, findGpus, memoryLimitMib } from "../../src/worker/discover.ts";
import { LoadMeter } from "../../src/worker/metrics.ts";

const files = (content: Record<string, string>) => (path: string) => content[path];
const GIB = 1024 ** 3;

test("this machine, as the wire takes it", async () => {
  const info = NodeInfo.parse(await discoverNode());
  expect(info.machine).toMatch(/^[0-9a-f]{16}$/);
  expect(info.capacity.cpu_millis).toBeLessThanOrEqual(availableParallelism() * 1000);
  expect(info.capacity.memory_mib).toBeGreaterThan(0);
  expect(info.executors).toContain("script");
});

test("the configuration overrides what was measured", async () => {
  const overrides = {
    name: "n1",
    cpus: 1.5,
    memory_mib: 100,
    gpus: 3,
    named: { licence: 2 },
    tags: ["ssd"],
    attributes: { rack: "4" },
    executors: ["noop" as const],
  };
  expect(NodeInfo.parse(await discoverNode(overrides))).toMatchObject({
    name: "n1",
    capacity: { cpu_millis: 1500, memory_mib: 100, gpus: 3, resources: { licence: 2 } },
    tags: ["ssd"],
    attributes: { rack: "4" },
    executors: ["noop"],
  });
});

test("a container's limits count, of either cgroup version", () => {
  const groups = ["/g/system.slice/claw.service", "/g/system.slice", "/g"];
  const memory = (content: Record<string, string>) => memoryLimitMib(8 * GIB, files(content), groups);
  const max = "/g/memory.max";
  expect(memory({ [max]: String(2 * GIB) })).toBe(2048);
  expect(memory({ [max]: "max" })).toBe(8192);
  const v1 = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
  expect(memory({ [v1]: "9223372036854771712" })).toBe(8192);
  expect(memory({ [v1]: String(GIB) })).toBe(1024);
  const cpus = (of: number, content: Record<string, string>) => cpuLimitMillis(of, files(content), groups);
  expect(cpus(8, { "/g/cpu.max": "150000 100000" })).toBe(1500);
  expect(cpus(8, { "/g/cpu.max": "max 100000" })).toBe(8000);
  expect(cpus(2, {})).toBe(2000);
});

test("a unit's limits count, and those of what it is in: the lowest of them", () => {
  const root = mkdtempSync(join(tmpdir(), "claw-limits-"));
  const slice = join(root, "system.slice");
  const unit = join(slice, "claw-worker.service");
  mkdirSync(join(unit, "claw-worker"), { recursive: true });
  const write = (folder: string, content: Record<string, string>): void => {
    for (const [name, text] of Object.entries(content)) writeFileSync(join(folder, name), `${text}\n`);
  };
  // Where the worker went when it divided its group, nothing is limited.
  write(root, { self: "0::/system.slice/claw-worker.service/claw-worker" });
  write(root, { mounts: `30 23 0:26 / ${root} rw - cgroup2 cgroup2 rw` });
  const groups = groupFolders({ cgroup: join(root, "self"), mountinfo: join(root, "mounts") });
  expect(groups).toEqual([unit, slice, root]);
  const found = (): [number, number] => [
    memoryLimitMib(8 * GIB, undefined, groups),
    cpuLimitMillis(8, undefined, groups),
  ];
  expect(found()).toEqual([8192, 8000]);
  write(unit, { "memory.max": String(2 * GIB), "cpu.max": "max 100000" });
  write(slice, { "memory.max": "max", "cpu.max": "400000 100000" });
  expect(found()).toEqual([2048, 4000]);
  write(slice, { "memory.max": String(GIB) });
  write(unit, { "cpu.max": "150000 100000" });
  expect(found()).toEqual([1024, 1500]);
  for (const self of ["4:memory:/x", "0::/../elsewhere"]) {
    write(root, { self });
    expect(groupFolders({ cgroup: join(root, "self"), mountinfo: join(root, "mounts") })).toEqual(["/sys/fs/cgroup"]);
  }
  rmSync(root, { recursive: true });
});

test("the machine's hash depends on its id and hides it", () => {
  const one = machineHash(files({ "/etc/machine-id": "abc" }));
  expect(one).not.toBe(machineHash(files({ "/etc/machine-id": "abd" })));
  expect(one).toBe(machineHash(files({ "/var/lib/dbus/machine-id": "abc" })));
});

test("gpus are counted by nvidia-smi, and are none where it fails", async () => {
  const folder = mkdtempSync(join(tmpdir(), "claw-gpu-"));
  const tool = (name: string, text: string): string => {
    writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return join(folder, name);
  };
  const two = tool("two", "echo 'GPU 0: NVIDIA A100-SXM4 (UUID: x)'; echo 'GPU 1: B (UUID: y)'");
  expect(await findGpus(two)).toEqual(["NVIDIA A100-SXM4", "B"]);
  expect(await findGpus(tool("none", "echo 'GPU 0: A'; exit 9"), "linux x64")).toEqual([]);
  expect(await findGpus(null, "linux arm64")).toEqual([]);
  expect(await findGpus(null, "darwin arm64")).toEqual(["Apple"]);
  const { capacity, attributes } = await discoverNode({ attributes: { rack: "4" } }, () => findGpus(two));
  expect([capacity.gpus, attributes]).toEqual([2, { gpu: "NVIDIA A100-SXM4", rack: "4" }]);
  const own = await discoverNode({ gpus: 1, attributes: { gpu: "mine" } }, () => findGpus(two));
  expect([own.capacity.gpus, own.attributes]).toEqual([1, { gpu: "mine" }]);
  const many = Object.fromEntries(Array.from({ length: LIMITS.label_count }, (_, at) => [`a${at}`, "x"]));
  const full = await discoverNode({ attributes: many }, () => findGpus(two));
  expect(NodeInfo.parse(full).attributes).toEqual(many);
  expect((await discoverNode({ gpus: 0 }, () => findGpus(two))).attributes).toEqual({});
  rmSync(folder, { recursive: true });
});

test("load: a second reading knows the processors", async () => {
  const warnings: string[] = [];
  const meter = new LoadMeter("/", (message) => warnings.push(message));
  expect((await meter.read()).cpu_percent).toBeUndefined();
  const load = await meter.read();
  expect(load.cpu_percent).toBeWithin(0, 101);
  expect(load.free_memory_mib).toBeGreaterThan(0);
  expect(load.disk_free_percent).toBeWithin(0, 101);
  expect(warnings).toEqual([]);
});

test("load: where readings fail the node still knows something, and says so once", async () => {
  const warnings: string[] = [];
  const broken = {
    currentLoad: async () => ({ currentLoad: Number.NaN }),
    mem: () => Promise.reject(new Error("no /proc/meminfo")),
  };
  const meter = new LoadMeter(
    "/no/such/folder",
    (message) => warnings.push(message),
    async () => broken,
  );
  await meter.read();
  const load = await meter.read();
  expect(load.free_memory_mib).toBeGreaterThan(0);
  expect(load.disk_free_percent).toBeUndefined();
  expect(warnings).toHaveLength(3);
  expect(warnings.join()).toContain("no /proc/meminfo");
});
