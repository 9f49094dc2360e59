// What each command's help opens with.

const text = (lines: string): string => `Examples:\n${lines}\n`;

export const EXAMPLES: Record<string, string> = {
  claw: text(`  claw up                                             a cluster on this machine
  claw run -- uname -a                                run a command somewhere, see its output
  find . -name '*.gz' | claw run --each 'gzip -t {}'  a task for each line, over every worker
  claw nodes; claw status; claw ls                    look around
`),
  up: text(`  claw up
  claw up --listen 0.0.0.0        others may join: claw credentials export --role worker
  CLAW_HOME=/tmp/try claw up      everything that it keeps in one folder
`),
  run: text(`  claw run -- uname -a
  claw run 'du -sh * | sort -h'                       one word with shell characters is a shell line
  claw run hello.ts --name x                          bundled here, run there
  claw run --memory 2G --timeout 5m -- make test
  seq 100 | claw run --each 'echo {} $CLAW_NODE' -k   GNU parallel's {} {.} {/} {//} {/.} {#}
`),
  submit: text(`  id=$(claw submit -- sleep 5); claw wait $id
  claw submit --retries 3 --backoff 10s..5m -- ./upload.sh
  claw submit --type daemon -- ./serve.sh             kept running, moved when its node dies
  claw submit --start-after 2h --deadline 6h -- ./nightly.sh
  claw submit --array 100 -- sh -c 'echo $CLAW_TASK_INDEX'
`),
  plan: text(`  claw plan --memory 8G -- ./train.sh
  claw plan --where zone=eu --strategy pack --json -- true
`),
  placement: text(`  claw placement
  claw placement set --strategy pack
  claw placement set --weight tasks=0.6 --aging 5m
  claw placement reset
`),
  "nodes set": text(`  claw nodes set gpu-1 --tag fast --attribute zone=eu
  claw nodes set build-7 --cpu 4 --memory 8G          it counts as one of this size
  claw nodes set gpu-1 --without-tag fast; claw nodes set gpu-1 --reset
`),
  ls: text(`  claw ls
  claw ls --status running,pending --since 1h
  claw ls --status failed --quiet | claw show -
`),
  show: text(`  claw show task_35f04cf1
  claw show 35f0            any unique beginning of an id
  claw show 35f0.17 --json  a member of an array
`),
  logs: text(`  claw logs task_35f04cf1
  claw logs -f 35f0
  claw logs 35f0 --json | jq -r '.[].text'
`),
  wait: text(`  claw wait 35f0 7a21
  claw wait --timeout 10m 35f0 || echo not yet
`),
  cancel: text(`  claw cancel 35f0
  claw cancel --status pending --label job=nightly --yes
`),
  retry: text(`  claw retry 35f0                            a task, or the members of an array that did not succeed
  claw retry 35f0 --status timeout
  claw retry --status failed --since 1h --yes
`),
  nodes: text(`  claw nodes
  claw nodes --json
  claw nodes show gpu-1
  claw nodes drain gpu-1 --deadline 10m --reason 'new disk'
  claw nodes drain gpu-1 --deadline 10m --wait && sudo reboot
  claw nodes resume gpu-1
  claw nodes shutdown gpu-1 --deadline 10m       it ends by itself; start its worker to have it back
`),
  skills: text(`  claw skills
  claw skills show weather
  claw run --skill weather -- ./forecast.sh        on a node where the skill can be used
`),
  events: text(`  claw events -f
  claw events --type task.failed,task.retried,node
  claw events task_35f0              what happened to one task, or to an array
  claw events -f --json | jq -r 'select(.type == "task.failed").task'
`),
  status: text(`  claw status
  claw status --json
`),
  credentials:
    text(`  claw credentials export --role worker --out w.creds   on the coordinator's machine; one file a worker
  claw --role worker --nats nats://HOST:7422 --creds w.creds
  claw credentials export --role coordinator --out c.creds   for one that follows from another machine: a hot copy
  claw --role coordinator --nats nats://HOST:7422 --creds c.creds
`),
  snapshot: text(`  claw snapshot save cluster.snap          the whole state into a file
  claw snapshot save - | ssh backup 'cat > cluster.snap'
  claw snapshot ls
  claw snapshot restore cluster.snap       on a stopped coordinator's machine
  claw snapshot restore --from-view        when the broker lost the log: from all that this machine knows
`),
  version: text(`  claw version
  claw version --json
`),
  config: text(`  claw config init
  claw config check coordinator
  claw config show worker --json
`),
};
