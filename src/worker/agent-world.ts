// What a worker's agent needs of the world around it, and is told about itself.

import type { NodeInfo } from "../common/models.ts";
import type { UpMessage } from "../communication/messages.ts";
import type { Job } from "./queue.ts";

export interface AgentWorld {
  send(message: UpMessage): void;
  /** Begins a job; its start and end come back by `started` and `ended`. */
  start(job: Job): void;
  stop(job: Job, reason: "cancelled" | "superseded"): void;
  /** These ran here until now, and the cluster does not have them here. */
  superseded(jobs: readonly Job[]): void;
  /** The cluster will not have this node: code and sentence. */
  refused(code: string, message: string): void;
  /** Somebody wants this worker to end. */
  shutdown(message: string): void;
  /** Nothing has come for long, for the so manieth time: another subscription, or connection, may bring more. */
  deaf(times: number): void;
  /** A registration stays unanswered: told once until something comes, or the connection is there anew. */
  unanswered(): void;
  /** Another process is this node, and it is not known yet whether it is dead. */
  waiting(message: string): void;
  /** Looks whether tasks could be started in these folders; what it finds comes back by `looked`, in one part or several. */
  look(folders: readonly string[]): void;
}

export interface AgentOptions {
  info: NodeInfo;
  /** 64 random bits as hex: a new one each start. */
  incarnation: string;
  /** Lives of this node that are certain to be over, the latest first. */
  earlier: readonly string[];
  /** The cluster that welcomed an earlier life, if any did. */
  cluster_id: string | undefined;
}

export interface AgentNow {
  wall_ms: number;
  monotonic_ms: number;
}
