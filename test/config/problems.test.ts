// What is wrong with a settings file, told with its place and what was meant.

import { describe, expect, test } from "bun:test";
import { ConfigError, problemText } from "../../src/common/config-problem.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { problemsOf } from "./check.ts";

const check = (text: string, role: "coordinator" | "worker" = "coordinator"): string[] =>
  problemsOf(role, text).map(problemText);

test.each([
  ["resources.named", "resources: {named: {", ": 1", "}}"],
  ["attributes", "attributes: {", ": x", "}"],
])("more names than a node may have are refused: %s", (name, before, value, after) => {
  const text = (count: number): string => {
    return `${before}${Array.from({ length: count }, (_, at) => `a${at}${value}`).join(", ")}${after}\n`;
  };
  expect(check(text(LIMITS.label_count), "worker")).toEqual([]);
  expect(check(text(LIMITS.label_count + 1), "worker").join()).toContain(`${name}: has more than 32 names`);
});

describe("what is refused", () => {
  const cases: [string, string, string[]][] = [
    ["an unknown setting", "lisen: 0.0.0.0\n", ["c.yaml:1:1: there is no setting lisen (did you mean listen?)"]],
    ["one in a section", "nats:\n  prot: 1\n", ["c.yaml:2:3: there is no setting nats.prot (did you mean nats.port?)"]],
    ["one that is near to nothing", "zebra: 1\n", ["c.yaml:1:1: there is no setting zebra"]],
    ["one in the wrong place", "port: 1\n", ["c.yaml:1:1: there is no setting port (did you mean nats.port?)"]],
    [
      "several at once",
      "q7: 1\nb2: 2\nhttp:\n  port: x\n",
      [
        "c.yaml:4:3: http.port must be a number",
        "c.yaml:1:1: there is no setting q7",
        "c.yaml:2:1: there is no setting b2",
      ],
    ],
    ["a wrong type", "http: {port: '1'}\n", ["c.yaml:1:8: http.port must be a number"]],
    ["a fraction", "http: {port: 1.5}\n", ["c.yaml:1:8: http.port must be a whole number"]],
    ["a number as a text", "cluster: 12\n", ["c.yaml:1:1: cluster must be a text (put it in quotes)"]],
    ["a value in place of a section", "http: 7\n", ["c.yaml:1:1: http must be settings by name, a line each"]],
    ["yes, which is a text", "http: {enabled: yes}\n", ["c.yaml:1:8: http.enabled must be true or false"]],
    ["nothing", "http:\n  port:\n", ["c.yaml:2:3: http.port must be a number"]],
    ["too much", "http: {port: 70000}\n", ["c.yaml:1:8: http.port is too large: at most 65535"]],
    [
      "too much for an integer, once",
      "retention: {tasks: 99999999999999999999}\n",
      ["c.yaml:1:13: retention.tasks is too large: at most 1000000000"],
    ],
    ["too little", "http: {port: 0}\n", ["c.yaml:1:8: http.port is too small: at least 1"]],
    ["none of a few", "log: {level: loud}\n", ["c.yaml:1:7: log.level must be debug, info, warn or error"]],
    ["an address that is none", "nats: {url: foo://x}\n", ["c.yaml:1:8: nats.url: must look like nats://HOST:4222"]],
    ["none of a few numbers", "nats: {replicas: 2}\n", ["c.yaml:1:8: nats.replicas must be 1, 3 or 5"]],
    [
      "a bare duration",
      "heartbeat: {interval: 10}\n",
      ["c.yaml:1:13: heartbeat.interval: '10' is wrong: it must be a duration such as 250ms, 90s or 1h30m"],
    ],
    [
      "a duration that is a list",
      "heartbeat: {interval: [10s]}\n",
      ["c.yaml:1:13: heartbeat.interval: must be a duration such as 250ms, 90s or 1h30m"],
    ],
    [
      "no time between heartbeats",
      "heartbeat: {interval: 0s}\n",
      ["c.yaml:1:13: heartbeat.interval: 0s is too little: at least 100ms"],
    ],
    [
      "years between heartbeats",
      "heartbeat: {interval: 400d}\n",
      ["c.yaml:1:13: heartbeat.interval: 400d is too much: at most 1h"],
    ],
    [
      "a size without its unit",
      "output: {total_size: 7}\n",
      ["c.yaml:1:10: output.total_size: 7 is too little: at least 1M"],
    ],
    [
      "a cluster's name",
      "cluster: Big_One\n",
      ["c.yaml:1:1: cluster: must be lower-case letters, digits and hyphens, at most 16, no hyphen first"],
    ],
    ["a setting twice", "listen: a\nhttp: {}\nlisten: b\n", ["c.yaml:3:1: this setting stands twice"]],
    ["a tab", "http:\n\tport: 1\n", ["c.yaml:2:1: a tab cannot indent: use spaces"]],
    ["a list", "- listen\n", ["c.yaml:1:1: settings stand by name, a line each: `listen: 127.0.0.1`"]],
    ["a text", "hello\n", ["c.yaml:1:1: settings stand by name, a line each: `listen: 127.0.0.1`"]],
    [
      "an alias",
      "listen: &a b\nhttp: {host: *a}\n",
      ["c.yaml:2:14: *a refers to another place: write the value itself"],
    ],
    [
      "two documents",
      "listen: a\n---\nlisten: b\n",
      ["c.yaml:2:1: a second document begins here: one is all there can be"],
    ],
    ["a number as a name", "1: a\n", ["c.yaml:1:1: a name must be a text: put 1 in quotes"]],
    ["a list as a name", "? [a]\n: 3\n", ["c.yaml:1:3: a name must be a word"]],
  ];
  test.each(cases)("%s", (_, text, expected) => expect(check(text)).toEqual(expected));

  test("broken YAML, with its place", () => {
    expect(check("listen: 'a\n")[0]).toStartWith("c.yaml:2:1: Missing closing 'quote");
    expect(check("http: {port: 1\n")[0]).toMatch(/^c\.yaml:2:1: /);
  });

  test("types of YAML's own", () => {
    expect(check("listen: !!js/function 'x'\n")[0]).toMatch(/^c\.yaml:1:9: Unresolved tag/);
    expect(check("listen: !foo bar\n")[0]).toMatch(/^c\.yaml:1:9: Unresolved tag/);
  });

  test("an item of a list and a value by name, each in its place", () => {
    expect(check("tags: [a, 1]\nresources:\n  named:\n    licence: -1\n", "worker")).toEqual([
      "c.yaml:4:5: resources.named.licence is too small: at least 0",
      "c.yaml:1:11: tags.1 must be a text (put it in quotes)",
    ]);
    expect(check("executors: [command, shel]\n", "worker")[0]).toStartWith("c.yaml:1:22: executors.1 must be command,");
    expect(check("executors: []\n", "worker")).toEqual(["c.yaml:1:1: executors must not be empty"]);
    expect(check("resources: {named: {'': 1}}\n", "worker")).toEqual([
      "c.yaml:1:21: resources.named. is no name that can be used here",
    ]);
    expect(check("resources: {memory: 4096}\n", "worker")[0]).toContain("4096 is too little: at least 1M");
  });

  test("names that JavaScript knows", () => {
    expect(check("__proto__: {listen: evil}\nconstructor: 1\n")).toEqual([
      "c.yaml:1:1: there is no setting __proto__",
      "c.yaml:2:1: there is no setting constructor",
    ]);
    expect(({} as Record<string, unknown>)["listen"]).toBeUndefined();
  });
});

