// Every error that may reach a person or cross the wire, defined once (style 7): its code, the HTTP status and exit
// code it maps to, and the hint for when nothing more particular is known. A bug is not in this table: it throws a plain
// Error and crashes.

interface ErrorKind {
  /** HTTP status of the admin endpoint; also `code` in `--json`. */
  readonly http: number;
  /** Exit code of every command but `run`, which gives 125. */
  readonly exit: number;
  readonly hint?: string;
}

export const ERRORS = {
  usage: { http: 400, exit: 64, hint: "see `claw --help`" },
  bad_request: { http: 400, exit: 65 },
  bad_config: {
    http: 400,
    exit: 78,
    hint: "`claw config check` names every problem at once",
  },
  wrong_method: { http: 405, exit: 64 },
  not_found: {
    http: 404,
    exit: 66,
    hint: "`claw ls` lists the tasks, `claw nodes` the nodes",
  },
  ambiguous: { http: 409, exit: 65, hint: "type more of the id" },
  id_taken: { http: 409, exit: 65, hint: "draw another id and send it again" },
  conflict: { http: 409, exit: 65 },
  gap: {
    http: 409,
    exit: 65,
    hint: "send the inputs from the offset that is named",
  },
  too_large: { http: 413, exit: 65 },
  too_many: {
    http: 429,
    exit: 75,
    hint: "wait for tasks to finish, then send it again",
  },
  unauthorized: { http: 401, exit: 77 },
  refused: { http: 403, exit: 77 },
  node_taken: {
    http: 409,
    exit: 77,
    hint: "each worker needs an identity of its own: on the coordinator's machine `claw credentials export --role worker`",
  },
  no_coordinator: {
    http: 503,
    exit: 69,
    hint: "start one on this machine with `claw up`",
  },
  unknown_outcome: {
    http: 503,
    exit: 75,
    hint: "send it again with the same id: it will not be done twice",
  },
  not_leading: {
    http: 503,
    exit: 75,
    hint: "send it again: another coordinator is taking over",
  },
  timeout: { http: 504, exit: 75 },
  disk_full: {
    http: 507,
    exit: 74,
    hint: "make room under the data folder and start claw again",
  },
  io: { http: 500, exit: 74 },
  already_running: {
    http: 409,
    exit: 75,
    hint: "`claw status` shows the one that runs",
  },
  broker: {
    http: 503,
    exit: 69,
    hint: "does its NATS run, and is it well? Its log says: where claw started it that is nats-server.log in the coordinator's data folder",
  },
  broker_version: {
    http: 503,
    exit: 69,
    hint: "claw needs nats-server 2.14.5 or newer",
  },
  log_lost: {
    http: 500,
    exit: 70,
    hint: "`claw snapshot restore --from-view` goes on from all that this machine knows; its --help says what else there is",
  },
  fold_differs: { http: 500, exit: 76 },
  behind: {
    http: 503,
    exit: 75,
    hint: "it was away while the log was shortened: start it again, and it begins with the newest snapshot",
  },
  wrong_cluster: {
    http: 409,
    exit: 77,
    hint: "these credentials or this data folder belong to another cluster",
  },
  unsupported: { http: 501, exit: 69 },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

/** How an error looks on the wire and in `--json`. */
export interface WireError {
  code: ErrorCode;
  message: string;
  hint?: string;
  /** The field, line or argument at fault. */
  field?: string;
}

/** What the world may do wrong: a typed rejection whose message says what happened, where, and what to do next. */
export class ClawError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly field: string | undefined;

  constructor(code: ErrorCode, message: string, more: { hint?: string; field?: string; cause?: unknown } = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = "ClawError";
    this.code = code;
    this.hint = more.hint ?? (ERRORS[code] as ErrorKind).hint;
    this.field = more.field;
  }

  toWire(): WireError {
    return {
      code: this.code,
      message: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      ...(this.field === undefined ? {} : { field: this.field }),
    };
  }

  static fromWire(error: WireError): ClawError {
    // A newer part may have errors that this one has never heard of.
    const code = Object.hasOwn(ERRORS, error.code) ? error.code : "unsupported";
    return new ClawError(code, error.message, {
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(error.field === undefined ? {} : { field: error.field }),
    });
  }
}

/** Of whoever answers, not of what was asked. */
const FAULTS: ReadonlySet<ErrorCode> = new Set(["disk_full", "io"]);

/** Whether it is no answer to what was asked: a bug, or a disk that takes nothing. Whoever has it must not go on. */
export function isFault(error: unknown): boolean {
  return !(error instanceof ClawError) || FAULTS.has(error.code);
}

/** What the system says when a file or a folder cannot be written: a full disk is told from everything else. */
export function writeProblem(error: unknown, doing: string): ClawError {
  const full = (error as NodeJS.ErrnoException).code === "ENOSPC";
  return new ClawError(full ? "disk_full" : "io", `cannot ${doing}: ${messageOf(error)}`, { cause: error });
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
