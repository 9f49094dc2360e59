// docker-compose.yml says what the README promises, and the server inside it would start: its configuration is given to a
// real nats-server. Docker itself is asked where it is there.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";

const ROOT = join(import.meta.dir, "../..");
const FILE = join(ROOT, "docker-compose.yml");

const Compose = z.strictObject({
  services: z.strictObject({
    nats: z.strictObject({
      image: z.string(),
      command: z.array(z.string()),
      restart: z.literal("unless-stopped"),
      environment: z.record(z.string(), z.string()),
      ports: z.array(z.string()),
      volumes: z.array(z.string()),
      configs: z.array(z.strictObject({ source: z.string(), target: z.string() })),
      healthcheck: z.strictObject({
        test: z.array(z.string()),
        interval: z.string(),
        timeout: z.string(),
        retries: z.int(),
        start_period: z.string(),
      }),
    }),
  }),
  configs: z.strictObject({ nats: z.strictObject({ content: z.string() }) }),
  volumes: z.record(z.string(), z.null()),
});

const compose = Compose.parse(parse(readFileSync(FILE, "utf8")));
const nats = compose.services.nats;
const folder = mkdtempSync(join(tmpdir(), "compose-"));
afterAll(() => rmSync(folder, { recursive: true }));

function run(argv: string[], env: Record<string, string | undefined>) {
  const result = Bun.spawnSync(argv, { cwd: ROOT, env, stdout: "pipe", stderr: "pipe" });
  return { code: result.exitCode, text: `${result.stdout}${result.stderr}` };
}

describe("docker-compose.yml", () => {
  test("takes the server that claw itself carries", () => {
    const tools = readFileSync(join(ROOT, "scripts/tools.sh"), "utf8");
    expect(nats.image).toBe(`nats:${/^NATS_VERSION=(.+)$/m.exec(tools)?.[1]}-alpine`);
  });

  test("publishes clients' and monitoring port on loopback only", () => {
    expect(nats.ports).toEqual(["127.0.0.1:4222:4222", "127.0.0.1:8222:8222"]);
  });

  test("keeps the store in a volume of its own", () => {
    const [volume = "", target] = nats.volumes[0]?.split(":") ?? [];
    expect(compose.volumes).toHaveProperty(volume);
    expect(compose.configs.nats.content).toContain(`store_dir: ${target}`);
  });

  test("asks for the server's health where it answers", () => {
    expect(nats.healthcheck.test.join(" ")).toBe("CMD wget -q -O - http://127.0.0.1:8222/healthz");
  });

  test("demands a password and hands over the configuration that it starts with", () => {
    expect(nats.environment["CLAW_NATS_PASSWORD"]).toMatch(/^"\$\{CLAW_NATS_PASSWORD:\?[^}]+\}"$/);
    expect(nats.configs).toEqual([{ source: "nats", target: nats.command[1]! }]);
  });

  test("has a server configuration that nats-server accepts, durable and with a password", () => {
    const content = compose.configs.nats.content.replaceAll("$$", "$");
    expect(content).toContain("sync_interval: always");
    expect(content).toContain("password: $CLAW_NATS_PASSWORD");
    const path = join(folder, "claw.conf");
    writeFileSync(path, content);
    const server = process.env["NATS_SERVER"] ?? "nats-server";
    for (const password of ["secret", "12345678", "a$b#c"]) {
      const checked = run([server, "-t", "--config", path], { CLAW_NATS_PASSWORD: `"${password}"` });
      expect(checked).toEqual({ code: 0, text: expect.stringContaining("is valid") });
    }
    expect(run([server, "-t", "--config", path], {}).code).not.toBe(0);
  });

  const has_compose = Bun.which("docker") !== null && run(["docker", "compose", "version"], process.env).code === 0;
  test.skipIf(!has_compose)("is accepted by docker compose", () => {
    const good = run(["docker", "compose", "-f", FILE, "config"], { ...process.env, CLAW_NATS_PASSWORD: "secret" });
    expect(good.code).toBe(0);
    const bad = run(["docker", "compose", "-f", FILE, "config"], { ...process.env, CLAW_NATS_PASSWORD: "" });
    expect(bad.code).not.toBe(0);
  });
});