describe("what is out of all proportion", () => {
  test("a bomb of aliases costs nothing", () => {
    const bomb = Array.from({ length: 30 }, (_, at) => `a${at}: &a${at} [*a${at - 1}, *a${at - 1}]`).join("\n");
    expect(check(`a: &a-1 [x]\n${bomb}`)[0]).toContain("refers to another place");
  });

  test("a file that is too large is not read as YAML", () => {
    const text = `# ${"x".repeat(LIMITS.config_file_bytes)}`;
    expect(check(text)).toEqual([`c.yaml: is too large for settings: at most ${LIMITS.config_file_bytes} bytes`]);
    expect(check(text.slice(0, LIMITS.config_file_bytes))).toEqual([]);
  });

  test("one that is nested deeply is refused", () => {
    const depth = LIMITS.config_depth;
    const nested = (levels: number) => check(`listen: ${"[".repeat(levels)}${"]".repeat(levels)}`);
    expect(nested(depth - 1)).toEqual(["c.yaml:1:1: listen must be a text (put it in quotes)"]);
    expect(nested(depth)).toEqual([`c.yaml:1:${8 + depth}: this is nested too deeply for a setting`]);
    expect(nested(5_000)).toHaveLength(1);
    expect(check("[".repeat(20_000)).length).toBeGreaterThan(0);
  });

  test("of many problems the first hundred are named, and how many there are", () => {
    const many = problemsOf("worker", Array.from({ length: 150 }, (_, at) => `x${at}y: 1`).join("\n"));
    expect(many).toHaveLength(150);
    const lines = new ConfigError(many).message.split("\n");
    expect(lines).toHaveLength(LIMITS.config_problems + 1);
    expect(lines.at(-1)).toBe("and 50 more");
  });
});

describe("what is taken", () => {
  test.each([
    ["nothing", ""],
    ["comments", "# nothing\n\n"],
    ["null", "null\n"],
    ["an empty section", "http:\nnats:\n  # port: 1\n"],
    ["a byte order mark and Windows' line ends", "\uFEFFlisten: 0.0.0.0\r\nhttp:\r\n  port: 1\r\n"],
  ])("%s", (_, text) => expect(check(text)).toEqual([]));
});
