// How what is over is forgotten keeps up with what ends: event after event, each when the one before is in the log.

import { expect, test } from "bun:test";
import type { OutgoingBatch } from "../../src/coordinator/committer.ts";
import { Leader } from "../../src/coordinator/leader.ts";
import { leaderView } from "../../src/coordinator/leader-view.ts";
import { Batch } from "../../src/core/event.ts";
import { Queries } from "../../src/storage/queries.ts";
import { View } from "../../src/storage/view.ts";
import { AT, outcomeOf } from "../core/cluster.ts";
import { DEFAULT_PLACEMENT } from "../core/placing-model.ts";
import { Fold } from "../storage/fold.ts";

const OVER = 450;
const AGE_MS = 60_000;

test("one tick is enough for more than one event takes", () => {
  const view = new View(":memory:");
  const fold = new Fold();
  fold.found(view);
  for (let number = 1; number <= OVER; number++) {
    const outcome = outcomeOf("cancelled");
    fold.commit([view], fold.tasks([number]), { t: "dropped", number, from: 0, to: 1, outcome });
    fold.state.retire(number);
  }
  view.flush();
  const flying: OutgoingBatch[] = [];
  const pruned: number[] = [];
  const tail = { sequence: fold.sequence, hash: "" };
  let now = { wall_ms: AT + OVER, monotonic_ms: 0 };
  const leader = new Leader(
    fold.state,
    tail,
    leaderView(view, new Queries(view)),
    {
      append: (batch) => void flying.push(batch),
      committed: ({ changes, sequence, hash }) => view.enqueue(changes, { stream_created: "then", sequence, hash }),
      reply: () => undefined,
      send: () => undefined,
      trusted: () => true,
    },
    {
      ...{ name: "one", cluster: "test", fresh_cluster_id: "c", heartbeat_ms: AGE_MS * 10, missed_heartbeats: 3 },
      ...{ lost_after_ms: undefined, abandoned_after_ms: AGE_MS, placement: DEFAULT_PLACEMENT, chance: () => 0.5 },
      retention: { age_ms: AGE_MS, keep_ms: AGE_MS, tasks: OVER },
    },
    now,
  );
  const store = (): void => {
    for (let batch = flying.shift(); batch !== undefined; batch = flying.shift()) {
      const { events } = Batch.parse(JSON.parse(new TextDecoder().decode(batch.payload)));
      for (const event of events) if (event.t === "pruned") pruned.push(event.numbers.length);
      leader.stored(batch.sequence, now);
    }
  };
  store();
  leader.tick(now);
  store();
  expect(pruned).toEqual([]);
  // Log time goes on as fast as it may.
  now = { wall_ms: AT + OVER + AGE_MS + 1_000, monotonic_ms: AGE_MS + 1_000 };
  leader.tick(now);
  store();
  expect(pruned).toEqual([200, 200, 50]);
  expect([fold.state.totals.total, leader.idle]).toEqual([0, true]);
  view.close();
});
