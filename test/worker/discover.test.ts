import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { LIMITS } from "../../src/common/limits.ts";
import { machineHash } from "../../src/common/machine.ts";
import { NodeInfo } from "../../src/common/models.ts";
import { type Runtime, systemRuntime } from "../../src/common/runtime.ts";
import { groupFolders } from "../../src/worker/cgroup.ts";
import { cpuLimitMillis, discoverNode, memoryLimitMib, type NodeOverrides } from "../../src/worker/discover.ts";
import { findGpus, type GpuSources, type Gpus } from "../../src/worker/gpus.ts";
import { LoadMeter } from "../../src/worker/metrics.ts";
import { until } from "../until.ts";

const files = (content: Record<string, string>) => (path: string) => content[path];
const GIB = 1024 ** 3;
const silent = () => undefined;

test("this machine, as the wire takes it", async () => {
  const found = await discoverNode({}, silent, () => findGpus({ runtime: systemRuntime }));
  const info = NodeInfo.parse(found.info);
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
  const { info } = await discoverNode(overrides, silent, () => Promise.resolve({ count: 0, devices: [] }));
  expect(NodeInfo.parse(info)).toMatchObject({
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

describe("gpus", () => {
  const folder = mkdtempSync(join(tmpdir(), "claw-gpu-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  const tool = (name: string, text: string): string => {
    writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return join(folder, name);
  };
  const four = tool("four", 'for n in 0 1 2 3; do echo "GPU $n: Model $n (UUID: GPU-$n$n$n)"; done');
  const find = (program: string | null, more: Partial<GpuSources> = {}): Promise<Gpus> =>
    findGpus({ runtime: systemRuntime, program, system: "linux x64", env: {}, ...more });
  const NONE = { count: 0, devices: [] };

  test("are counted by nvidia-smi, and are none where there is none", async () => {
    const two = tool("two", "echo 'GPU 0: NVIDIA A100-SXM4 (UUID: x)'; echo 'GPU 1: B (UUID: y)'");
    expect(await find(two)).toEqual({ count: 2, devices: [], model: "NVIDIA A100-SXM4" });
    expect(await find(null)).toEqual(NONE);
    expect(await find(null, { system: "darwin arm64" })).toEqual({ count: 1, devices: [], model: "Apple" });
  });

  test("are not known where it fails, hangs or cannot be run, and a start does not wait for it", async () => {
    expect(await find(tool("none", "echo 'GPU 0: A'; exit 9"))).toEqual({
      ...NONE,
      trouble: `${join(folder, "none")} failed with exit code 9`,
    });
    writeFileSync(join(folder, "broken"), "");
    expect((await find(join(folder, "broken"))).trouble).toContain("cannot be run");
    // A grandchild that has the pipe; one in the group is ended with it, one that left the group is not waited for.
    const mark = join(folder, "pid");
    const runtime = untilWritten(mark);
    for (const text of [
      `sleep 20 & echo $! > ${mark}; wait`,
      `setsid sh -c 'echo $$ > ${mark}; exec sleep 20' & exit 0`,
    ]) {
      rmSync(mark, { force: true });
      const began = performance.now();
      const { trouble } = await find(tool("hangs", text), { runtime, deadline_ms: 300 });
      expect(trouble).toBe(`${join(folder, "hangs")} did not answer within 300 ms`);
      expect(performance.now() - began).toBeLessThan(10_000);
      const pid = Number(readFileSync(mark, "utf8"));
      if (text.startsWith("setsid")) process.kill(pid, "SIGKILL");
      await until(() => !alive(pid), `${pid} to be gone`);
    }
  });

  const lists: [env: Record<string, string>, devices: string[], model: string | undefined][] = [
    [{ CUDA_VISIBLE_DEVICES: "2,3" }, ["2", "3"], "Model 2"],
    [{ CUDA_VISIBLE_DEVICES: " 3, 1 ,3" }, ["3", "1"], "Model 3"],
    [{ CUDA_VISIBLE_DEVICES: "GPU-11,MIG-GPU-5/1/0" }, ["GPU-11", "MIG-GPU-5/1/0"], "Model 1"],
    [{ CUDA_VISIBLE_DEVICES: "1,7,2" }, ["1"], "Model 1"],
    [{ CUDA_VISIBLE_DEVICES: "0,-1,2" }, ["0"], "Model 0"],
    [{ CUDA_VISIBLE_DEVICES: "" }, [], undefined],
    [{ CUDA_VISIBLE_DEVICES: "-1" }, [], undefined],
    [{ CUDA_VISIBLE_DEVICES: "NoDevFiles", HIP_VISIBLE_DEVICES: "" }, [], undefined],
    [{ HIP_VISIBLE_DEVICES: "1" }, ["1"], "Model 1"],
    [{ HIP_VISIBLE_DEVICES: "-1" }, [], undefined],
    [{ CUDA_VISIBLE_DEVICES: "3", HIP_VISIBLE_DEVICES: "0,1" }, ["3"], "Model 3"],
  ];
  test.each(lists)("of which the worker may see some are those: %j", async (env, devices, model) => {
    const found = await find(four, { env });
    expect([found.count, found.devices, found.model]).toEqual([devices.length, devices, model]);
  });

  test("that nvidia-smi does not know are those that the worker was told of", async () => {
    const broken = tool("fails", "exit 9");
    expect(await find(broken, { env: { CUDA_VISIBLE_DEVICES: "2,3" } })).toEqual({ count: 2, devices: ["2", "3"] });
    expect(await find(null, { env: { HIP_VISIBLE_DEVICES: "0,2" } })).toEqual({ count: 2, devices: ["0", "2"] });
    expect(await find(null, { env: { CUDA_VISIBLE_DEVICES: "0,2" } })).toEqual({ count: 0, devices: ["0", "2"] });
  });

  const discover = async (overrides: NodeOverrides, gpus: Gpus) => {
    const warnings: string[] = [];
    const { info, devices } = await discoverNode(
      overrides,
      (message) => warnings.push(message),
      () => Promise.resolve(gpus),
    );
    return { gpus: info.capacity.gpus, attributes: NodeInfo.parse(info).attributes, devices, warnings };
  };

  test("are an attribute of the node, where people do not say another", async () => {
    const found: Gpus = { count: 2, devices: [], model: "A100" };
    const rack = await discover({ attributes: { rack: "4" } }, found);
    expect([rack.gpus, rack.attributes]).toEqual([2, { gpu: "A100", rack: "4" }]);
    const own = await discover({ gpus: 1, attributes: { gpu: "mine" } }, found);
    expect([own.gpus, own.attributes]).toEqual([1, { gpu: "mine" }]);
    const many = Object.fromEntries(Array.from({ length: LIMITS.label_count }, (_, at) => [`a${at}`, "x"]));
    expect((await discover({ attributes: many }, found)).attributes).toEqual(many);
    expect((await discover({ gpus: 0 }, found)).attributes).toEqual({});
  });

  test("that people count are entries of the list if it is long enough", async () => {
    const found: Gpus = { count: 2, devices: ["2", "3"] };
    const given = async (overrides: NodeOverrides) => {
      const { gpus, devices } = await discover(overrides, found);
      return [gpus, devices];
    };
    expect(await given({})).toEqual([2, ["2", "3"]]);
    expect(await given({ gpus: 1 })).toEqual([1, ["2", "3"]]);
    expect(await given({ gpus: 4 })).toEqual([4, []]);
  });

  test("that nobody could count are warned of, with what to do, unless somebody said how many", async () => {
    const trouble = "nvidia-smi did not answer within 2000 ms";
    const { warnings } = await discover({}, { ...NONE, trouble });
    expect(warnings).toEqual([
      `${trouble}: the node offers no gpus; resources.gpus in worker.yaml, or \`claw nodes set NODE --gpu N\`, says how many there are`,
    ]);
    expect((await discover({ gpus: 2 }, { ...NONE, trouble })).warnings).toEqual([]);
  });
});

/** Its timers fire when there is something in the file, and not before. */
function untilWritten(file: string): Runtime {
  return {
    ...systemRuntime,
    after(delay_ms, action) {
      const look = (): void => {
        if (existsSync(file) && statSync(file).size > 0) action();
        else timer = systemRuntime.after(5, look);
      };
      let timer = systemRuntime.after(delay_ms, look);
      return { cancel: () => timer.cancel() };
    },
  };
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

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
