// A clock for tests of what the server's supervisor does when something is wrong for long: it waits for the things that
// it does every few seconds for a hundredth of that.

import { type Runtime, systemRuntime } from "../../src/common/runtime.ts";

export const impatientRuntime: Runtime = {
  ...systemRuntime,
  after: (delay_ms, action) => systemRuntime.after(delay_ms >= 1000 ? delay_ms / 100 : delay_ms, action),
};
