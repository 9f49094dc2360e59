// Names on the wire (design, section 7). Who sends is part of the subject, so the broker's permissions hold each to its
// own. `c` is the cluster's name.

export const subjects = {
  command: (c: string, who: string, type: string) => `claw.${c}.client.${who}.cmd.${type}`,
  query: (c: string, who: string, type: string) => `claw.${c}.client.${who}.query.${type}`,
  allCommands: (c: string) => `claw.${c}.client.*.cmd.>`,
  allQueries: (c: string) => `claw.${c}.client.*.query.>`,
  nodeQuery: (c: string, node: string, type: string) => `claw.${c}.node.${node}.query.${type}`,
  allNodeQueries: (c: string) => `claw.${c}.node.*.query.>`,
  up: (c: string, node: string) => `claw.${c}.node.${node}.up`,
  allUp: (c: string) => `claw.${c}.node.*.up`,
  down: (c: string, node: string) => `claw.${c}.node.${node}.down`,
  output: (c: string, node: string, number: number, index: number, attempt: number) =>
    `claw.${c}.node.${node}.out.${number}.${index}.${attempt}`,
  outputOfTask: (c: string, number: number, index: number) => `claw.${c}.node.*.out.${number}.${index}.>`,
  outputOfSubmission: (c: string, number: number) => `claw.${c}.node.*.out.${number}.>`,
  allOutput: (c: string) => `claw.${c}.node.*.out.>`,
  /** Said by whoever begins to lead, to clients: what they had asked the one before has no answer. */
  lead: (c: string) => `claw.${c}.lead`,
  /** `secret` is known to the log's stream alone: see log.ts. */
  log: (c: string, secret: string) => `claw.${c}.log.${secret}`,
  logStream: (c: string) => `CLAW_${c}_LOG`,
  outputStream: (c: string) => `CLAW_${c}_OUT`,
  fileChunk: (c: string, sha256: string, at: number) => `claw.${c}.file.${sha256}.${at}`,
  chunksOfFile: (c: string, sha256: string) => `claw.${c}.file.${sha256}.>`,
  allFiles: (c: string) => `claw.${c}.file.>`,
  fileStream: (c: string) => `CLAW_${c}_FILES`,
  /** `secret` is known to the stream of snapshots alone, as the log's. */
  snapshots: (c: string, secret: string) => `claw.${c}.snap.${secret}`,
  snapshotStream: (c: string) => `CLAW_${c}_SNAP`,
  presence: (c: string, coordinator: string) => `claw.${c}.coordinator.${coordinator}`,
  allPresence: (c: string) => `claw.${c}.coordinator.*`,
  leaseBucket: (c: string) => `claw_${c}_lease`,
  leaseKey: (c: string, key: string) => `$KV.claw_${c}_lease.${key}`,
} as const;

/** The sender's part of a subject of ours: node or client id, and what follows it. */
export function senderOf(subject: string): { who: string; rest: string } {
  const parts = subject.split(".");
  return { who: parts[3] ?? "", rest: parts.slice(4).join(".") };
}
