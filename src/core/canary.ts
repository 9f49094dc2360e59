// Known bugs, planted on purpose, that the simulator has to find: one that misses them proves nothing. The release build
// defines CLAW_CANARY away, so none of them is in the binary.

declare const CLAW_CANARY: string | undefined;

export type Canary =
  | "attempt_ignored"
  | "promise_before_log"
  | "outbox_cleared_early"
  | "lost_assignment_forgotten"
  | "retries_unlimited"
  | "timer_lost"
  | "log_cut_too_far"
  | "lease_trusted_too_long"
  | "deposition_ignored"
  | "head_kept_after_term"
  | "refused_unconfirmed"
  | "capacity_ignored"
  | "follower_folds_wrong"
  | "rival_welcomed"
  | "error_ignored"
  | "deafness_ignored"
  | "folder_assumed";

export function planted(name: Canary): boolean {
  return typeof CLAW_CANARY === "string" && CLAW_CANARY === name;
}
