// A coordinator without a broker: its terms over a log that the test holds, its view, and what it sent.

import { expect } from "bun:test";
import { ClawError } from "../../src/common/errors.ts";
import { createLogger } from "../../src/common/logging.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { COMMANDS, type CommandType, type DownMessage, type UpMessage } from "../../src/communication/messages.ts";
import { Terms } from "../../src/coordinator/term.ts";
import { View } from "../../src/storage/view.ts";
import { DEFAULT_PLACEMENT } from "../core/placing-model.ts";
import { TestRuntime } from "../runtime.ts";
import { canonical } from "../sim/canonical.ts";
import { until } from "../until.ts";
import type { ScriptedLog } from "./scripted-log.ts";

export type Answer = { number?: number; total?: number; sequence?: number } | ClawError;

export interface Asked {
  readonly answer: Answer | undefined;
  answered(): Promise<Answer>;
}

export class Coordinator {
  readonly runtime = new TestRuntime();
  readonly view = new View(":memory:");
  readonly sent: [node: string, message: DownMessage][] = [];
  readonly failures: unknown[] = [];
  /** Whether it goes on with what it folds when a batch's writer folded it otherwise. */
  forgiving = false;
  /** Whether its lease is certain to be its own. */
  trusted = true;
  readonly lines: string[] = [];
  readonly terms: Terms;

  constructor(log: ScriptedLog, name = "one") {
    const write = (line: string): void => void this.lines.push(line);
    const logger = createLogger({ role: "test", level: "debug", format: "json", runtime: systemRuntime, write });
    this.terms = new Terms(
      {
        runtime: this.runtime,
        log,
        view: this.view,
        bus: { send: (node, message) => void this.sent.push([node, message]) },
        logger,
        trusted: () => this.trusted,
        committed: () => undefined,
        leads: () => undefined,
        renew: (why) => Promise.reject(why),
        differs: (difference) => {
          if (!this.forgiving) throw difference;
        },
        failed: (error) => void this.failures.push(error),
      },
      {
        cluster: "test",
        name,
        heartbeat_ms: 10_000,
        missed_heartbeats: 3,
        lost_after_ms: undefined,
        retention: { age_ms: 7 * 86_400_000, keep_ms: 3_600_000, tasks: 1_000_000 },
        placement: DEFAULT_PLACEMENT,
      },
    );
  }

  /** As if it held the lease, whoever else believes the same. */
  async begin(): Promise<void> {
    await this.terms.start();
    this.terms.elect();
  }

  async serve(): Promise<void> {
    await this.begin();
    await this.terms.serving;
  }

  ask(type: CommandType, payload: object, bytes = JSON.stringify(payload).length): Asked {
    let answer: Answer | undefined;
    const respond = (given: object): void => {
      if (answer !== undefined) throw new Error("answered twice");
      answer = given;
    };
    // As the bus hands it on: in the schema's order.
    const parsed: unknown = COMMANDS[type].parse(payload);
    this.terms.command(type, parsed, "client_1", bytes, { respond });
    return {
      get answer() {
        return answer;
      },
      answered: () => until(() => answer, `an answer to ${type}`),
    };
  }

  up(node: string, message: UpMessage): void {
    this.terms.up(node, message, JSON.stringify(message).length);
  }

  /** Until it leads in this epoch. */
  leads(epoch: number): Promise<unknown> {
    return until(() => this.terms.leader?.state.epoch === epoch, `epoch ${epoch}`);
  }

  get rows(): string {
    this.terms.flush();
    return canonical(this.view);
  }
}

const started: Coordinator[] = [];

export function coordinator(log: ScriptedLog, name?: string): Coordinator {
  const made = new Coordinator(log, name);
  started.push(made);
  return made;
}

export async function serving(log: ScriptedLog, name?: string): Promise<Coordinator> {
  const made = coordinator(log, name);
  await made.serve();
  return made;
}

/** After each test; fails for what one has left. */
export function endCoordinators(): void {
  for (const { terms, view, runtime, failures } of started.splice(0)) {
    terms.stop();
    view.close();
    expect(runtime.waiting).toEqual([]);
    expect(failures).toEqual([]);
  }
}

export function codeOf(answer: Answer | undefined): string | undefined {
  return answer instanceof ClawError ? answer.code : undefined;
}

export function numberOf(answer: Answer | undefined): number {
  if (answer === undefined || answer instanceof ClawError) throw new Error(`no number: ${String(answer)}`);
  return answer.number!;
}
