import { expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import { ProgressBook } from "../../src/coordinator/progress.ts";
import { openCluster } from "../cluster.ts";
import { until } from "../until.ts";

const bytes = (stdout_bytes: number) => ({ stdout_bytes, stderr_bytes: 0 });

test("progress is of one attempt, and the last that was heard", () => {
  const book = new ProgressBook();
  expect(book.of(1, 2, 1)).toBeUndefined();
  book.heard(1, 2, 1, bytes(5));
  book.heard(1, 2, 1, bytes(9));
  expect(book.of(1, 2, 1)).toEqual(bytes(9));
  expect(book.of(1, 2, 2)).toBeUndefined();
  book.heard(1, 2, 2, bytes(0));
  expect([book.of(1, 2, 1), book.of(1, 2, 2)]).toEqual([undefined, bytes(0)]);
});

test("of too many tasks the ones that were heard of last are kept", () => {
  const book = new ProgressBook();
  book.heard(1, 0, 1, bytes(1));
  for (let index = 1; index < LIMITS.progress_tasks; index++) book.heard(1, index, 1, bytes(index));
  book.heard(1, 0, 1, bytes(2));
  book.heard(2, 0, 1, bytes(3));
  expect([book.of(1, 0, 1), book.of(1, 1, 1), book.of(2, 0, 1)]).toEqual([bytes(2), undefined, bytes(3)]);
});

test("a running task shows what it has written, and no longer when it is over", async () => {
  const cluster = await openCluster();
  try {
    const argv = ["sh", "-c", "printf 12345; printf 123 >&2; while [ ! -e go ]; do sleep 0.05; done"];
    const { number } = await cluster.submit({ argv });
    const show = async () => (await cluster.client.query("task.show", { number, index: 0 })).task;
    const running = await until(async () => {
      const task = await show();
      return task.progress?.stderr_bytes === 3 ? task : undefined;
    }, "the progress");
    expect([running.status, running.progress]).toEqual(["running", { stdout_bytes: 5, stderr_bytes: 3 }]);
    await cluster.client.command("task.cancel", { v: 1, targets: [{ number, from: 0 }] });
    await cluster.finished(number);
    expect((await show()).progress).toBeUndefined();
  } finally {
    await cluster.close();
  }
}, 20_000);
