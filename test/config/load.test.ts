// Where a setting comes from: defaults < file < environment < flags, each told with its source.

import { afterEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeConfig, initConfig, type LoadOptions, loadConfig } from "../../src/common/config.ts";
import { ConfigError, problemText } from "../../src/common/config-problem.ts";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { resolvePaths } from "../../src/common/paths.ts";

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

interface Setting extends Partial<LoadOptions> {
  text?: string;
}

function optionsOf(role: "coordinator" | "worker", { text, ...more }: Setting = {}): LoadOptions {
  const home = mkdtempSync(join(tmpdir(), "claw-load-"));
  folders.push(home);
  const paths = resolvePaths({ CLAW_HOME: home });
  if (text !== undefined) {
    mkdirSync(paths.config_dir, { recursive: true });
    writeFileSync(join(paths.config_dir, `${role}.yaml`), text);
  }
  return { paths, env: {}, ...more };
}

function problemsOf(role: "coordinator" | "worker", setting: Setting): string[] {
  try {
    loadConfig(role, optionsOf(role, setting));
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(problemText);
    throw error;
  }
}

describe("layers", () => {
  test("the later one wins, and says where it came from", () => {
    const text = "cluster: file\nlisten: 0.0.0.0\nnats: {port: 1, replicas: 3}\n";
    const env = { CLAW_LISTEN: "::", CLAW_NATS_PORT: "2", CLAW_LOG_LEVEL: "", CLAW_HOME: "/x", PATH: "/bin" };
    const options = optionsOf("coordinator", { text, env, flags: { "nats.port": 3, "http.port": undefined } });
    const loaded = loadConfig("coordinator", options);
    expect(loaded.config).toMatchObject({
      cluster: "file",
      listen: "::",
      nats: { port: 3, replicas: 3 },
      http: { port: 7433 },
      log: { level: "info" },
      heartbeat: { interval_ms: 10_000, missed: 3 },
      output: { total_bytes: 1024 ** 3, max_age_ms: 7 * 86_400_000 },
    });
    const shown = new Map(describeConfig(loaded).map(({ field, ...row }) => [field, row]));
    expect(shown.get("http.port")).toEqual({ value: 7433, source: "default" });
    expect(shown.get("cluster")).toEqual({ value: "file", source: "file", detail: `${loaded.file}:1` });
    expect(shown.get("nats.replicas")).toMatchObject({ value: 3, source: "file", detail: `${loaded.file}:3` });
    expect(shown.get("listen")).toEqual({ value: "::", source: "environment", detail: "CLAW_LISTEN" });
    expect(shown.get("nats.port")).toEqual({ value: 3, source: "flag", detail: "--port" });
    expect(shown.get("nats.url")).toEqual({ value: null, source: "default" });
  });

  test("an address is shown without its password", () => {
    const env = { CLAW_NATS_URL: "nats://me:hunter2@a:1,b:2" };
    const loaded = loadConfig("coordinator", optionsOf("coordinator", { env }));
    expect(loaded.config.nats.url).toBe("nats://me:hunter2@a:1,b:2");
    expect(JSON.stringify(describeConfig(loaded))).not.toContain("hunter2");
  });

  test("texts of the environment mean what they would in the file, lists and values by name too", () => {
    const env = {
      CLAW_TAGS: "ssd, gpu",
      CLAW_ATTRIBUTES: "zone=a,rack=b",
      CLAW_RESOURCES_NAMED: "licence=2",
      CLAW_RESOURCES_CPUS: "1.5",
      CLAW_RESOURCES_MEMORY: "2G",
      CLAW_EXECUTORS: "[command]",
      CLAW_METRICS: "false",
      CLAW_STOP_GRACE: "250ms",
      CLAW_NAME: "12",
    };
    const { config } = loadConfig("worker", optionsOf("worker", { env }));
    expect(config).toMatchObject({
      name: "12",
      tags: ["ssd", "gpu"],
      attributes: { zone: "a", rack: "b" },
      resources: { named: { licence: 2 }, cpus: 1.5, memory_mib: 2048 },
      executors: ["command"],
      metrics: false,
      stop: { grace_ms: 250 },
    });
    const flags = { tags: "a,b", "resources.gpus": "1", attributes: "{zone: c}" };
    expect(loadConfig("worker", optionsOf("worker", { env, flags })).config).toMatchObject({
      tags: ["a", "b"],
      attributes: { zone: "c" },
      resources: { gpus: 1, cpus: 1.5 },
    });
  });
});

