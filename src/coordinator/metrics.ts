// The coordinator's figures for Prometheus. What the cluster is, only who leads tells; counters begin with this process.

import type { NodeView } from "../common/models.ts";
import { family, Histogram, type Sample } from "../common/prometheus.ts";
import { VERSION } from "../common/version.ts";
import { NODE_STATUSES, TASK_STATUSES } from "../common/vocabulary.ts";
import type { Event } from "../core/event.ts";
import { readyAt } from "../core/ready.ts";
import type { State } from "../core/state.ts";

const SECOND_MS = 1_000;
const APPEND_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
const WAIT_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400];

/** What is read when somebody asks. */
export interface Reading {
  /** Undefined for who follows. */
  leading: { state: State; nodes: readonly NodeView[] } | undefined;
  sequence: number;
  started_at: number;
  wall_ms: number;
}

export class Metrics {
  readonly #append = new Histogram(
    "claw_log_append_seconds",
    "From a batch's closing until the log has acknowledged it.",
    APPEND_BOUNDS,
  );
  readonly #wait = new Histogram(
    "claw_placement_seconds",
    "From a task's submission (or the time before which it may not start) until it has a node, first attempts.",
    WAIT_BOUNDS,
  );
  readonly #attempts = new Map<string, number>();

  appended(ms: number): void {
    this.#append.observe(ms / SECOND_MS);
  }

  /** What a leader has decided. */
  decided(event: Event, state: State): void {
    switch (event.t) {
      case "assigned":
        for (const [number, from, to, attempt] of event.runs) {
          this.#count("assigned", to - from);
          const submission = state.submissions.get(number);
          if (attempt > 1 || submission === undefined) continue;
          this.#wait.observe(Math.max(0, event.at - readyAt(submission)) / SECOND_MS, to - from);
        }
        break;
      case "succeeded":
        for (const [, from, to] of event.runs) this.#count("completed", to - from);
        break;
      case "ended":
        for (const { outcome } of event.results) this.#count(outcome.status, 1);
        break;
      case "retried":
        this.#count("retried", event.results.length);
        break;
      case "requeued":
        for (const [, from, to] of event.runs) this.#count("requeued", to - from);
        break;
      default:
        break;
    }
  }

  #count(end: string, count: number): void {
    this.#attempts.set(end, (this.#attempts.get(end) ?? 0) + count);
  }

  text(reading: Reading): string {
    const { leading, sequence } = reading;
    const gauge = (name: string, help: string, value: number): string => family(name, "gauge", help, [{ value }]);
    const parts = [
      family("claw_info", "gauge", "This claw.", [{ labels: { version: VERSION }, value: 1 }]),
      gauge("claw_leader", "1 where the coordinator leads, 0 where it follows.", leading === undefined ? 0 : 1),
      gauge("claw_log_sequence", "Batches of the log that it has.", sequence),
      ...(leading === undefined ? [] : clusterParts(leading.state, reading)),
      ...(leading === undefined ? [] : nodeParts(leading.nodes)),
      family(
        "claw_attempts_total",
        "counter",
        "Attempts that were assigned, and how they ended, as decided by this process.",
        [...this.#attempts].map(([end, value]) => ({ labels: { end }, value })),
      ),
      this.#append.text(),
      this.#wait.text(),
      ...processParts(reading.started_at),
    ];
    return `${parts.join("\n")}\n`;
  }
}

function clusterParts(state: State, { wall_ms }: Reading): string[] {
  let oldest = wall_ms;
  for (const { first } of state.ready.lanes()) if (first !== undefined) oldest = Math.min(oldest, readyAt(first));
  const tasks = TASK_STATUSES.map((status): Sample => ({ labels: { status }, value: state.totals[status] }));
  const age = Math.max(0, wall_ms - oldest) / SECOND_MS;
  return [
    family("claw_term", "gauge", "The term of the leader.", [{ value: state.epoch }]),
    family("claw_tasks", "gauge", "Tasks by status; those that are over until they are forgotten.", tasks),
    family("claw_oldest_ready_seconds", "gauge", "For how long the oldest task that could start has waited.", [
      { value: age },
    ]),
  ];
}

function nodeParts(nodes: readonly NodeView[]): string[] {
  const perNode = (name: string, help: string, value: (node: NodeView) => number | undefined): string =>
    family(
      name,
      "gauge",
      help,
      nodes.flatMap((node): Sample[] => {
        const read = value(node);
        return read === undefined ? [] : [{ labels: { node: node.id, name: node.name }, value: read }];
      }),
    );
  const counts = NODE_STATUSES.map((status): Sample => {
    return { labels: { status }, value: nodes.filter((node) => node.status === status).length };
  });
  return [
    family("claw_nodes", "gauge", "Nodes by status.", counts),
    perNode("claw_node_up", "1 while the node is heard.", ({ status }) => (status === "offline" ? 0 : 1)),
    perNode("claw_node_health", "From 0 to 100: 100 where nothing is wrong.", ({ health }) => health.score),
    perNode("claw_node_tasks", "Tasks that the node was given and that are not over.", ({ held }) => held),
    perNode("claw_node_cpu_used_cores", "Cores that its tasks asked for.", ({ used }) => used.cpu_millis / 1000),
    perNode("claw_node_cpu_cores", "Cores that it has.", ({ capacity }) => capacity.cpu_millis / 1000),
    perNode("claw_node_cpu_percent", "How busy all its processors are.", ({ cpu_percent }) => cpu_percent),
    perNode("claw_node_heartbeat_age_seconds", "Since it was heard last.", ({ last_heartbeat_ms_ago: ago }) =>
      ago === undefined ? undefined : ago / SECOND_MS,
    ),
  ];
}

function processParts(started_at: number): string[] {
  const { rss, heapUsed } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const start = family("process_start_time_seconds", "gauge", "When it started.", [{ value: started_at / SECOND_MS }]);
  return [
    start,
    family("process_resident_memory_bytes", "gauge", "Resident memory.", [{ value: rss }]),
    family("process_heap_bytes", "gauge", "Heap in use.", [{ value: heapUsed }]),
    family("process_cpu_seconds_total", "counter", "Processor time.", [{ value: (user + system) / 1e6 }]),
  ];
}
