// A NATS of the user's own that has too little room for claw's streams: said in words, with what to change, and no bug.

import { afterEach, expect, test } from "bun:test";
import { closeMachines, ownNats } from "./binary.ts";

afterEach(closeMachines);

test("a coordinator ends and says which stream does not fit, and what wants the room", async () => {
  const { url, machine: here } = await ownNats("jetstream { max_file: 64MB }\n");
  const claw = here.begin(["--role", "coordinator", "--nats", url]);
  expect(await claw.exited()).toBe(69);
  expect(claw.log).toContain(
    "NATS does not take the stream CLAW_default_OUT: insufficient storage resources available",
  );
  expect(claw.log).toContain("output.total_size");
  expect(claw.log).not.toContain("a bug");
});
