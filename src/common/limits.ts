// Every cap of claw, by name (style 10). Sizes in bytes unless the name says otherwise. Reaching one is a test.

const KiB = 1024;
const MiB = 1024 * KiB;

export const LIMITS = {
  // Messages
  heartbeat_bytes: 149,
  heartbeat_attempts: 9_999_999, // that a node says to hold: more digits do not fit
  heartbeat_memory_mib: 16_777_215,
  trouble_chars: 256, // of the sentence in which a node says what is wrong with it
  message_bytes: 960 * KiB, // a broker takes 1 MiB
  header_bytes: 1 * KiB, // of a message, beside its content
  cluster_name_chars: 16,
  // Submissions
  tasks_per_request: 1000,
  array_members: 10_000_000,
  specification_bytes: 128 * KiB, // as JSON
  input_bytes: 256 * KiB,
  input_json_bytes: 800 * KiB, // with a specification it fits a message
  inputs_per_request: 1000,
  inputs_request_bytes: 512 * KiB,
  label_count: 32,
  label_chars: 256,
  name_chars: 128,
  script_bytes: 32 * MiB,
  script_unused_ms: 3_600_000, // a script that no task needs stays so long: its task may be on the way
  script_cached_ms: 7 * 86_400_000, // on a node that does not run it
  scripts_look_ms: 600_000, // between two looks for such scripts
  file_chunk_bytes: 128 * KiB,
  argument_bytes: 131_071, // Linux refuses a longer single argument (MAX_ARG_STRLEN)
  // The log
  batch_bytes: 960 * KiB, // a broker takes 1 MiB
  batch_close_bytes: 64 * KiB,
  event_bytes: 256 * KiB, // of one that tells of many members: a larger one is cut
  appends_in_flight: 4,
  // Snapshots
  snapshot_chunk_bytes: 512 * KiB, // as base64 it fits a message
  log_margin_bytes: 8 * MiB, // of the log that stay below a snapshot: a storage block of the broker
  log_marks: 1024, // places of the log whose distance in bytes is known
  // Work on a node
  prefetch_tasks: 4096,
  prefetched_lanes: 64, // kinds of tasks that are looked at in a turn for what may be given ahead
  placed_turns: 1024, // how often tasks are given to nodes in one turn: what is left waits for the next one
  disk_floor_bytes: 8 * MiB, // with less left under its data folder a worker takes no work
  node_processes: 1024, // side by side, however little each needs
  assign_runs_per_message: 512,
  assign_message_bytes: 512 * KiB,
  held_runs_per_message: 4096,
  earlier_lives: 8, // of a worker's data folder that its registration names
  report_items_per_message: 512,
  report_message_bytes: 512 * KiB,
  lost_attempts: 5,
  retries: 1000,
  backoff_parts: 1024, // of a submission: in a larger array the members of a part wait as one for their next attempt
  retries_looked: 16, // of the newest retries that stand on one submission, for the one that a task was retried as
  retry_members_bytes: 512 * KiB, // of the text that says which members a retry stands for
  failures_shown: 10, // members of an array that did not succeed, named where it is shown
  attempts_kept: 100, // of one task's history; a daemon's has no end
  deferred_messages: 65_536,
  deferred_bytes: 64 * MiB,
  measured_kinds: 10_000, // of tasks, by what they need, whose running time the leader knows
  progress_tasks: 10_000, // running tasks whose output so far the leader knows
  // Output
  tail_bytes: 1024,
  outcome_message_chars: 4096,
  output_chunk_bytes: 64 * KiB,
  output_task_bytes: 64 * MiB,
  output_window_bytes: 1 * MiB,
  output_total_bytes: 1024 * MiB,
  output_hold_ms: 200, // short output waits this long for the task's end, to ride in its report
  output_stall_ms: 5000, // when nobody takes a chunk for so long, what comes is kept aside rather than the task blocked
  output_aside_bytes: 256 * 1024, // of one attempt, until the broker is back; more is cut
  once_submissions: 10_000, // whose attempts a node remembers because they must not run twice
  swept_rows: 1_000, // of pruned submissions, removed at once
  list_scanned: 20_000, // submissions that one answer looks at: the next one goes on
  answer_bytes: 640 * 1024, // of a list, before what comes next has to be asked for
  key_chars: 256, // an idempotency key
  presence_bytes: 1024, // what a coordinator says of itself
  output_finish_ms: 5000, // how long the end of a task waits for output that nobody took: until then it is told nowhere
  output_keep_ms: 600_000, // how long a chunk is sent again while the broker is away
  output_patience_ms: 30_000, // how long whoever reads output waits for what is not there yet
  output_drain_ms: 1000, // a pipe that says nothing for so long after the task's tree is gone is closed
  output_drain_most_ms: 10_000, // and one that somebody outside the tree goes on writing to
  // Ending a task's processes
  task_pids: 16_384, // processes and threads of a task that did not say how many, where its node can limit them
  leftover_grace_ms: 500, // what a finished task left running gets between SIGTERM and SIGKILL
  tree_end_ms: 30_000, // after SIGKILL: then the processes that cannot be ended are named
  tree_candidates: 256, // younger processes that are looked at one by one instead of listing all
  pids_rise_ms: 5_000, // for so long the numbers of processes surely do not begin anew and come past where they were
  folder_pool: 256, // empty working folders kept for the next task
  look_folders: 32, // that a node is asked for, or tells of, in one message: with the longest names they fit
  looks_waiting: 256, // folders that a worker has to look at
  looks_at_once: 4,
  look_ms: 5_000, // then a folder is none that can be used: where a server of files is away looking takes for ever
  looks_stuck: 16, // processes that look all the same, and cannot be ended
  node_folders: 1000, // of which the leader remembers what a node said
  // Skills
  skill_file_bytes: 256_000, // as OpenClaw has it
  skill_front_chars: 32 * KiB, // of the front matter: looking for names that stand twice is quadratic
  source_skills: 200, // of one folder, as OpenClaw has it
  source_folders: 5_000, // looked into for skills
  watched_folders: 1024, // for changes of skills; what is beyond is looked at each minute
  node_skills: 300,
  node_skills_bytes: 512 * KiB, // of what a node says of them, as JSON: it is one message, and one event
  skills_pause_ms: 10_000, // between two changes of a node's skills that it tells; twice as long each time
  skills_pause_most_ms: 300_000,
  skills_quiet_ms: 120_000, // without a change, and the next one is told at once again
  skill_requirements: 16, // of each kind
  skill_text_chars: 160, // of a description, or of what is missing
  // Settings
  config_file_bytes: 64 * KiB, // the documented examples have 2; looking for names that stand twice is quadratic
  config_problems: 100, // named at once
  config_depth: 8, // the deepest setting has 3
  // Logs
  log_depth: 4, // of what is logged with a message
  log_items: 32, // of a list or an object
  log_text_chars: 8192,
  // Queries
  feed_batches: 256, // of the log, read for one list of events
  feed_parts: 32, // so many times as many are looked through for the newest ones
  feed_look_ms: 1_000, // that one list looks for the newest ones: the next goes on where it ended
  recent_batches: 256, // of the log, in memory for those who watch
  recent_bytes: 4 * MiB, // of them: as objects, once somebody watches, some ten times as much
  keep_order_results: 20_000, // of --each --keep-order that wait for their turn in memory
  recent_sources: 64, // which members retries stand for, kept in memory beside the view
  recent_specifications: 4096, // kept in memory beside the view
  list_rows: 1000,
  tried_read: 50_000, // attempts that are read for one list of results
  tried_ranges: 1000, // of members of one result that were called off between attempts; more are told as one range
  waiting_groups: 20, // in the status: of what waits, by what it needs
  ahead_counted: 100_000, // of the tasks whose turn comes before another's
  watchers: 4096,
  http_broker_ms: 2_000, // that HTTP waits for a broker whose connection was lost
  http_streams: 256, // answers over HTTP that last: events, output
  wait_ms: 20_000,
} as const;
