// Where OpenClaw's folders are, as its environment says.

import { afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findOpenClaw } from "../../../src/worker/skills/openclaw.ts";

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function home(): string {
  const folder = mkdtempSync(join(tmpdir(), "claw-openclaw-"));
  folders.push(folder);
  return folder;
}

/** Its state folder, and whether the user's own ~/.agents/skills counts. */
function found(root: string, env: Record<string, string>, state_dir?: string) {
  const { sources, settings } = findOpenClaw({ env, home: root, state_dir });
  const of = (source: string): string | undefined => sources.find((one) => one.source === source)?.folder;
  return { state: of("openclaw-managed"), personal: of("agents-skills-personal"), settings };
}

test("the state folder is trimmed, expanded and resolved; blank is none", () => {
  const root = home();
  const usual = { state: join(root, ".openclaw", "skills"), personal: join(root, ".agents", "skills") };
  for (const value of ["", " ", "~/.openclaw", ` ${root}/.openclaw/ `, `${root}/x/../.openclaw//`]) {
    expect([value, found(root, { OPENCLAW_STATE_DIR: value })]).toEqual([value, { ...usual, settings: {} }]);
  }
  for (const value of ["~/oc", "~/oc/", `${root}/oc`, ` ${root}/./oc/ `]) {
    const elsewhere = { state: join(root, "oc", "skills"), personal: undefined, settings: {} };
    expect([value, found(root, { OPENCLAW_STATE_DIR: value })]).toEqual([value, elsewhere]);
    expect([value, found(root, { OPENCLAW_STATE_DIR: "/other" }, value)]).toEqual([value, elsewhere]);
  }
});

test("a link to the usual state folder is the usual one", () => {
  const root = home();
  mkdirSync(join(root, ".openclaw"));
  symlinkSync(join(root, ".openclaw"), join(root, "link"));
  const { personal } = found(root, { OPENCLAW_STATE_DIR: join(root, "link") });
  expect(personal).toBe(join(root, ".agents", "skills"));
});

test("a profile has a state folder of its own, and the default profile has none", () => {
  const root = home();
  for (const profile of ["", "default", " Default "]) {
    expect(found(root, { OPENCLAW_PROFILE: profile }).state).toBe(join(root, ".openclaw", "skills"));
  }
  expect(found(root, { OPENCLAW_PROFILE: " work " })).toMatchObject({
    state: join(root, ".openclaw-work", "skills"),
    personal: undefined,
  });
});

test("the settings may stand elsewhere, and so may its home", () => {
  const root = home();
  writeFileSync(join(root, "own.json"), "{a: 1}");
  expect(found(root, { OPENCLAW_CONFIG_PATH: " ~/own.json" }).settings).toEqual({ a: 1 });
  mkdirSync(join(root, ".openclaw"));
  writeFileSync(join(root, ".openclaw", "openclaw.json"), "{a: 2}");
  expect(found(root, { OPENCLAW_CONFIG_PATH: " " }).settings).toEqual({ a: 2 });
  expect(found(root, { OPENCLAW_HOME: "~/other" })).toMatchObject({
    state: join(root, "other", ".openclaw", "skills"),
    personal: join(root, ".agents", "skills"),
  });
});

test("a blank folder in the settings is none, and not the home", () => {
  const root = home();
  mkdirSync(join(root, ".openclaw"));
  const settings = {
    skills: { load: { extraDirs: ["", " ", 5, " ~/extra/ "] } },
    agents: { defaults: { workspace: " " } },
  };
  writeFileSync(join(root, ".openclaw", "openclaw.json"), JSON.stringify(settings));
  const { sources } = findOpenClaw({ env: {}, home: root });
  expect(sources.filter(({ source }) => source === "openclaw-extra").map(({ folder }) => folder)).toEqual([
    ...[join(root, "extra"), join(root, ".openclaw", "plugin-skills")],
  ]);
  expect(sources[0]!.folder).toBe(join(root, ".openclaw", "workspace", "skills"));
});