describe("what is wrong above the file", () => {
  test("is wrong usage when only flags are wrong, and a wrong configuration otherwise", () => {
    const wrong = { "nats.url": "foo://x", "nats.port": "abc" };
    const codeOf = (given: object): string => {
      try {
        loadConfig("coordinator", optionsOf("coordinator", given));
        return "";
      } catch (error) {
        return (error as ClawError).code;
      }
    };
    expect(codeOf({ flags: wrong })).toBe("usage");
    expect(codeOf({ flags: { "nats.url": "tls://a,b:1", "nats.port": "1" } })).toBe("");
    expect(codeOf({ flags: wrong, env: { CLAW_HTTP_PORT: "x" } })).toBe("bad_config");
  });

  test("is told with the variable or the flag", () => {
    expect(problemsOf("coordinator", { env: { CLAW_NATS_PORT: "many" } })).toEqual([
      "CLAW_NATS_PORT: nats.port must be a number",
    ]);
    expect(problemsOf("coordinator", { flags: { "nats.port": "0" } })).toEqual([
      "--port: nats.port is too small: at least 1",
    ]);
    expect(problemsOf("worker", { flags: { "http.port": 1 } })).toEqual(["--http-port: a worker has no such setting"]);
    expect(problemsOf("worker", { env: { CLAW_ATTRIBUTES: "zone" } })[0]).toContain(
      "CLAW_ATTRIBUTES: attributes must be",
    );
  });

  test("a variable that is nearly one of ours is a mistake, another is told and left", () => {
    expect(problemsOf("coordinator", { env: { CLAW_LISTN: "x" } })).toEqual([
      "CLAW_LISTN: there is no such setting (did you mean CLAW_LISTEN?)",
    ]);
    const env = { CLAW_SOMETHING_ELSE: "x", CLAW_TASK_ID: "task_1", CLAW_TAGS: "a" };
    expect(loadConfig("coordinator", optionsOf("coordinator", { env })).ignored).toEqual(["CLAW_SOMETHING_ELSE"]);
  });

  test("everything is told at once, the file's problems too", () => {
    const setting = { text: "lisen: x\n", env: { CLAW_NATS_PORT: "x" }, flags: { "log.level": "loud" } };
    const problems = problemsOf("coordinator", setting);
    expect(problems).toHaveLength(3);
    expect(problems[0]).toContain("coordinator.yaml:1:1: there is no setting lisen");
  });
});

describe("the file", () => {
  test("that was named must be there; the one that was not need not", () => {
    const options = optionsOf("worker");
    expect(loadConfig("worker", options).config.name).toBeUndefined();
    expect(() => loadConfig("worker", { ...options, file: "/nonexistent/w.yaml" })).toThrow("there is no such file");
  });

  test("that is a folder, too large or no text is refused", () => {
    const { paths } = optionsOf("worker");
    mkdirSync(paths.config_dir, { recursive: true });
    const load = (content: string | Uint8Array): string => {
      const file = join(paths.config_dir, "x.yaml");
      writeFileSync(file, content);
      try {
        loadConfig("worker", { paths, env: {}, file });
      } catch (error) {
        return (error as Error).message;
      }
      return "";
    };
    expect(load("#".repeat(LIMITS.config_file_bytes + 1))).toContain("is too large for settings");
    expect(load(new Uint8Array([0xff, 0xfe]))).toContain("is no UTF-8 text");
    expect(() => loadConfig("worker", { paths, env: {}, file: paths.config_dir })).toThrow("cannot be read (EISDIR)");
  });

  test("is made of the example at the first start, for its owner only, and never written again", () => {
    const options = optionsOf("coordinator", { init: true });
    loadConfig("coordinator", options);
    const file = join(options.paths.config_dir, "coordinator.yaml");
    expect(readFileSync(file, "utf8")).toContain("#listen:");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(options.paths.config_dir)).toEqual(["coordinator.yaml"]);
    writeFileSync(file, "listen: 0.0.0.0\n");
    expect(loadConfig("coordinator", options).config.listen).toBe("0.0.0.0");
    expect(initConfig("coordinator", options.paths.config_dir)).toEqual({ file, created: false });
    expect(initConfig("worker", options.paths.config_dir).created).toBe(true);
  });

  test("cannot be made where a file is in the way of the folder; a start says so, and leaves nothing", () => {
    const options = optionsOf("worker", { init: true });
    writeFileSync(options.paths.config_dir, "in the way");
    expect(() => initConfig("worker", options.paths.config_dir)).toThrow();
    expect(existsSync(join(options.paths.config_dir, "worker.yaml"))).toBe(false);
  });

  test.skipIf(process.getuid?.() === 0)("is not needed where one may not write", () => {
    const options = optionsOf("worker", { init: true });
    mkdirSync(options.paths.config_dir, { recursive: true });
    chmodSync(options.paths.config_dir, 0o500);
    expect(loadConfig("worker", options).config.metrics).toBe(true);
    expect(() => initConfig("worker", options.paths.config_dir)).toThrow(ClawError);
  });
});
